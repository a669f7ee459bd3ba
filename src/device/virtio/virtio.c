#include "device/virtio/virtio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/log.h"

#define STATUS_DRIVER                                                                              \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |        \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED)

#define ISR_QUEUE  0x1
#define ISR_CONFIG 0x2

static void queue_ready(void *context);

/* --- creation --- */

static int init_queue(struct virtio_device *virtio, unsigned index, uint16_t size)
{
	struct virtio_queue *queue = &virtio->queues[index];
	int result = virtqueue_init(&queue->ring, virtio->memory, size);

	if (result < 0)
		return result;
	queue->virtio = virtio;
	queue->index = index;
	queue->notified = (struct event_source){.fd = -1, .ready = queue_ready, .context = queue};
	virtio->queue_count++;
	if (!virtio->loop)
		return 0;
	queue->notified.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->notified.fd < 0)
		return -errno;
	return event_loop_add(virtio->loop, &queue->notified);
}

struct virtio_device *virtio_device_create(size_t size, const struct virtio_kind *kind,
					   const struct virtio_host *host, uint64_t features,
					   unsigned config_bytes, const uint16_t *queue_sizes,
					   unsigned queue_count, struct error *error)
{
	struct virtio_device *virtio = calloc(1, size);
	unsigned i;
	int result = 0;

	if (!virtio) {
		error_set_errno(error, ENOMEM, "cannot create a %s", kind->name);
		return NULL;
	}
	virtio->kind = kind;
	virtio->memory = host->memory;
	virtio->loop = host->loop;
	virtio->features = features | host->ring_features | 1ull << VIRTIO_F_VERSION_1;
	/* Queues of all kinds are there, whichever a line asks for. */
	virtio->able = virtio->features | VIRTIO_RING_FEATURES | VIRTIO_PACKED;
	virtio->config_bytes = config_bytes;
	virtio->is_held = true;
	pthread_mutex_init(&virtio->resets, NULL);
	pthread_mutex_init(&virtio->lock, NULL);
	pthread_cond_init(&virtio->idle, NULL);
	virtio->held = (struct block_held){.lock = &virtio->lock, .changed = &virtio->idle};
	virtio->queues = calloc(queue_count, sizeof(*virtio->queues));
	if (!virtio->queues)
		result = -ENOMEM;
	for (i = 0; i < queue_count && result == 0; i++)
		result = init_queue(virtio, i, queue_sizes[i]);
	if (result < 0) {
		virtio_destroy(virtio);
		error_set_errno(error, -result, "cannot create a %s", kind->name);
		return NULL;
	}
	return virtio;
}

void virtio_detach(struct virtio_device *virtio)
{
	unsigned i;

	for (i = 0; i < virtio->queue_count; i++)
		event_loop_remove(&virtio->queues[i].notified);
}

void virtio_destroy(struct virtio_device *virtio)
{
	struct virtio_queue *queue;

	while (virtio->queue_count) {
		queue = &virtio->queues[--virtio->queue_count];
		event_loop_remove(&queue->notified);
		if (queue->notified.fd >= 0)
			close(queue->notified.fd);
		virtqueue_destroy(&queue->ring);
	}
	free(virtio->queues);
	pthread_cond_destroy(&virtio->idle);
	pthread_mutex_destroy(&virtio->lock);
	pthread_mutex_destroy(&virtio->resets);
	free(virtio);
}

/* --- interrupts and breakage, with the lock held --- */

static void config_interrupt(struct virtio_device *virtio)
{
	virtio->isr |= ISR_CONFIG;
	if (virtio->transport.config_interrupt)
		virtio->transport.config_interrupt(virtio->transport.context);
}

void virtio_interrupt(struct virtio_device *virtio, unsigned queue)
{
	if (!virtqueue_wants_interrupt(&virtio->queues[queue].ring))
		return;
	virtio->isr |= ISR_QUEUE;
	if (virtio->transport.queue_interrupt)
		virtio->transport.queue_interrupt(virtio->transport.context, queue);
}

