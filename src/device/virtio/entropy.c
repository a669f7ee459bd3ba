#include "device/virtio/entropy.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define QUEUE_SIZE 8
/* A driver gets no more at once: others wait for the same thread. */
#define REQUEST_MAX 65536

/* How many bytes of a chain could be filled. */
static uint32_t fill(const struct virtqueue_chain *chain)
{
	uint32_t done = 0;
	size_t left, bytes;
	ssize_t got;
	unsigned i;

	for (i = chain->readable; i < chain->readable + chain->writable; i++) {
		left = REQUEST_MAX - done;
		bytes = chain->parts[i].iov_len < left ? chain->parts[i].iov_len : left;
		got = getrandom(chain->parts[i].iov_base, bytes, 0);
		if (got < 0)
			break;
		done += got;
		if ((size_t)got < chain->parts[i].iov_len)
			break;
	}
	return done;
}

static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	struct virtqueue_chain *chain;

	while (virtio_pop(virtio, queue, &chain))
		virtio_push(virtio, queue, chain, fill(chain));
	/* Each time that the driver asks is rare and apart: notices stay wanted. */
	if (virtqueue_want_notices(&virtio->queues[queue].ring, true))
		virtio_notify(virtio, queue);
}

static const struct virtio_kind kind = {
	.id = VIRTIO_ID_RNG,
	.name = "virtio-rng",
	.queue_notified = queue_notified,
	.destroy = virtio_destroy,
};

struct virtio_device *virtio_entropy_create(const struct virtio_host *host, struct error *error)
{
	static const uint16_t size = QUEUE_SIZE;

	return virtio_device_create(sizeof(struct virtio_device), &kind, host, 0, 0, &size, 1, error);
}
