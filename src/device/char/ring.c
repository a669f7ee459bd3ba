/* A stream that keeps what was written to it last, for who asks. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "device/char/char.h"
#include "device/char/output.h"

struct char_ring {
	struct char_stream stream;
	size_t size; /* a power of 2 */
	pthread_mutex_t lock; /* guards what follows; nothing is called under it */
	size_t written, taken; /* counts of bytes */
	uint8_t bytes[];
};

static void ring_write(void *context, const uint8_t *data, size_t size)
{
	struct char_ring *ring = context;

	pthread_mutex_lock(&ring->lock);
	while (size--)
		ring->bytes[ring->written++ & (ring->size - 1)] = *data++;
	if (ring->written - ring->taken > ring->size)
		ring->taken = ring->written - ring->size;
	pthread_mutex_unlock(&ring->lock);
}

size_t char_ring_read(struct char_stream *stream, uint8_t *data, size_t size)
{
	struct char_ring *ring = (struct char_ring *)stream;
	size_t count = 0;

	pthread_mutex_lock(&ring->lock);
	while (count < size && ring->taken != ring->written)
		data[count++] = ring->bytes[ring->taken++ & (ring->size - 1)];
	pthread_mutex_unlock(&ring->lock);
	return count;
}

static void destroy(struct char_stream *stream)
{
	struct char_ring *ring = (struct char_ring *)stream;

	char_output_destroy(stream->output);
	pthread_mutex_destroy(&ring->lock);
	free(ring);
}

struct char_stream *char_ring_create(size_t size, struct error *error)
{
	static const struct char_ops ops = {.destroy = destroy};
	struct char_ring *ring = calloc(1, sizeof(*ring) + size);

	if (!ring) {
		error_set_errno(error, ENOMEM, "cannot create a ring of %zu bytes", size);
		return NULL;
	}
	pthread_mutex_init(&ring->lock, NULL);
	ring->stream.ops = &ops;
	ring->size = size;
	ring->stream.output = char_output_create_callback(ring_write, ring, error);
	if (ring->stream.output)
		return &ring->stream;
	pthread_mutex_destroy(&ring->lock);
	free(ring);
	return NULL;
}