void virtio_break(struct virtio_device *virtio, const char *why)
{
	if (virtio->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	log_guest("%s: broken by its driver: %s", virtio->kind->name, why);
	virtio->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	/* The driver is told once it can take that (§2.1.2); a legacy one knows of no such thing. */
	if ((virtio->status & VIRTIO_CONFIG_S_DRIVER_OK) && !virtio->is_legacy)
		config_interrupt(virtio);
}

void virtio_config_changed(struct virtio_device *virtio)
{
	virtio->generation++;
	if (virtio->status & VIRTIO_CONFIG_S_DRIVER_OK)
		config_interrupt(virtio);
}

/* --- queues --- */

bool virtio_is_running(struct virtio_device *virtio)
{
	const struct virtio_transport *transport = &virtio->transport;

	return ((virtio->status & VIRTIO_CONFIG_S_DRIVER_OK) || virtio->is_legacy) &&
	       !(virtio->status & VIRTIO_CONFIG_S_NEEDS_RESET) && !virtio->is_held &&
	       !virtio->is_resetting &&
	       (!transport->can_access_memory || transport->can_access_memory(transport->context));
}

bool virtio_pop(struct virtio_device *virtio, unsigned queue, struct virtqueue_chain **chain)
{
	struct virtqueue *ring = &virtio->queues[queue].ring;
	int result;

	if (!virtio_is_running(virtio))
		return false;
	result = virtqueue_pop(ring, chain);
	if (ring->broken)
		virtio_break(virtio, ring->broken);
	return result == 1;
}

void virtio_push(struct virtio_device *virtio, unsigned queue, struct virtqueue_chain *chain,
		 uint32_t written)
{
	virtqueue_push(&virtio->queues[queue].ring, chain, written);
	virtio_interrupt(virtio, queue);
}

static void call_kind(struct virtio_device *virtio, unsigned queue)
{
	pthread_mutex_lock(&virtio->lock);
	if (virtio->kind->queue_notified && virtio_is_running(virtio))
		virtio->kind->queue_notified(virtio, queue);
	pthread_mutex_unlock(&virtio->lock);
}

static void queue_ready(void *context)
{
	struct virtio_queue *queue = context;
	uint64_t count;

	if (read(queue->notified.fd, &count, sizeof(count)) == sizeof(count))
		call_kind(queue->virtio, queue->index);
}

void virtio_notify(struct virtio_device *virtio, unsigned queue)
{
	uint64_t one = 1;

	if (queue >= virtio->queue_count)
		return;
	if (!virtio->loop)
		call_kind(virtio, queue);
	else if (write(virtio->queues[queue].notified.fd, &one, sizeof(one)) < 0)
		return; /* its counter is full: it is awake already */
}

void virtio_notify_all(struct virtio_device *virtio)
{
	unsigned i;

	for (i = 0; i < virtio->queue_count; i++)
		virtio_notify(virtio, i);
}

/* --- work that outlasts the lock --- */

void virtio_begin(struct virtio_device *virtio)
{
	virtio->under_way++;
}

void virtio_end(struct virtio_device *virtio)
{
	if (--virtio->under_way == 0)
		pthread_cond_broadcast(&virtio->idle);
}

static void wait_until_idle(struct virtio_device *virtio)
{
	while (virtio->under_way > virtio->held.count)
		pthread_cond_wait(&virtio->idle, &virtio->lock);
}

/*
 * Take the lock when nothing is under way, and nothing held. A vCPU waits in here: what nobody cares for any more must not
 * keep it from parking.
 */
static void quiesce_and_lock(struct virtio_device *virtio)
{
	pthread_mutex_lock(&virtio->resets);
	if (virtio->kind->give_up)
		virtio->kind->give_up(virtio);
	pthread_mutex_lock(&virtio->lock);
	virtio->is_resetting = true;
	while (virtio->under_way)
		pthread_cond_wait(&virtio->idle, &virtio->lock);
	virtio->is_resetting = false;
}

static void unlock_quiesced(struct virtio_device *virtio)
{
	pthread_mutex_unlock(&virtio->lock);
	if (virtio->kind->keep)
		virtio->kind->keep(virtio);
	pthread_mutex_unlock(&virtio->resets);
}

void virtio_hold(struct virtio_device *virtio)
{
	pthread_mutex_lock(&virtio->lock);
	virtio->is_held = true;
	wait_until_idle(virtio);
	pthread_mutex_unlock(&virtio->lock);
}

void virtio_release(struct virtio_device *virtio)
{
	pthread_mutex_lock(&virtio->lock);
	virtio->is_held = false;
	pthread_mutex_unlock(&virtio->lock);
	virtio_notify_all(virtio);
}

void virtio_reset(struct virtio_device *virtio)
{
	unsigned i;

	quiesce_and_lock(virtio);
	virtio->status = 0;
	virtio->is_legacy = false;
	virtio->isr = 0;
	if (virtio->transport.isr_taken)
		virtio->transport.isr_taken(virtio->transport.context);
	virtio->driver_features = 0;
	for (i = 0; i < virtio->queue_count; i++)
		virtqueue_reset(&virtio->queues[i].ring);
	if (virtio->kind->reset)
		virtio->kind->reset(virtio);
	unlock_quiesced(virtio);
}

/* --- what the driver sees --- */

uint64_t virtio_offered(const struct virtio_device *virtio)
{
	return virtio->features;
}

void virtio_set_driver_features(struct virtio_device *virtio, uint32_t bits, unsigned half)
{
	uint64_t mask = (uint64_t)UINT32_MAX << (32 * half);

	pthread_mutex_lock(&virtio->lock);
	if (!(virtio->status & VIRTIO_CONFIG_S_FEATURES_OK))
		virtio->driver_features = (virtio->driver_features & ~mask) |
					  (uint64_t)bits << (32 * half);
	pthread_mutex_unlock(&virtio->lock);
}

uint32_t virtio_driver_features(struct virtio_device *virtio, unsigned half)
{
	uint32_t bits;

	pthread_mutex_lock(&virtio->lock);
	bits = virtio->driver_features >> (32 * half);
	pthread_mutex_unlock(&virtio->lock);
	return bits;
}

uint8_t virtio_status(struct virtio_device *virtio)
{
	uint8_t status;

	pthread_mutex_lock(&virtio->lock);
	status = virtio->status;
	pthread_mutex_unlock(&virtio->lock);
	return status;
}

static bool features_are_possible(uint64_t among, uint64_t features)
{
	return !(features & ~among) && (features >> VIRTIO_F_VERSION_1 & 1);
}

/* Take over what the driver says, with the lock held. Whether that makes the device begin. */
static bool change_status(struct virtio_device *virtio, uint8_t status)
{
	bool starts = (status & ~virtio->status) & VIRTIO_CONFIG_S_DRIVER_OK;

	virtio->status = status;
	if (starts && (status & VIRTIO_CONFIG_S_NEEDS_RESET) && !virtio->is_legacy)
		config_interrupt(virtio);
	if (starts && virtio->kind->started)
		virtio->kind->started(virtio);
	return starts;
}

void virtio_set_status(struct virtio_device *virtio, uint8_t status)
{
	bool starts;

	if (!status) {
		virtio_reset(virtio);
		return;
	}
	pthread_mutex_lock(&virtio->lock);
	/* Bits are taken back by a reset alone (§2.1.1). */
	status = (status & STATUS_DRIVER) | virtio->status;
	if (!(virtio->status & VIRTIO_CONFIG_S_FEATURES_OK) &&
	    (virtio->is_legacy || !features_are_possible(virtio->features, virtio->driver_features)))
		status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK) && !virtio->is_legacy)
		status &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	starts = change_status(virtio, status);
	pthread_mutex_unlock(&virtio->lock);
	/* What was there before is seen even where nobody notifies of it. */
	if (starts)
		virtio_notify_all(virtio);
}

