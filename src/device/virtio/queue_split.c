/*
 * Split rings (virtio 1.2 §2.7): a table of descriptors, a ring in which the driver makes chains
 * available, a ring in which the device tells which it has used.
 */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "device/virtio/queue_parts.h"

/* Offsets in the driver's ring (§2.7.6) and in the device's (§2.7.8). */
#define RING_FLAGS   0
#define RING_INDEX   2
#define RING_ENTRIES 4
#define USED_BYTES   8

static uint8_t *used_event(const struct virtqueue *queue)
{
	return queue->driver + RING_ENTRIES + 2 * queue->state.size;
}

static uint8_t *avail_event(const struct virtqueue *queue)
{
	return queue->device + RING_ENTRIES + USED_BYTES * queue->state.size;
}

static void wrote_device_part(const struct virtqueue *queue, const uint8_t *at, unsigned bytes)
{
	guest_memory_written(queue->memory, queue->state.device_gpa + (at - queue->device), bytes);
}

static bool split_has_more(const struct virtqueue *queue)
{
	return ring_load16(queue->driver + RING_INDEX) != queue->state.next;
}

/* One descriptor, once. */
static struct vring_desc read_descriptor(const uint8_t *table, unsigned index)
{
	struct vring_desc descriptor;

	memcpy(&descriptor, table + DESCRIPTOR_BYTES * index, sizeof(descriptor));
	/* What is checked is the copy: the compiler may not look there again. */
	__asm__ volatile("" ::: "memory");
	return descriptor;
}

/*
 * Follow a chain in `table`, from `index`. No chain has more descriptors than the table (§2.7.5.2): a
 * loop ends there at the latest. In `indirect`, the descriptor that names a table, which ends it.
 */
static int follow(struct virtqueue_builder *builder, const uint8_t *table, unsigned entries,
		  unsigned index, struct vring_desc *indirect)
{
	struct virtqueue *queue = builder->queue;
	struct vring_desc descriptor;
	unsigned count;
	int result;

	for (count = 0; count < entries; count++) {
		if (index >= entries)
			return virtqueue_break(queue, "a descriptor is not in the table");
		descriptor = read_descriptor(table, index);
		if (descriptor.flags & VRING_DESC_F_INDIRECT) {
			if (!indirect)
				return virtqueue_break(queue, "an indirect table is in another");
			if (descriptor.flags & VRING_DESC_F_NEXT)
				return virtqueue_break(queue, "a descriptor follows an indirect one");
			*indirect = descriptor;
			return 1;
		}
		result = virtqueue_add_buffer(builder, descriptor.addr, descriptor.len,
					      descriptor.flags & VRING_DESC_F_WRITE);
		if (result < 0)
			return result;
		if (!(descriptor.flags & VRING_DESC_F_NEXT))
			return 0;
		index = descriptor.next;
	}
	return virtqueue_break(queue, "a chain has a loop");
}

static int follow_table(struct virtqueue_builder *builder, const struct vring_desc *indirect)
{
	struct virtqueue *queue = builder->queue;
	const uint8_t *table;
	unsigned entries;
	int result = virtqueue_check_table(queue, indirect->len, &entries);

	if (result < 0)
		return result;
	table = guest_memory_at(queue->memory, indirect->addr, indirect->len);
	if (!table)
		return virtqueue_break(queue, "an indirect table is not in RAM");
	return follow(builder, table, entries, 0, NULL);
}

int split_pop(struct virtqueue *queue, struct virtqueue_builder *builder, uint16_t *id)
{
	uint16_t available = ring_load16(queue->driver + RING_INDEX), head;
	struct vring_desc indirect;
	int result;

	if (available == queue->state.next)
		return 0;
	if ((uint16_t)(available - queue->state.next) > queue->state.size)
		return virtqueue_break(queue, "more is available than the queue holds");
	/* Otherwise a driver could have any number of chains under way, and the host's memory with them. */
	if (virtqueue_in_flight(queue) >= queue->state.size)
		return virtqueue_break(queue, "more is in use than the queue holds");
	head = ring_load16(queue->driver + RING_ENTRIES +
			   2 * (queue->state.next % queue->state.size));
	if (head >= queue->state.size)
		return virtqueue_break(queue, "a chain's head is not in the table");
	result = follow(builder, queue->descriptors, queue->state.size, head, &indirect);
	if (result == 1)
		result = follow_table(builder, &indirect);
	if (result < 0)
		return result;
	*id = head;
	queue->state.next++;
	return 1;
}

void split_push(struct virtqueue *queue, const struct virtqueue_filled *filled, unsigned count)
{
	uint16_t index = queue->state.next_used;
	uint8_t *entry;
	unsigned i;

	for (i = 0; i < count; i++, index++) {
		entry = queue->device + RING_ENTRIES + USED_BYTES * (index % queue->state.size);
		ring_store32(entry, filled[i].chain->id);
		ring_store32(entry + 4, filled[i].written);
		wrote_device_part(queue, entry, USED_BYTES);
	}
	/* The entries before the index (§2.7.8.2). */
	ring_store16(queue->device + RING_INDEX, index);
	wrote_device_part(queue, queue->device + RING_INDEX, 2);
	/* What was signalled lies a whole ring back: it says nothing any more. */
	if ((uint16_t)(index - queue->state.signalled) < (uint16_t)(index - queue->state.next_used))
		queue->state.has_signalled = false;
	queue->state.next_used = index;
}

bool split_want_notices(struct virtqueue *queue, bool wants)
{
	if (queue->has_event_index) {
		/* Not wanting any means leaving the index where it is. */
		if (!wants)
			return false;
		ring_store16(avail_event(queue), queue->state.next);
		wrote_device_part(queue, avail_event(queue), 2);
	} else {
		ring_store16(queue->device + RING_FLAGS, wants ? 0 : VRING_USED_F_NO_NOTIFY);
		wrote_device_part(queue, queue->device + RING_FLAGS, 2);
	}
	if (!wants)
		return false;
	/* Pairs with the driver's barrier between its index and its look at what we wrote. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return split_has_more(queue);
}

bool split_wants_interrupt(struct virtqueue *queue)
{
	uint16_t old = queue->state.signalled, new = queue->state.next_used;
	bool is_known = queue->state.has_signalled;

	/* The index was written before; now what the driver wants (§2.7.7.2). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	queue->state.signalled = new;
	queue->state.has_signalled = true;
	if (!queue->has_event_index)
		return !(ring_load16(queue->driver + RING_FLAGS) & VRING_AVAIL_F_NO_INTERRUPT);
	return !is_known || vring_need_event(ring_load16(used_event(queue)), new, old);
}
