/*
 * Virtio over PCI (virtio 1.2 §4.1). Vendor 1af4, device 1040 and the kind's number, revision 1. With the
 * legacy interface, which virtio_pci_legacy.c has, too: device 1000 and another number (§4.1.2.1), revision 0,
 * and the kind's number as that of the subsystem, which tells legacy drivers what it is (§4.1.2.3).
 *
 * BAR 0: the legacy interface's ports. BAR 1: the MSI-X table, a vector for each queue and one for the configuration, and from 0x800 the
 * pending bits. BAR 4, 64 bits, prefetchable: from 0x0000 the common configuration (§4.1.4.3), from
 * 0x1000 the interrupt status (§4.1.4.5), from 0x2000 the device's configuration (§4.1.4.6), from
 * 0x3000 four bytes for each queue's notifications (§4.1.4.4). The same by the configuration space
 * (§4.1.4.9). INTA#. A function that is something else besides may have them elsewhere (struct virtio_pci_layout).
 *
 * A queue's address for notifications is an ioeventfd: the vCPU goes on while the device's thread looks
 * at the queue.
 */
#include <errno.h>
#include <linux/virtio_pci.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "device/virtio/virtio_pci.h"
#include "device/virtio/virtio_pci_parts.h"
#include "util/log.h"

#define VENDOR		   0x1af4
#define FIRST_DEVICE_ID	   0x1040
#define SUBSYSTEM	   0x1100 /* of QEMU's, which guests' tables of names know */
#define MODERN_REVISION	   1
#define LEGACY_REVISION	   0

#define TABLE_BAR_BYTES	  0x1000
#define PBA_OFFSET	  0x800
#define REGISTER_BYTES	  0x4000
#define REGION_BYTES	  0x1000
#define CONFIG_OFFSET	  0x2000
#define NOTIFY_OFFSET	  0x3000
#define NOTIFY_MULTIPLIER 4

static const struct virtio_pci_layout plain_layout = {
	.table_bar = 1, .register_bar = 4, .common_offset = 0x0000, .isr_offset = 0x1000};

/* --- interrupts --- */

static void raise_interrupt(struct virtio_pci *pci, uint16_t vector)
{
	if (!pci_has_messages(&pci->function))
		pci_set_intx(&pci->function, true);
	else if (vector != VIRTIO_MSI_NO_VECTOR)
		pci_notify(&pci->function, vector);
}

static void queue_interrupt(void *context, unsigned queue)
{
	raise_interrupt(context, virtio_pci_queue_vector(context, queue));
}

static void config_interrupt(void *context)
{
	raise_interrupt(context, virtio_pci_config_vector(context));
}

static void isr_taken(void *context)
{
	struct virtio_pci *pci = context;

	pci_set_intx(&pci->function, false);
}