uint8_t virtio_clear_isr(struct virtio_device *virtio, uint8_t bits)
{
	uint8_t isr;

	pthread_mutex_lock(&virtio->lock);
	isr = virtio->isr;
	virtio->isr &= ~bits;
	if (!virtio->isr && bits && virtio->transport.isr_taken)
		virtio->transport.isr_taken(virtio->transport.context);
	pthread_mutex_unlock(&virtio->lock);
	return isr;
}

uint8_t virtio_generation(struct virtio_device *virtio)
{
	uint8_t generation;

	pthread_mutex_lock(&virtio->lock);
	generation = virtio->generation;
	pthread_mutex_unlock(&virtio->lock);
	return generation;
}

void virtio_read_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes)
{
	memset(bytes, 0, size);
	if (offset >= virtio->config_bytes || !virtio->kind->read_config)
		return;
	if (size > virtio->config_bytes - offset)
		size = virtio->config_bytes - offset;
	pthread_mutex_lock(&virtio->lock);
	virtio->kind->read_config(virtio, offset, size, bytes);
	pthread_mutex_unlock(&virtio->lock);
}

void virtio_write_config(struct virtio_device *virtio, unsigned offset, unsigned size,
			 const uint8_t *bytes)
{
	if (offset >= virtio->config_bytes || size > virtio->config_bytes - offset ||
	    !virtio->kind->write_config)
		return;
	pthread_mutex_lock(&virtio->lock);
	virtio->kind->write_config(virtio, offset, size, bytes);
	pthread_mutex_unlock(&virtio->lock);
}

