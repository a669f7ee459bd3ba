/*
 * A virtqueue as its device sees it (virtio 1.2 §2.6 to §2.8): a ring of descriptors in guest memory,
 * split or packed, by which the driver hands over chains of buffers and gets them back.
 *
 * The driver writes the same memory at any time. Each descriptor is read once, into a copy; what is
 * checked is the copy: that buffers lie in RAM, that a chain ends, that lengths add up, that an
 * indirect table is one. A queue whose driver breaks a rule is broken from then on: nothing is taken
 * from it any more, and its device asks for a reset (virtio.h).
 *
 * The device loads and stores in guest memory, and never uses an atomic read-modify-write there
 * (kvm_vm_own_memory). All functions are called with the lock of the queue's device held.
 */
#ifndef KVIK_DEVICE_VIRTIO_QUEUE_H
#define KVIK_DEVICE_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "device/guest_memory.h"
#include "util/state.h"

#define VIRTQUEUE_SIZE_MAX  1024
#define VIRTQUEUE_PARTS_MAX 1024 /* host buffers of one chain */

/* Where a driver put a queue, and how far both sides are. Plain numbers: what is saved. */
struct virtqueue_state {
	bool is_enabled;
	uint16_t size;				    /* of the ring; 0: cannot be used */
	uint64_t descriptors_gpa, driver_gpa, device_gpa; /* §2.6, §2.8 */
	uint16_t next;	    /* the next entry of the ring to look at */
	uint16_t next_used; /* the next one to write */
	/* Packed (§2.8.1): the wrap counters that go with them. */
	bool wrap, used_wrap;
	/* What the driver was last interrupted for, to know what is new (§2.6.7.2). */
	uint16_t signalled;
	bool has_signalled;
};

struct virtqueue {
	const struct guest_memory *memory;
	struct virtqueue_state state;
	uint16_t size_max; /* what the device offers */
	bool is_packed, has_event_index; /* what was negotiated */
	const char *broken; /* how its driver broke it, or NULL */
	/* The parts in host memory while it is enabled; NULL: not in RAM. */
	uint8_t *descriptors, *driver, *device;
	bool has_news; /* pushed since virtqueue_wants_interrupt was asked */
	bool wants_notices; /* the driver was told to notify (virtqueue_want_notices) */
	/* Room for one chain that is being read. */
	struct iovec *scratch;
	uint64_t *scratch_gpa;
};

/* Entries of the ring (split: chains) that were taken and not handed back. More than its size: nothing that a device can have
 * come to. */
static inline unsigned virtqueue_in_flight(const struct virtqueue *queue)
{
	const struct virtqueue_state *state = &queue->state;

	if (!queue->is_packed)
		return (uint16_t)(state->next - state->next_used);
	return state->next + (state->wrap == state->used_wrap ? 0u : state->size) - state->next_used;
}

/*
 * A chain of buffers, taken from a queue: host addresses of guest memory, those that the device may
 * only read before those that it may only write. The guest may change what is in them at any time.
 */
struct virtqueue_chain {
	uint16_t id;	      /* the driver's name of it */
	uint16_t descriptors; /* entries of the ring that it takes (packed) */
	unsigned readable, writable; /* parts */
	uint64_t readable_bytes, writable_bytes;
	struct iovec *parts;	/* readable + writable of them; a buffer may be more than one */
	uint64_t *gpa;		/* of each */
};

/* `size_max`: a power of two, 2 to VIRTQUEUE_SIZE_MAX. 0 or -ENOMEM. */
int virtqueue_init(struct virtqueue *queue, const struct guest_memory *memory, uint16_t size_max);
void virtqueue_destroy(struct virtqueue *queue);

/* Back to what a reset leaves: not enabled, its size the largest. */
void virtqueue_reset(struct virtqueue *queue);

/* The driver has enabled it, with what is in `state` and was negotiated: looks its parts up. */
void virtqueue_enable(struct virtqueue *queue);

/* Take the next chain. 1 and `chain`, which virtqueue_push or _drop ends; 0: there is none; -errno:
 * the queue is broken, or -ENOMEM. */
int virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain **chain);

/* Hand a chain back, of which the device wrote the first `written` bytes. Frees it. */
void virtqueue_push(struct virtqueue *queue, struct virtqueue_chain *chain, uint32_t written);

/* Hand several back at once, so that the driver sees all or none (§5.1.6.4, merged buffers). */
struct virtqueue_filled {
	struct virtqueue_chain *chain;
	uint32_t written;
};
void virtqueue_push_all(struct virtqueue *queue, const struct virtqueue_filled *filled,
			unsigned count);

/* Give the chain that was popped last back to the ring, untouched: the next pop returns it again. */
void virtqueue_unpop(struct virtqueue *queue, struct virtqueue_chain *chain);

/* Forget a chain, of a queue that was reset or is broken. */
void virtqueue_drop(struct virtqueue_chain *chain);

/*
 * Ask to be notified of what the driver adds from now on, or not: a hint. When this returns true
 * there was more in the meantime, and nobody will notify of that.
 */
bool virtqueue_want_notices(struct virtqueue *queue, bool wants);

/* Whether the driver wants an interrupt for what was pushed since the last time that it did. */
bool virtqueue_wants_interrupt(struct virtqueue *queue);

/* Copy from a chain's readable parts, or to its writable ones, at an offset there; how many bytes were
 * copied: fewer when the parts end. */
size_t virtqueue_read(const struct virtqueue_chain *chain, uint64_t offset, void *data, size_t size);
size_t virtqueue_write(const struct virtqueue_chain *chain, uint64_t offset, const void *data,
		       size_t size);

/* Parts of [offset, offset + size) of the readable or writable ones. How many, at most `max`; the bytes
 * that they hold may be fewer then. */
unsigned virtqueue_slice(const struct virtqueue_chain *chain, bool is_writable, uint64_t offset,
			 uint64_t size, struct iovec *parts, unsigned max);

/* Save, or load into `loaded` and check. */
void virtqueue_transfer(const struct virtqueue *queue, struct virtqueue_state *loaded,
			struct state_stream *state);

#endif