static bool can_access_memory(void *context)
{
	struct virtio_pci *pci = context;

	return pci_config_get(&pci->function, PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
}

/* --- the common configuration --- */

/* 32 bits of features; what lies beyond 64 is none. */
static uint32_t half_of(uint64_t features, uint32_t half)
{
	return half < 2 ? features >> (32 * half) : 0;
}

static void read_common(struct virtio_pci *pci, struct virtio_pci_common_cfg *common)
{
	struct virtio_device *virtio = pci->virtio;
	uint16_t queue = virtio_pci_selected_queue(pci);
	struct virtqueue_state state = virtio_queue_state(virtio, queue);

	memset(common, 0, sizeof(*common));
	pthread_mutex_lock(&pci->lock);
	common->device_feature_select = pci->device_feature_select;
	common->guest_feature_select = pci->driver_feature_select;
	pthread_mutex_unlock(&pci->lock);
	common->msix_config = virtio_pci_config_vector(pci);
	common->queue_msix_vector = virtio_pci_queue_vector(pci, queue);
	common->device_feature = half_of(virtio_offered(virtio), common->device_feature_select);
	if (common->guest_feature_select < 2)
		common->guest_feature =
			virtio_driver_features(virtio, common->guest_feature_select);
	common->num_queues = virtio->queue_count;
	common->device_status = virtio_status(virtio);
	common->config_generation = virtio_generation(virtio);
	common->queue_select = queue;
	common->queue_size = state.size;
	common->queue_enable = state.is_enabled;
	common->queue_notify_off = queue < virtio->queue_count ? queue : 0;
	common->queue_desc_lo = state.descriptors_gpa;
	common->queue_desc_hi = state.descriptors_gpa >> 32;
	common->queue_avail_lo = state.driver_gpa;
	common->queue_avail_hi = state.driver_gpa >> 32;
	common->queue_used_lo = state.device_gpa;
	common->queue_used_hi = state.device_gpa >> 32;
}

static void write_driver_features(struct virtio_pci *pci, uint32_t bits)
{
	uint32_t half;

	pthread_mutex_lock(&pci->lock);
	half = pci->driver_feature_select;
	pthread_mutex_unlock(&pci->lock);
	if (half < 2)
		virtio_set_driver_features(pci->virtio, bits, half);
}

static void write_select(struct virtio_pci *pci, unsigned offset, uint32_t value)
{
	pthread_mutex_lock(&pci->lock);
	if (offset == VIRTIO_PCI_COMMON_DFSELECT)
		pci->device_feature_select = value;
	else
		pci->driver_feature_select = value;
	pthread_mutex_unlock(&pci->lock);
}

static void write_common32(struct virtio_pci *pci, unsigned offset, uint32_t value)
{
	/* By the doublewords from queue_desc_lo on. */
	static const enum virtio_area areas[] = {VIRTIO_DESCRIPTORS, VIRTIO_DRIVER_AREA,
						 VIRTIO_DEVICE_AREA};
	unsigned index = (offset - VIRTIO_PCI_COMMON_Q_DESCLO) / 4;

	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
	case VIRTIO_PCI_COMMON_GFSELECT: write_select(pci, offset, value); break;
	case VIRTIO_PCI_COMMON_GF: write_driver_features(pci, value); break;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		virtio_queue_set_address(pci->virtio, virtio_pci_selected_queue(pci), areas[index / 2],
					 index % 2, value);
		break;
	default: break;
	}
}

static void write_common16(struct virtio_pci *pci, unsigned offset, uint16_t value)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_MSIX: virtio_pci_set_config_vector(pci, value); break;
	case VIRTIO_PCI_COMMON_Q_MSIX: virtio_pci_set_queue_vector(pci, value); break;
	case VIRTIO_PCI_COMMON_Q_SELECT: virtio_pci_select_queue(pci, value); break;
	case VIRTIO_PCI_COMMON_Q_SIZE:
		virtio_queue_set_size(pci->virtio, virtio_pci_selected_queue(pci), value);
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (value == 1)
			virtio_queue_enable(pci->virtio, virtio_pci_selected_queue(pci));
		break;
	default: break;
	}
}

/* Fields are written whole (§4.1.3.1), those of 64 bits also by halves. */
static void write_common(struct virtio_pci *pci, unsigned offset, unsigned size, uint64_t value)
{
	if (size == 8) {
		write_common32(pci, offset, value);
		write_common32(pci, offset + 4, value >> 32);
	} else if (size == 4) {
		write_common32(pci, offset, value);
	} else if (size == 2) {
		write_common16(pci, offset, value);
	} else if (offset == VIRTIO_PCI_COMMON_STATUS) {
		virtio_set_status(pci->virtio, value);
		if (!(uint8_t)value)
			virtio_pci_reset_registers(pci);
	}
}

/* --- the registers' BAR --- */

enum register_region { REGION_OTHER, REGION_COMMON, REGION_ISR, REGION_CONFIG, REGION_NOTIFY };