struct virtqueue_state virtio_queue_state(struct virtio_device *virtio, unsigned queue)
{
	struct virtqueue_state state = {.size = 0};

	pthread_mutex_lock(&virtio->lock);
	if (queue < virtio->queue_count)
		state = virtio->queues[queue].ring.state;
	pthread_mutex_unlock(&virtio->lock);
	return state;
}

/* The queue's state while it may be changed, with the lock held; or NULL, without. */
static struct virtqueue_state *change_queue(struct virtio_device *virtio, unsigned queue)
{
	if (queue >= virtio->queue_count)
		return NULL;
	pthread_mutex_lock(&virtio->lock);
	if (!virtio->queues[queue].ring.state.is_enabled)
		return &virtio->queues[queue].ring.state;
	pthread_mutex_unlock(&virtio->lock);
	return NULL;
}

void virtio_queue_set_size(struct virtio_device *virtio, unsigned queue, uint16_t size)
{
	struct virtqueue_state *state = change_queue(virtio, queue);

	if (!state)
		return;
	if (size <= virtio->queues[queue].ring.size_max)
		state->size = size;
	pthread_mutex_unlock(&virtio->lock);
}

void virtio_queue_set_address(struct virtio_device *virtio, unsigned queue, enum virtio_area area,
			      unsigned half, uint32_t value)
{
	struct virtqueue_state *state = change_queue(virtio, queue);
	uint64_t *gpa, mask = (uint64_t)UINT32_MAX << (32 * half);

	if (!state)
		return;
	gpa = area == VIRTIO_DESCRIPTORS   ? &state->descriptors_gpa
	      : area == VIRTIO_DRIVER_AREA ? &state->driver_gpa
					   : &state->device_gpa;
	*gpa = (*gpa & ~mask) | (uint64_t)value << (32 * half);
	pthread_mutex_unlock(&virtio->lock);
}

