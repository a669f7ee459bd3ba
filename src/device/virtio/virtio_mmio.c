/*
 * Virtio over memory-mapped registers (virtio 1.2 §4.2.2). Registers are of 32 bits and accessed whole; from
 * 0x100 on is the device's configuration, of any width. Other accesses read as zero.
 *
 * What is written to the register for notifications is the queue's number: an ioeventfd for each.
 */
#include "device/virtio/virtio_mmio.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

#define MAGIC	0x74726976 /* "virt" */
#define VERSION 2
#define VENDOR	0x4b49564b /* "KVIK" */

struct virtio_mmio {
	struct virtio_device *virtio; /* owned */
	struct irq_line irq;
	uint64_t gpa;
	const struct kvm_vm *vm;
	bool has_eventfds;
	pthread_mutex_t lock; /* guards what follows */
	uint32_t device_feature_select, driver_feature_select, queue_select;
};

/* --- interrupts; with the device's lock held --- */

static void raise_line(struct virtio_mmio *mmio)
{
	irq_line_set(&mmio->irq, true);
}

static void queue_interrupt(void *context, unsigned queue)
{
	(void)queue;
	raise_line(context);
}

static void config_interrupt(void *context)
{
	raise_line(context);
}

static void isr_taken(void *context)
{
	irq_line_set(&((struct virtio_mmio *)context)->irq, false);
}

/* --- registers --- */

static uint32_t get(struct virtio_mmio *mmio, const uint32_t *field)
{
	uint32_t value;

	pthread_mutex_lock(&mmio->lock);
	value = *field;
	pthread_mutex_unlock(&mmio->lock);
	return value;
}

static void set(struct virtio_mmio *mmio, uint32_t *field, uint32_t value)
{
	pthread_mutex_lock(&mmio->lock);
	*field = value;
	pthread_mutex_unlock(&mmio->lock);
}

static uint32_t read_features(struct virtio_mmio *mmio)
{
	uint32_t half = get(mmio, &mmio->device_feature_select);

	return half < 2 ? virtio_offered(mmio->virtio) >> (32 * half) : 0;
}

static uint32_t read_register(struct virtio_mmio *mmio, unsigned offset)
{
	struct virtio_device *virtio = mmio->virtio;
	unsigned queue = get(mmio, &mmio->queue_select);

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE: return MAGIC;
	case VIRTIO_MMIO_VERSION: return VERSION;
	case VIRTIO_MMIO_DEVICE_ID: return virtio->kind->id;
	case VIRTIO_MMIO_VENDOR_ID: return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES: return read_features(mmio);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return queue < virtio->queue_count ? virtio->queues[queue].ring.size_max : 0;
	case VIRTIO_MMIO_QUEUE_READY: return virtio_queue_state(virtio, queue).is_enabled;
	case VIRTIO_MMIO_INTERRUPT_STATUS: return virtio_clear_isr(virtio, 0);
	case VIRTIO_MMIO_STATUS: return virtio_status(virtio);
	/* There is no shared memory (§4.2.2): all ones. */
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH: return UINT32_MAX;
	case VIRTIO_MMIO_CONFIG_GENERATION: return virtio_generation(virtio);
	default: return 0;
	}
}

static void reset_registers(struct virtio_mmio *mmio)
{
	pthread_mutex_lock(&mmio->lock);
	mmio->device_feature_select = mmio->driver_feature_select = mmio->queue_select = 0;
	pthread_mutex_unlock(&mmio->lock);
}

static void set_address(struct virtio_mmio *mmio, enum virtio_area area, unsigned half,
			uint32_t value)
{
	virtio_queue_set_address(mmio->virtio, get(mmio, &mmio->queue_select), area, half, value);
}

static void write_register(struct virtio_mmio *mmio, unsigned offset, uint32_t value)
{
	struct virtio_device *virtio = mmio->virtio;
	uint32_t half;

	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL: set(mmio, &mmio->device_feature_select, value); break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL: set(mmio, &mmio->driver_feature_select, value); break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		half = get(mmio, &mmio->driver_feature_select);
		if (half < 2)
			virtio_set_driver_features(virtio, value, half);
		break;
	case VIRTIO_MMIO_QUEUE_SEL: set(mmio, &mmio->queue_select, value); break;
	case VIRTIO_MMIO_QUEUE_NUM:
		if (value <= UINT16_MAX)
			virtio_queue_set_size(virtio, get(mmio, &mmio->queue_select), value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		if (value == 1)
			virtio_queue_enable(virtio, get(mmio, &mmio->queue_select));
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY: virtio_notify(virtio, value); break;
	case VIRTIO_MMIO_INTERRUPT_ACK: virtio_clear_isr(virtio, value); break;
	case VIRTIO_MMIO_STATUS: virtio_set_status(virtio, value); break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW: set_address(mmio, VIRTIO_DESCRIPTORS, 0, value); break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH: set_address(mmio, VIRTIO_DESCRIPTORS, 1, value); break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW: set_address(mmio, VIRTIO_DRIVER_AREA, 0, value); break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH: set_address(mmio, VIRTIO_DRIVER_AREA, 1, value); break;
	case VIRTIO_MMIO_QUEUE_USED_LOW: set_address(mmio, VIRTIO_DEVICE_AREA, 0, value); break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH: set_address(mmio, VIRTIO_DEVICE_AREA, 1, value); break;
	default: break;
	}
}