/* Which an access is to, and in `at` where in it. */
static enum register_region find_region(const struct virtio_pci *pci, uint64_t offset, unsigned *at)
{
	const uint32_t begins[] = {0, pci->layout->common_offset, pci->layout->isr_offset, CONFIG_OFFSET, NOTIFY_OFFSET};
	unsigned i = REGION_NOTIFY;

	while (offset < begins[i])
		i--;
	*at = offset - begins[i];
	return i;
}

static uint64_t register_read(void *device, uint64_t offset, unsigned size)
{
	struct virtio_pci *pci = device;
	struct virtio_pci_common_cfg common;
	unsigned at;
	uint64_t value = 0;

	switch (find_region(pci, offset, &at)) {
	case REGION_OTHER: value = pci->layout->other_ops->read(pci->other, at, size); break;
	case REGION_COMMON:
		if (at + size > sizeof(common))
			break;
		read_common(pci, &common);
		memcpy(&value, (const uint8_t *)&common + at, size);
		break;
	case REGION_ISR:
		if (at == 0)
			value = virtio_clear_isr(pci->virtio, UINT8_MAX);
		break;
	case REGION_CONFIG: virtio_read_config(pci->virtio, at, size, (uint8_t *)&value); break;
	default: break;
	}
	return value;
}

static void register_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_pci *pci = device;
	unsigned at;

	switch (find_region(pci, offset, &at)) {
	case REGION_OTHER: pci->layout->other_ops->write(pci->other, at, size, value); break;
	case REGION_COMMON: write_common(pci, at, size, value); break;
	case REGION_CONFIG:
		virtio_write_config(pci->virtio, at, size, (const uint8_t *)&value);
		break;
	case REGION_NOTIFY:
		/* The queue's number is in the address; what is written says the same. */
		virtio_notify(pci->virtio, at / NOTIFY_MULTIPLIER);
		break;
	default: break;
	}
}

static const struct mmio_ops register_ops = {.read = register_read, .write = register_write};

/* The eventfds' accesses have any width, as drivers' have. */
static int set_eventfd(struct virtio_pci *pci, unsigned queue, uint64_t address, uint32_t flags)
{
	struct kvm_ioeventfd request = {
		.addr = address + NOTIFY_OFFSET + NOTIFY_MULTIPLIER * queue,
		.fd = pci->virtio->queues[queue].notified.fd,
		.flags = flags,
	};

	return kvm_vm_ioctl(pci->vm, KVM_IOEVENTFD, &request);
}

