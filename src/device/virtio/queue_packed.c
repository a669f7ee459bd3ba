/*
 * Packed rings (virtio 1.2 §2.8): one ring of descriptors, which the driver fills and the device
 * overwrites with what it has used; two flags and a counter of the times around tell whose one is.
 */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "device/virtio/queue_parts.h"

#define DESCRIPTOR_ID	 12 /* offsets (§2.8.13) */
#define DESCRIPTOR_LEN	 8
#define DESCRIPTOR_FLAGS 14

#define FLAG_AVAILABLE (1u << VRING_PACKED_DESC_F_AVAIL)
#define FLAG_USED      (1u << VRING_PACKED_DESC_F_USED)

/* Event suppression (§2.8.14). */
#define EVENT_OFFSET 0
#define EVENT_FLAGS  2
#define EVENT_WRAP   (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

/* The driver has made it available in this round (§2.8.1). */
static bool is_available(uint16_t flags, bool wrap)
{
	bool available = flags & FLAG_AVAILABLE, used = flags & FLAG_USED;

	return available == wrap && used != wrap;
}

static bool packed_has_more(const struct virtqueue *queue)
{
	const uint8_t *at = queue->descriptors + DESCRIPTOR_BYTES * queue->state.next;

	return is_available(ring_load16(at + DESCRIPTOR_FLAGS), queue->state.wrap);
}

/* One descriptor, once. */
static struct vring_packed_desc read_descriptor(const uint8_t *table, unsigned index)
{
	struct vring_packed_desc descriptor;

	memcpy(&descriptor, table + DESCRIPTOR_BYTES * index, sizeof(descriptor));
	__asm__ volatile("" ::: "memory");
	return descriptor;
}

/* A table's descriptors follow one another; only whether they are written counts (§2.8.7). */
static int add_table(struct virtqueue_builder *builder, uint64_t gpa, uint32_t bytes)
{
	struct virtqueue *queue = builder->queue;
	struct vring_packed_desc descriptor;
	const uint8_t *table;
	unsigned entries, i;
	int result = virtqueue_check_table(queue, bytes, &entries);

	if (result < 0)
		return result;
	table = guest_memory_at(queue->memory, gpa, bytes);
	if (!table)
		return virtqueue_break(queue, "an indirect table is not in RAM");
	for (i = 0; i < entries && result == 0; i++) {
		descriptor = read_descriptor(table, i);
		result = virtqueue_add_buffer(builder, descriptor.addr, descriptor.len,
					      descriptor.flags & VRING_DESC_F_WRITE);
	}
	return result;
}

static void advance(uint16_t *index, bool *wrap, uint16_t size, unsigned by)
{
	unsigned at = *index + by;

	if (at >= size) {
		at -= size;
		*wrap = !*wrap;
	}
	*index = at;
}

int packed_pop(struct virtqueue *queue, struct virtqueue_builder *builder, uint16_t *id)
{
	struct vring_packed_desc descriptor;
	unsigned index = queue->state.next, taken = 0, room = queue->state.size - virtqueue_in_flight(queue);
	int result;

	if (!packed_has_more(queue))
		return 0;
	/* The head's flags were the last thing that the driver wrote (§2.8.19): all of it is there. */
	do {
		/* What is in use already is the device's, whatever the driver has made of its descriptors. */
		if (taken == room)
			return virtqueue_break(queue, room == queue->state.size ? "a chain has a loop"
										 : "more is in use than the queue holds");
		descriptor = read_descriptor(queue->descriptors, index);
		taken++;
		if (descriptor.flags & VRING_DESC_F_INDIRECT) {
			if (taken > 1 || (descriptor.flags & VRING_DESC_F_NEXT))
				return virtqueue_break(queue, "an indirect table is in a chain");
			result = add_table(builder, descriptor.addr, descriptor.len);
		} else {
			result = virtqueue_add_buffer(builder, descriptor.addr, descriptor.len,
						      descriptor.flags & VRING_DESC_F_WRITE);
		}
		if (result < 0)
			return result;
		index = index + 1 == queue->state.size ? 0 : index + 1;
	} while (descriptor.flags & VRING_DESC_F_NEXT);
	/* The last one of a chain has its name. */
	*id = descriptor.id;
	builder->descriptors = taken;
	advance(&queue->state.next, &queue->state.wrap, queue->state.size, taken);
	return 1;
}