static uint64_t mmio_read(void *device, uint64_t offset, unsigned size)
{
	struct virtio_mmio *mmio = device;
	uint64_t value = 0;

	if (offset >= VIRTIO_MMIO_CONFIG)
		virtio_read_config(mmio->virtio, offset - VIRTIO_MMIO_CONFIG, size, (uint8_t *)&value);
	else if (size == 4)
		value = read_register(mmio, offset);
	return value;
}

static void mmio_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_mmio *mmio = device;

	if (offset >= VIRTIO_MMIO_CONFIG)
		virtio_write_config(mmio->virtio, offset - VIRTIO_MMIO_CONFIG, size,
				    (const uint8_t *)&value);
	else if (size == 4)
		write_register(mmio, offset, value);
}

const struct mmio_ops virtio_mmio_ops = {.read = mmio_read, .write = mmio_write};

/* --- notifications --- */

static int set_eventfd(struct virtio_mmio *mmio, unsigned queue, uint32_t flags)
{
	struct kvm_ioeventfd request = {
		.datamatch = queue,
		.addr = mmio->gpa + VIRTIO_MMIO_QUEUE_NOTIFY,
		.len = 4,
		.fd = mmio->virtio->queues[queue].notified.fd,
		.flags = flags | KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	return kvm_vm_ioctl(mmio->vm, KVM_IOEVENTFD, &request);
}

static void clear_eventfds(struct virtio_mmio *mmio, unsigned count)
{
	while (count)
		set_eventfd(mmio, --count, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static void set_eventfds(struct virtio_mmio *mmio)
{
	unsigned i;
	int result;

	if (!mmio->vm || !mmio->virtio->loop)
		return;
	for (i = 0; i < mmio->virtio->queue_count; i++) {
		result = set_eventfd(mmio, i, 0);
		if (result < 0) {
			/* It goes without: an access that exits does the same. */
			log_info("%s: KVM_IOEVENTFD: %s", mmio->virtio->kind->name, strerror(-result));
			clear_eventfds(mmio, i);
			return;
		}
	}
	mmio->has_eventfds = true;
}

/* --- life --- */

static void virtio_mmio_reset(void *device)
{
	struct virtio_mmio *mmio = device;

	virtio_reset(mmio->virtio);
	reset_registers(mmio);
}

static void virtio_mmio_hold(void *device)
{
	virtio_hold(((struct virtio_mmio *)device)->virtio);
}

static void virtio_mmio_release(void *device)
{
	virtio_release(((struct virtio_mmio *)device)->virtio);
}

static void transfer(struct state_stream *state, struct virtio_mmio *mmio)
{
	state_u32(state, "device feature select", &mmio->device_feature_select);
	state_u32(state, "driver feature select", &mmio->driver_feature_select);
	state_u32(state, "queue select", &mmio->queue_select);
}

static void virtio_mmio_save(void *device, struct state_stream *state)
{
	struct virtio_mmio *mmio = device;
	struct virtio_state virtio;

	virtio_transfer(mmio->virtio, &virtio, state);
	pthread_mutex_lock(&mmio->lock);
	transfer(state, mmio);
	pthread_mutex_unlock(&mmio->lock);
}

static void virtio_mmio_load(void *device, struct state_stream *state)
{
	struct virtio_mmio *mmio = device, loaded = {.virtio = NULL};
	struct virtio_state virtio = {0};

	virtio_transfer(mmio->virtio, &virtio, state);
	transfer(state, &loaded);
	if (!state_complete(state))
		return;
	virtio_restore(mmio->virtio, &virtio);
	irq_line_set(&mmio->irq, virtio.isr != 0);
	pthread_mutex_lock(&mmio->lock);
	mmio->device_feature_select = loaded.device_feature_select;
	mmio->driver_feature_select = loaded.driver_feature_select;
	mmio->queue_select = loaded.queue_select;
	pthread_mutex_unlock(&mmio->lock);
}

static void virtio_mmio_destroy(void *device)
{
	struct virtio_mmio *mmio = device;

	if (mmio->has_eventfds)
		clear_eventfds(mmio, mmio->virtio->queue_count);
	mmio->virtio->kind->destroy(mmio->virtio);
	pthread_mutex_destroy(&mmio->lock);
	free(mmio);
}

const struct device_ops virtio_mmio_device_ops = {
	.version = VIRTIO_STATE_UNITS,
	.reset = virtio_mmio_reset,
	.save = virtio_mmio_save,
	.load = virtio_mmio_load,
	.destroy = virtio_mmio_destroy,
	.hold = virtio_mmio_hold,
	.release = virtio_mmio_release,
};

struct virtio_mmio *virtio_mmio_create(const struct virtio_mmio_config *config,
				       struct virtio_device *virtio, struct error *error)
{
	struct virtio_mmio *mmio = calloc(1, sizeof(*mmio));

	if (!mmio) {
		virtio->kind->destroy(virtio);
		error_set_errno(error, ENOMEM, "cannot create a %s", virtio->kind->name);
		return NULL;
	}
	mmio->virtio = virtio;
	mmio->irq = config->irq;
	mmio->gpa = config->gpa;
	mmio->vm = config->vm;
	pthread_mutex_init(&mmio->lock, NULL);
	virtio->transport = (struct virtio_transport){
		.queue_interrupt = queue_interrupt,
		.config_interrupt = config_interrupt,
		.isr_taken = isr_taken,
		.context = mmio,
	};
	set_eventfds(mmio);
	return mmio;
}