static void activate(struct pci_function *function, unsigned bar, uint64_t address)
{
	struct virtio_pci *pci = (struct virtio_pci *)function;
	unsigned i;
	int result = 0;

	(void)bar;
	if (!pci->vm || !pci->virtio->loop)
		return;
	for (i = 0; i < pci->virtio->queue_count && result == 0; i++)
		result = set_eventfd(pci, i, address, 0);
	if (result == 0) {
		pci->has_eventfds = true;
		return;
	}
	/* It goes without: an access that exits does the same. */
	log_guest("%s: KVM_IOEVENTFD: %s", pci->virtio->kind->name, strerror(-result));
	for (i--; i > 0; i--)
		set_eventfd(pci, i - 1, address, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static void deactivate(struct pci_function *function, unsigned bar, uint64_t address)
{
	struct virtio_pci *pci = (struct virtio_pci *)function;
	unsigned i;

	(void)bar;
	for (i = 0; i < pci->virtio->queue_count && pci->has_eventfds; i++)
		set_eventfd(pci, i, address, KVM_IOEVENTFD_FLAG_DEASSIGN);
	pci->has_eventfds = false;
}

/* --- configuration space --- */

/* What the capability for accesses points to now; whether that is one of the registers. */
static bool accessed_register(struct virtio_pci *pci, uint32_t *offset, uint32_t *size)
{
	struct pci_function *function = &pci->function;
	unsigned at = pci->access;

	*offset = pci_config_get(function, at + offsetof(struct virtio_pci_cap, offset), 4);
	*size = pci_config_get(function, at + offsetof(struct virtio_pci_cap, length), 4);
	return pci_config_get(function, at + offsetof(struct virtio_pci_cap, bar), 1) ==
		       pci->layout->register_bar &&
	       (*size == 1 || *size == 2 || *size == 4) && *offset % *size == 0 &&
	       *offset < REGISTER_BYTES;
}

static bool touches_data(const struct virtio_pci *pci, unsigned offset, unsigned size)
{
	unsigned data = pci->access + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);

	return pci->access && offset < data + 4 && data < offset + size;
}

static void config_written(struct pci_function *function, unsigned offset, unsigned size)
{
	struct virtio_pci *pci = (struct virtio_pci *)function;
	unsigned data = pci->access + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
	uint32_t at, bytes;

	if (touches_data(pci, offset, size) && accessed_register(pci, &at, &bytes))
		register_write(pci, at, bytes, pci_config_get(function, data, bytes));
	/* What was made available before the right to read it. */
	if (offset < PCI_COMMAND + 2 && PCI_COMMAND < offset + size && can_access_memory(pci))
		virtio_notify_all(pci->virtio);
}

static void config_reading(struct pci_function *function, unsigned offset, unsigned size)
{
	struct virtio_pci *pci = (struct virtio_pci *)function;
	unsigned data = pci->access + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
	uint32_t at, bytes;

	if (touches_data(pci, offset, size) && accessed_register(pci, &at, &bytes))
		pci_config_set(function, data, bytes, register_read(pci, at, bytes));
}

static uint8_t add_capability(struct virtio_pci *pci, uint8_t type, uint8_t size, uint32_t offset, uint32_t length)
{
	struct pci_function *function = &pci->function;
	uint8_t at = pci_add_capability(function, PCI_CAPABILITY_VENDOR, size);
	struct virtio_pci_cap capability = {
		.cap_len = size,
		.cfg_type = type,
		.bar = pci->layout->register_bar,
		.offset = offset,
		.length = length,
	};

	memcpy(function->config + at + 2, (const uint8_t *)&capability + 2, sizeof(capability) - 2);
	return at;
}

static void add_capabilities(struct virtio_pci *pci)
{
	struct pci_function *function = &pci->function;
	const struct virtio_pci_layout *layout = pci->layout;
	uint32_t multiplier = NOTIFY_MULTIPLIER;
	uint8_t at;

	at = add_capability(pci, VIRTIO_PCI_CAP_PCI_CFG, sizeof(struct virtio_pci_cfg_cap), 0, 0);
	pci->access = at;
	function->config[at + offsetof(struct virtio_pci_cap, bar)] = 0;
	memset(function->writable + at + offsetof(struct virtio_pci_cap, bar), 0xff, 1);
	memset(function->writable + at + offsetof(struct virtio_pci_cap, offset), 0xff, 12);
	at = add_capability(pci, VIRTIO_PCI_CAP_NOTIFY_CFG, sizeof(struct virtio_pci_notify_cap),
			    NOTIFY_OFFSET, REGION_BYTES);
	memcpy(function->config + at + sizeof(struct virtio_pci_cap), &multiplier, 4);
	if (pci->virtio->config_bytes)
		add_capability(pci, VIRTIO_PCI_CAP_DEVICE_CFG, sizeof(struct virtio_pci_cap), CONFIG_OFFSET, REGION_BYTES);
	add_capability(pci, VIRTIO_PCI_CAP_ISR_CFG, sizeof(struct virtio_pci_cap), layout->isr_offset,
		       CONFIG_OFFSET - layout->isr_offset);
	add_capability(pci, VIRTIO_PCI_CAP_COMMON_CFG, sizeof(struct virtio_pci_cap), layout->common_offset,
		       layout->isr_offset - layout->common_offset);
}

/* --- life --- */

static void virtio_pci_reset(void *device)
{
	struct virtio_pci *pci = device;

	virtio_reset(pci->virtio);
	virtio_pci_reset_registers(pci);
}

static void virtio_pci_hold(void *device)
{
	virtio_hold(((struct virtio_pci *)device)->virtio);
}

static void virtio_pci_release(void *device)
{
	virtio_release(((struct virtio_pci *)device)->virtio);
}

/* The registers that `pci` has, or is to have. */
static void transfer(struct state_stream *state, struct virtio_pci *pci, unsigned queues,
		     unsigned vectors)
{
	unsigned i;

	state_u32(state, "device feature select", &pci->device_feature_select);
	state_u32(state, "driver feature select", &pci->driver_feature_select);
	state_u16(state, "queue select", &pci->queue_select);
	state_u16(state, "config vector", &pci->config_vector);
	state_check(state, "config vector",
		    pci->config_vector < vectors || pci->config_vector == VIRTIO_MSI_NO_VECTOR);
	for (i = 0; i < queues; i++) {
		state_u16(state, "queue vector", &pci->queue_vector[i]);
		state_check(state, "queue vector",
			    pci->queue_vector[i] < vectors || pci->queue_vector[i] == VIRTIO_MSI_NO_VECTOR);
	}
}

static void virtio_pci_save(void *device, struct state_stream *state)
{
	struct virtio_pci *pci = device;
	struct virtio_state virtio;

	pci_function_save(&pci->function, state);
	virtio_transfer(pci->virtio, &virtio, state);
	pthread_mutex_lock(&pci->lock);
	transfer(state, pci, pci->virtio->queue_count, pci->function.msix_vectors);
	pthread_mutex_unlock(&pci->lock);
}

static void virtio_pci_load(void *device, struct state_stream *state)
{
	struct virtio_pci *pci = device, loaded = {.virtio = pci->virtio};
	struct pci_function_state function;
	struct virtio_state virtio = {0};

	pci_function_transfer(&pci->function, &function, state);
	virtio_transfer(pci->virtio, &virtio, state);
	transfer(state, &loaded, pci->virtio->queue_count, pci->function.msix_vectors);
	state_check(state, "interrupt pin", !function.intx_level || virtio.isr);
	if (state_complete(state)) {
		virtio_restore(pci->virtio, &virtio);
		pci_function_restore(&pci->function, &function);
		pthread_mutex_lock(&pci->lock);
		pci->device_feature_select = loaded.device_feature_select;
		pci->driver_feature_select = loaded.driver_feature_select;
		pci->queue_select = loaded.queue_select;
		pci->config_vector = loaded.config_vector;
		memcpy(pci->queue_vector, loaded.queue_vector, sizeof(pci->queue_vector));
		pthread_mutex_unlock(&pci->lock);
	}
	pci_function_state_free(&function);
}

static void virtio_pci_destroy(void *device)
{
	struct virtio_pci *pci = device;

	/* Nothing comes any more; what the device still has interrupts to its end. */
	pci_bus_remove(&pci->function);
	pci->virtio->kind->destroy(pci->virtio);
	pci_function_destroy(&pci->function);
	pthread_mutex_destroy(&pci->lock);
	free(pci);
}

const struct device_ops virtio_pci_device_ops = {
	.version = VIRTIO_STATE_UNITS,
	.reset = virtio_pci_reset,
	.save = virtio_pci_save,
	.load = virtio_pci_load,
	.destroy = virtio_pci_destroy,
	.hold = virtio_pci_hold,
	.release = virtio_pci_release,
};

/* The identifiers that the legacy interface's drivers know (§4.1.2.1, §5); 0: they know no such device. */
static uint16_t legacy_device_id(const struct virtio_device *virtio)
{
	static const struct {
		uint16_t kind, device;
	} ids[] = {
		{VIRTIO_ID_NET, 0x1000},     {VIRTIO_ID_BLOCK, 0x1001}, {VIRTIO_ID_BALLOON, 0x1002},
		{VIRTIO_ID_CONSOLE, 0x1003}, {VIRTIO_ID_SCSI, 0x1004},	{VIRTIO_ID_RNG, 0x1005},
		{VIRTIO_ID_9P, 0x1009},
	};
	unsigned i;

	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		if (ids[i].kind == virtio->kind->id)
			return ids[i].device;
	return 0;
}

static void describe(struct virtio_pci *pci, uint32_t class_code, bool has_modern)
{
	struct pci_function *function = &pci->function;
	const struct virtio_device *virtio = pci->virtio;
	bool has_legacy = virtio->has_legacy;

	pci_function_init(function, VENDOR,
			  has_legacy ? legacy_device_id(virtio) : FIRST_DEVICE_ID + virtio->kind->id,
			  class_code, has_legacy ? LEGACY_REVISION : MODERN_REVISION);
	pci_function_set_subsystem(function, VENDOR, has_legacy ? virtio->kind->id : SUBSYSTEM);
	pci_function_set_pin(function, 1);
	if (has_legacy)
		virtio_pci_legacy_describe(pci);
	function->bars[pci->layout->table_bar] = (struct pci_bar){.kind = PCI_BAR_MEMORY32,
						     .size_bytes = TABLE_BAR_BYTES,
						     .name = virtio->kind->name};
	if (pci->layout->describe)
		pci->layout->describe(pci->other, function);
	function->config_written = config_written;
	if (!has_modern)
		return;
	function->bars[pci->layout->register_bar] = (struct pci_bar){
		.kind = PCI_BAR_MEMORY64, .is_prefetchable = true, .size_bytes = REGISTER_BYTES,
		.name = virtio->kind->name, .mmio = &register_ops, .device = pci,
		.activate = activate, .deactivate = deactivate};
	function->config_reading = config_reading;
	add_capabilities(pci);
}

struct virtio_pci *virtio_pci_create(const struct virtio_pci_config *config,
				     struct virtio_device *virtio, struct error *error)
{
	bool is_known = legacy_device_id(virtio);
	struct virtio_pci *pci = NULL;

	if (config->interface == VIRTIO_PCI_LEGACY && !is_known)
		error_set(error, ENOTSUP, "%s has no legacy interface", virtio->kind->name);
	else if (!(pci = calloc(1, sizeof(*pci))))
		error_set_errno(error, ENOMEM, "cannot create a %s", virtio->kind->name);
	if (!pci) {
		virtio->kind->destroy(virtio);
		return NULL;
	}
	pci->virtio = virtio;
	pci->vm = config->vm;
	pci->layout = config->layout ? config->layout : &plain_layout;
	pci->other = config->other;
	pthread_mutex_init(&pci->lock, NULL);
	virtio->has_legacy = config->interface != VIRTIO_PCI_MODERN && is_known;
	describe(pci, config->class_code, config->interface != VIRTIO_PCI_LEGACY);
	if (pci_add_msix(&pci->function, virtio->queue_count + 1, pci->layout->table_bar, 0, PBA_OFFSET, error) < 0 ||
	    pci_function_set_rom(&pci->function, &config->rom, error) < 0) {
		virtio_pci_destroy(pci);
		return NULL;
	}
	virtio_pci_reset_registers(pci);
	virtio->transport = (struct virtio_transport){
		.queue_interrupt = queue_interrupt,
		.config_interrupt = config_interrupt,
		.isr_taken = isr_taken,
		.can_access_memory = can_access_memory,
		.context = pci,
	};
	pci_bus_add(config->bus, config->slot_function, &pci->function);
	if (pci->layout->has_ports)
		pci->function.writable[PCI_COMMAND] |= PCI_COMMAND_IO;
	return pci;
}
