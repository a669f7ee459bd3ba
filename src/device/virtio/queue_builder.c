/* A chain as it is read from a ring: its buffers, and the rules that a driver may break. */
#include <errno.h>

#include "device/virtio/queue_parts.h"

#define CHAIN_BYTES_MAX	    UINT32_MAX /* what a used length can tell (§2.6.5.3.1: 2^32 bytes) */

int virtqueue_break(struct virtqueue *queue, const char *why)
{
	if (!queue->broken)
		queue->broken = why;
	return -EPROTO;
}

int virtqueue_add_buffer(struct virtqueue_builder *builder, uint64_t gpa, uint32_t size,
			 bool is_writable)
{
	struct virtqueue *queue = builder->queue;
	uint64_t *total = is_writable ? &builder->writable_bytes : &builder->readable_bytes;
	unsigned count;
	uint64_t bytes;
	uint8_t *hva;

	builder->descriptors++;
	if (!size)
		return virtqueue_break(queue, "a buffer has no bytes");
	if (builder->writable && !is_writable)
		return virtqueue_break(queue, "a buffer to read follows one to write");
	if (size > CHAIN_BYTES_MAX - builder->readable_bytes - builder->writable_bytes)
		return virtqueue_break(queue, "a chain is too long");
	*total += size;
	while (size) {
		count = builder->readable + builder->writable;
		bytes = size;
		hva = guest_memory_span(queue->memory, gpa, &bytes);
		if (!hva)
			return virtqueue_break(queue, "a buffer is not in RAM");
		if (count == VIRTQUEUE_PARTS_MAX)
			return virtqueue_break(queue, "a chain has too many buffers");
		queue->scratch[count] = (struct iovec){hva, bytes};
		queue->scratch_gpa[count] = gpa;
		if (is_writable)
			builder->writable++;
		else
			builder->readable++;
		gpa += bytes;
		size -= bytes;
	}
	return 0;
}

int virtqueue_check_table(struct virtqueue *queue, uint32_t bytes, unsigned *count)
{
	if (!bytes || bytes % DESCRIPTOR_BYTES || bytes / DESCRIPTOR_BYTES > VIRTQUEUE_PARTS_MAX)
		return virtqueue_break(queue, "an indirect table has an impossible length");
	*count = bytes / DESCRIPTOR_BYTES;
	return 0;
}
