/* Virtqueues from inside, for their own files: queue_builder.c makes a chain of what a ring holds,
 * queue_split.c and queue_packed.c are the rings, virtqueue.c is what both kinds share. */
#ifndef KVIK_DEVICE_VIRTIO_QUEUE_PARTS_H
#define KVIK_DEVICE_VIRTIO_QUEUE_PARTS_H

#include "device/virtio/queue.h"

#define DESCRIPTOR_BYTES 16 /* of either kind of ring (§2.7.5, §2.8.13) */

/* A chain that is being read: where its parts go, and how many descriptors it had. */
struct virtqueue_builder {
	struct virtqueue *queue;
	unsigned readable, writable;
	uint64_t readable_bytes, writable_bytes;
	unsigned descriptors;
};

/* The driver broke a rule: -EPROTO. `why` lives for ever. */
int virtqueue_break(struct virtqueue *queue, const char *why);

/* Add a descriptor's buffer. 0 or -EPROTO. */
int virtqueue_add_buffer(struct virtqueue_builder *builder, uint64_t gpa, uint32_t size,
			 bool is_writable);

/* Bytes of an indirect table, which must be whole descriptors. In `count`, how many. 0 or -EPROTO. */
int virtqueue_check_table(struct virtqueue *queue, uint32_t bytes, unsigned *count);

/* Values in guest memory: little-endian, read or written once (§2.6, §2.8). */
static inline uint16_t ring_load16(const uint8_t *at)
{
	return __atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static inline void ring_store16(uint8_t *at, uint16_t value)
{
	__atomic_store_n((uint16_t *)(void *)at, value, __ATOMIC_RELEASE);
}

static inline void ring_store32(uint8_t *at, uint32_t value)
{
	__atomic_store_n((uint32_t *)(void *)at, value, __ATOMIC_RELEASE);
}

/* The rings' side of queue.h's functions. `split_pop` and `packed_pop` fill the builder and say the
 * chain's name: 1, 0 or -errno. */
int split_pop(struct virtqueue *queue, struct virtqueue_builder *builder, uint16_t *id);
void split_push(struct virtqueue *queue, const struct virtqueue_filled *filled, unsigned count);
bool split_want_notices(struct virtqueue *queue, bool wants);
bool split_wants_interrupt(struct virtqueue *queue);

int packed_pop(struct virtqueue *queue, struct virtqueue_builder *builder, uint16_t *id);
void packed_unpop(struct virtqueue *queue, const struct virtqueue_chain *chain);
void packed_push(struct virtqueue *queue, const struct virtqueue_filled *filled, unsigned count);
bool packed_want_notices(struct virtqueue *queue, bool wants);
bool packed_wants_interrupt(struct virtqueue *queue);

#endif