void packed_unpop(struct virtqueue *queue, const struct virtqueue_chain *chain)
{
	unsigned at = queue->state.next;

	if (at < chain->descriptors) {
		at += queue->state.size;
		queue->state.wrap = !queue->state.wrap;
	}
	queue->state.next = at - chain->descriptors;
}

static void write_used(struct virtqueue *queue, uint16_t index, bool wrap,
		       const struct virtqueue_filled *filled)
{
	uint8_t *at = queue->descriptors + DESCRIPTOR_BYTES * index;
	uint16_t flags = wrap ? FLAG_AVAILABLE | FLAG_USED : 0;

	/* A length is told where something was written (§2.8.2.1.1). */
	if (filled->written)
		flags |= VRING_DESC_F_WRITE;
	memcpy(at + DESCRIPTOR_LEN, &filled->written, 4);
	memcpy(at + DESCRIPTOR_ID, &filled->chain->id, 2);
	ring_store16(at + DESCRIPTOR_FLAGS, flags);
	guest_memory_written(queue->memory, queue->state.descriptors_gpa + DESCRIPTOR_BYTES * index,
			     DESCRIPTOR_BYTES);
}

/* `signalled` has the wrap counter on top. How many descriptors were used since then. */
static unsigned unsignalled(const struct virtqueue_state *state)
{
	bool is_same_round = !!(state->signalled & EVENT_WRAP) == state->used_wrap;

	return state->next_used + (is_same_round ? 0 : state->size) -
	       (state->signalled & ~EVENT_WRAP);
}

/* An index with its round's wrap counter, counted from the start of this round. */
static uint16_t in_this_round(const struct virtqueue_state *state, uint16_t index)
{
	bool is_same_round = !!(index & EVENT_WRAP) == state->used_wrap;

	return (index & ~EVENT_WRAP) - (is_same_round ? 0 : state->size);
}

void packed_push(struct virtqueue *queue, const struct virtqueue_filled *filled, unsigned count)
{
	struct virtqueue_state *state = &queue->state;
	uint16_t first = state->next_used, index = first;
	bool first_wrap = state->used_wrap, wrap = first_wrap;
	unsigned i, new = unsignalled(state);

	if (!count)
		return;
	/* The first one last: with it the driver sees all of them. */
	for (i = 0; i < count; i++) {
		if (i)
			write_used(queue, index, wrap, &filled[i]);
		advance(&index, &wrap, state->size, filled[i].chain->descriptors);
		new += filled[i].chain->descriptors;
	}
	write_used(queue, first, first_wrap, &filled[0]);
	/* What was signalled lies a whole ring back: it says nothing any more. */
	if (new >= state->size)
		state->has_signalled = false;
	state->next_used = index;
	state->used_wrap = wrap;
}

bool packed_want_notices(struct virtqueue *queue, bool wants)
{
	uint16_t flags = wants ? VRING_PACKED_EVENT_FLAG_ENABLE : VRING_PACKED_EVENT_FLAG_DISABLE;

	if (wants && queue->has_event_index) {
		ring_store16(queue->device + EVENT_OFFSET,
			     queue->state.next | (queue->state.wrap ? EVENT_WRAP : 0));
		flags = VRING_PACKED_EVENT_FLAG_DESC;
	}
	ring_store16(queue->device + EVENT_FLAGS, flags);
	guest_memory_written(queue->memory, queue->state.device_gpa, 4);
	if (!wants)
		return false;
	/* Pairs with the driver's barrier between its flags and its look at what we wrote. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return packed_has_more(queue);
}

bool packed_wants_interrupt(struct virtqueue *queue)
{
	struct virtqueue_state *state = &queue->state;
	uint16_t old = state->signalled, new = state->next_used, flags, event;
	bool is_known = state->has_signalled;

	/* The descriptors were written before; now what the driver wants (§2.8.14). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	flags = ring_load16(queue->driver + EVENT_FLAGS) & 3;
	event = ring_load16(queue->driver + EVENT_OFFSET);
	state->signalled = new | (state->used_wrap ? EVENT_WRAP : 0);
	state->has_signalled = true;
	if (flags == VRING_PACKED_EVENT_FLAG_DISABLE)
		return false;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !is_known)
		return true;
	return vring_need_event(in_this_round(state, event), new, in_this_round(state, old));
}
