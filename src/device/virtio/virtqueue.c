/* Virtqueues: what both kinds of ring share (queue.h). */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "device/virtio/queue_parts.h"

/* The sizes of a ring's three parts (§2.6, §2.8). */
#define SPLIT_DRIVER_BYTES  6 /* and 2 for each entry */
#define SPLIT_DEVICE_BYTES  6 /* and 8 for each entry */
#define PACKED_EVENT_BYTES  4

int virtqueue_init(struct virtqueue *queue, const struct guest_memory *memory, uint16_t size_max)
{
	memset(queue, 0, sizeof(*queue));
	queue->memory = memory;
	queue->size_max = size_max;
	queue->scratch = malloc(VIRTQUEUE_PARTS_MAX * sizeof(*queue->scratch));
	queue->scratch_gpa = malloc(VIRTQUEUE_PARTS_MAX * sizeof(*queue->scratch_gpa));
	if (!queue->scratch || !queue->scratch_gpa) {
		virtqueue_destroy(queue);
		return -ENOMEM;
	}
	virtqueue_reset(queue);
	return 0;
}

void virtqueue_destroy(struct virtqueue *queue)
{
	free(queue->scratch);
	free(queue->scratch_gpa);
	queue->scratch = NULL;
	queue->scratch_gpa = NULL;
}

void virtqueue_reset(struct virtqueue *queue)
{
	/* Wrap counters begin with 1 (§2.8.1); split rings have none. */
	queue->state = (struct virtqueue_state){
		.size = queue->size_max, .wrap = true, .used_wrap = true};
	queue->broken = NULL;
	queue->descriptors = queue->driver = queue->device = NULL;
	queue->wants_notices = queue->has_news = false;
	queue->is_packed = queue->has_event_index = false;
}

static uint8_t *find_part(struct virtqueue *queue, uint64_t gpa, unsigned bytes, unsigned alignment)
{
	if (gpa % alignment)
		return NULL;
	return guest_memory_for_writing(queue->memory, gpa, bytes);
}

void virtqueue_enable(struct virtqueue *queue)
{
	const struct virtqueue_state *state = &queue->state;
	unsigned driver_bytes = PACKED_EVENT_BYTES, device_bytes = PACKED_EVENT_BYTES;
	bool is_power = state->size && !(state->size & (state->size - 1));

	/* The two bytes at the end are there with event indices alone, and then used alone. */
	if (!queue->is_packed) {
		driver_bytes = SPLIT_DRIVER_BYTES - (queue->has_event_index ? 0 : 2) + 2 * state->size;
		device_bytes = SPLIT_DEVICE_BYTES - (queue->has_event_index ? 0 : 2) + 8 * state->size;
	}
	queue->descriptors = find_part(queue, state->descriptors_gpa, DESCRIPTOR_BYTES * state->size,
				       VRING_DESC_ALIGN_SIZE);
	queue->driver = find_part(queue, state->driver_gpa, driver_bytes,
				  queue->is_packed ? 4 : VRING_AVAIL_ALIGN_SIZE);
	queue->device = find_part(queue, state->device_gpa, device_bytes, VRING_USED_ALIGN_SIZE);
	if (!state->size || state->size > queue->size_max || (!queue->is_packed && !is_power))
		virtqueue_break(queue, "its size is impossible");
	else if (!queue->descriptors || !queue->driver || !queue->device)
		virtqueue_break(queue, "its rings are not in RAM, or not aligned");
	else if ((queue->is_packed && (state->next >= state->size || state->next_used >= state->size)) ||
		 virtqueue_in_flight(queue) > state->size)
		virtqueue_break(queue, "it goes on outside of its ring");
}

static bool can_be_used(const struct virtqueue *queue)
{
	return queue->state.is_enabled && !queue->broken;
}

/* --- taking chains --- */

static struct virtqueue_chain *make_chain(const struct virtqueue_builder *builder, uint16_t id)
{
	unsigned count = builder->readable + builder->writable;
	struct virtqueue_chain *chain;

	chain = malloc(sizeof(*chain) + count * (sizeof(struct iovec) + sizeof(uint64_t)));
	if (!chain)
		return NULL;
	chain->id = id;
	chain->descriptors = builder->descriptors;
	chain->readable = builder->readable;
	chain->writable = builder->writable;
	chain->readable_bytes = builder->readable_bytes;
	chain->writable_bytes = builder->writable_bytes;
	chain->parts = (struct iovec *)(chain + 1);
	chain->gpa = (uint64_t *)(chain->parts + count);
	memcpy(chain->parts, builder->queue->scratch, count * sizeof(struct iovec));
	memcpy(chain->gpa, builder->queue->scratch_gpa, count * sizeof(uint64_t));
	return chain;
}

int virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain **chain)
{
	struct virtqueue_builder builder = {.queue = queue};
	struct virtqueue_state before = queue->state;
	uint16_t id = 0;
	int result;

	if (queue->broken)
		return -EPROTO;
	if (!can_be_used(queue))
		return 0;
	result = queue->is_packed ? packed_pop(queue, &builder, &id) : split_pop(queue, &builder, &id);
	if (result <= 0)
		return result;
	*chain = make_chain(&builder, id);
	if (*chain)
		return 1;
	queue->state = before;
	return -ENOMEM;
}

void virtqueue_unpop(struct virtqueue *queue, struct virtqueue_chain *chain)
{
	if (queue->is_packed)
		packed_unpop(queue, chain);
	else
		queue->state.next--;
	free(chain);
}

void virtqueue_drop(struct virtqueue_chain *chain)
{
	free(chain);
}

/* --- handing them back --- */

void virtqueue_push_all(struct virtqueue *queue, const struct virtqueue_filled *filled,
			unsigned count)
{
	const struct virtqueue_chain *chain;
	unsigned i, part;

	for (i = 0; i < count; i++) {
		chain = filled[i].chain;
		/* Whatever was written, and by whom: a failed read may have come half way. */
		for (part = chain->readable; part < chain->readable + chain->writable; part++)
			guest_memory_written(queue->memory, chain->gpa[part],
					     chain->parts[part].iov_len);
	}
	if (can_be_used(queue)) {
		queue->has_news |= count > 0;
		if (queue->is_packed)
			packed_push(queue, filled, count);
		else
			split_push(queue, filled, count);
	}
	for (i = 0; i < count; i++)
		free(filled[i].chain);
}

void virtqueue_push(struct virtqueue *queue, struct virtqueue_chain *chain, uint32_t written)
{
	const struct virtqueue_filled filled = {chain, written};

	virtqueue_push_all(queue, &filled, 1);
}

bool virtqueue_want_notices(struct virtqueue *queue, bool wants)
{
	if (!can_be_used(queue))
		return false;
	queue->wants_notices = wants;
	return queue->is_packed ? packed_want_notices(queue, wants)
				: split_want_notices(queue, wants);
}

bool virtqueue_wants_interrupt(struct virtqueue *queue)
{
	if (!can_be_used(queue) || !queue->has_news)
		return false;
	queue->has_news = false;
	return queue->is_packed ? packed_wants_interrupt(queue) : split_wants_interrupt(queue);
}

/* --- what is in a chain --- */

unsigned virtqueue_slice(const struct virtqueue_chain *chain, bool is_writable, uint64_t offset,
			 uint64_t size, struct iovec *parts, unsigned max)
{
	unsigned i = is_writable ? chain->readable : 0;
	unsigned end = is_writable ? chain->readable + chain->writable : chain->readable;
	unsigned count = 0;
	size_t length;

	for (; i < end && size && count < max; i++) {
		length = chain->parts[i].iov_len;
		if (offset >= length) {
			offset -= length;
			continue;
		}
		length -= offset;
		if (length > size)
			length = size;
		parts[count].iov_base = (uint8_t *)chain->parts[i].iov_base + offset;
		parts[count++].iov_len = length;
		size -= length;
		offset = 0;
	}
	return count;
}

static size_t copy(const struct virtqueue_chain *chain, bool is_writable, uint64_t offset,
		   uint8_t *data, size_t size)
{
	struct iovec part;
	size_t done;

	for (done = 0; done < size; done += part.iov_len) {
		if (!virtqueue_slice(chain, is_writable, offset + done, size - done, &part, 1))
			break;
		if (is_writable)
			memcpy(part.iov_base, data + done, part.iov_len);
		else
			memcpy(data + done, part.iov_base, part.iov_len);
	}
	return done;
}

size_t virtqueue_read(const struct virtqueue_chain *chain, uint64_t offset, void *data, size_t size)
{
	return copy(chain, false, offset, data, size);
}

size_t virtqueue_write(const struct virtqueue_chain *chain, uint64_t offset, const void *data,
		       size_t size)
{
	return copy(chain, true, offset, (uint8_t *)data, size);
}

/* --- saving --- */

void virtqueue_transfer(const struct virtqueue *queue, struct virtqueue_state *loaded,
			struct state_stream *state)
{
	if (!state->is_loading)
		*loaded = queue->state;
	state_bool(state, "queue enabled", &loaded->is_enabled);
	state_u16(state, "queue size", &loaded->size);
	state_check(state, "queue size", loaded->size <= queue->size_max);
	state_u64(state, "queue descriptors", &loaded->descriptors_gpa);
	state_u64(state, "queue driver area", &loaded->driver_gpa);
	state_u64(state, "queue device area", &loaded->device_gpa);
	state_u16(state, "queue next", &loaded->next);
	state_u16(state, "queue next used", &loaded->next_used);
	state_bool(state, "queue wrap", &loaded->wrap);
	state_bool(state, "queue used wrap", &loaded->used_wrap);
	state_u16(state, "queue signalled", &loaded->signalled);
	state_bool(state, "queue has signalled", &loaded->has_signalled);
}