/* With the lock held; `state.is_enabled` is set. */
static void enable(struct virtio_device *virtio, struct virtqueue *ring)
{
	ring->is_packed = virtio_has(virtio, VIRTIO_F_RING_PACKED);
	ring->has_event_index = virtio_has(virtio, VIRTIO_RING_F_EVENT_IDX);
	virtqueue_enable(ring);
	if (ring->broken)
		virtio_break(virtio, ring->broken);
}

void virtio_queue_enable(struct virtio_device *virtio, unsigned queue)
{
	struct virtqueue_state *state = change_queue(virtio, queue);

	if (!state)
		return;
	if (virtio->status & VIRTIO_CONFIG_S_FEATURES_OK) {
		state->is_enabled = true;
		enable(virtio, &virtio->queues[queue].ring);
	}
	pthread_mutex_unlock(&virtio->lock);
}

/* --- the legacy interface --- */

#define LEGACY_STATUS                                                                              \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |        \
	 VIRTIO_CONFIG_S_FAILED)
#define LEGACY_PAGE_BYTES 4096ull
#define LEGACY_RING_BYTES(size) (6ull + 2ull * (size)) /* the driver's (§2.7.6) */

/* No device here cares for how a driver cuts its buffers (§6.3, ANY_LAYOUT). */
uint32_t virtio_legacy_offered(const struct virtio_device *virtio)
{
	return virtio->features | 1u << VIRTIO_F_ANY_LAYOUT;
}

/* With the lock held: whether its driver may use the legacy interface, as it does from now on. */
static bool become_legacy(struct virtio_device *virtio)
{
	virtio->is_legacy = virtio->has_legacy && !(virtio->status & VIRTIO_CONFIG_S_FEATURES_OK);
	return virtio->is_legacy;
}

void virtio_legacy_set_driver_features(struct virtio_device *virtio, uint32_t bits)
{
	unsigned i;

	pthread_mutex_lock(&virtio->lock);
	if (become_legacy(virtio)) {
		virtio->driver_features = bits & virtio_legacy_offered(virtio);
		/* "Sometimes even before writing the feature bits" (§3.1.2). */
		for (i = 0; i < virtio->queue_count; i++)
			if (virtio->queues[i].ring.state.is_enabled)
				enable(virtio, &virtio->queues[i].ring);
	}
	pthread_mutex_unlock(&virtio->lock);
}

uint8_t virtio_legacy_status(struct virtio_device *virtio)
{
	return virtio_status(virtio) & LEGACY_STATUS;
}

void virtio_legacy_set_status(struct virtio_device *virtio, uint8_t status)
{
	bool starts = false;

	if (!status) {
		virtio_reset(virtio);
		return;
	}
	pthread_mutex_lock(&virtio->lock);
	if (become_legacy(virtio))
		starts = change_status(virtio, (status & LEGACY_STATUS) | virtio->status);
	pthread_mutex_unlock(&virtio->lock);
	if (starts)
		virtio_notify_all(virtio);
}

/* Descriptors, the driver's ring right behind them, and the device's on the next page (§2.7.2). */
static void place_queue(struct virtqueue_state *state, uint32_t page)
{
	uint64_t end;

	state->descriptors_gpa = page * LEGACY_PAGE_BYTES;
	state->driver_gpa = state->descriptors_gpa + (uint64_t)sizeof(struct vring_desc) * state->size;
	end = state->driver_gpa + LEGACY_RING_BYTES(state->size);
	state->device_gpa = (end + LEGACY_PAGE_BYTES - 1) & ~(LEGACY_PAGE_BYTES - 1);
}

void virtio_legacy_set_queue(struct virtio_device *virtio, unsigned queue, uint32_t page)
{
	struct virtqueue *ring;

	if (queue >= virtio->queue_count)
		return;
	ring = &virtio->queues[queue].ring;
	quiesce_and_lock(virtio);
	if (become_legacy(virtio)) {
		virtqueue_reset(ring);
		if (page) {
			place_queue(&ring->state, page);
			ring->state.is_enabled = true;
			enable(virtio, ring);
		}
	}
	unlock_quiesced(virtio);
}

uint32_t virtio_legacy_queue(struct virtio_device *virtio, unsigned queue)
{
	const struct virtqueue_state state = virtio_queue_state(virtio, queue);

	return state.is_enabled ? state.descriptors_gpa / LEGACY_PAGE_BYTES : 0;
}

/* --- saving and loading --- */

/* Whether the device can do what the driver has agreed to: bit by bit, or by FEATURES_OK. */
static bool agreement_is_possible(const struct virtio_device *virtio, const struct virtio_state *loaded)
{
	if (loaded->is_legacy)
		return virtio->has_legacy && !(loaded->status & VIRTIO_CONFIG_S_FEATURES_OK) &&
		       !(loaded->driver_features & ~(virtio->able | 1ull << VIRTIO_F_ANY_LAYOUT));
	return !(loaded->status & VIRTIO_CONFIG_S_FEATURES_OK) ||
	       features_are_possible(virtio->able, loaded->driver_features);
}

void virtio_transfer(struct virtio_device *virtio, struct virtio_state *loaded,
		     struct state_stream *state)
{
	unsigned i;
	bool may_run;

	pthread_mutex_lock(&virtio->lock);
	if (!state->is_loading)
		*loaded = (struct virtio_state){virtio->driver_features, virtio->status, virtio->isr,
						virtio->generation, virtio->is_legacy, {{0}}};
	state_u64(state, "driver features", &loaded->driver_features);
	state_u8(state, "status", &loaded->status);
	state_check(state, "status",
		    !(loaded->status & ~(STATUS_DRIVER | VIRTIO_CONFIG_S_NEEDS_RESET)));
	if (state->version >= VIRTIO_STATE_LEGACY)
		state_bool(state, "legacy", &loaded->is_legacy);
	state_check(state, "driver features", agreement_is_possible(virtio, loaded));
	may_run = loaded->is_legacy || (loaded->status & VIRTIO_CONFIG_S_FEATURES_OK);
	state_check(state, "status", !(loaded->status & VIRTIO_CONFIG_S_DRIVER_OK) || may_run);
	state_u8(state, "isr", &loaded->isr);
	state_check(state, "isr", !(loaded->isr & ~(ISR_QUEUE | ISR_CONFIG)));
	state_u8(state, "generation", &loaded->generation);
	for (i = 0; i < virtio->queue_count; i++) {
		virtqueue_transfer(&virtio->queues[i].ring, &loaded->queues[i], state);
		state_check(state, "queue enabled", !loaded->queues[i].is_enabled || may_run);
	}
	if (virtio->kind->transfer)
		virtio->kind->transfer(virtio, state);
	pthread_mutex_unlock(&virtio->lock);
}

void virtio_restore(struct virtio_device *virtio, const struct virtio_state *loaded)
{
	struct virtqueue *ring;
	unsigned i;

	virtio_reset(virtio);
	pthread_mutex_lock(&virtio->lock);
	virtio->driver_features = loaded->driver_features;
	virtio->is_legacy = loaded->is_legacy;
	virtio->isr = loaded->isr;
	virtio->generation = loaded->generation;
	for (i = 0; i < virtio->queue_count; i++) {
		ring = &virtio->queues[i].ring;
		ring->state = loaded->queues[i];
		if (ring->state.is_enabled)
			enable(virtio, ring);
	}
	/* A queue that is broken here breaks the device, but sends nothing: it has no DRIVER_OK yet. */
	virtio->status |= loaded->status;
	if (virtio->kind->loaded)
		virtio->kind->loaded(virtio);
	if ((virtio->status & VIRTIO_CONFIG_S_DRIVER_OK) && virtio->kind->started)
		virtio->kind->started(virtio);
	pthread_mutex_unlock(&virtio->lock);
}
