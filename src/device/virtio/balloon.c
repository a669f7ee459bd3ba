/*
 * Queues: 0 inflates, 1 deflates, and the next one reports free pages if that was agreed on (§5.5.2; without
 * statistics and hints, which are not offered, no others come between).
 *
 * What the guest gives back or reports is RAM that it will not read before it writes it (§5.5.6.1, §5.5.6.7):
 * the host's memory behind it is freed, and reads as zeroes when it is touched again. Each page is
 * looked up as any other address of the guest's; what is no RAM is passed over. Deflating needs no
 * work: the host makes pages as they are touched.
 *
 * On the loop's thread some thousand pages are freed at a time; a driver sends no more than 256.
 */
#include "device/virtio/balloon.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE 128
#define PAGE_BYTES (1u << VIRTIO_BALLOON_PFN_SHIFT)
#define PFNS_MAX   4096 /* of one chain */

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_REPORT, QUEUES };

struct balloon {
	struct virtio_device virtio;
	/* With the lock held: */
	uint32_t target_pages;
	uint32_t actual_pages, loaded_actual; /* as the driver says */
};

static struct balloon *balloon_of(struct virtio_device *virtio)
{
	return (struct balloon *)((char *)virtio - offsetof(struct balloon, virtio));
}

/* The pages that a chain names, runs of them at once. */
static void free_named(const struct virtio_device *virtio, const struct virtqueue_chain *chain)
{
	uint64_t at = 0, first = 0, bytes = 0;
	uint32_t pfn;
	unsigned i;

	for (i = 0; i < PFNS_MAX && virtqueue_read(chain, at, &pfn, sizeof(pfn)) == sizeof(pfn); i++) {
		at += sizeof(pfn);
		if ((uint64_t)pfn * PAGE_BYTES == first + bytes && bytes) {
			bytes += PAGE_BYTES;
			continue;
		}
		guest_memory_discard(virtio->memory, first, bytes);
		first = (uint64_t)pfn * PAGE_BYTES;
		bytes = PAGE_BYTES;
	}
	guest_memory_discard(virtio->memory, first, bytes);
}

/* The buffers themselves are the free pages. */
static void free_reported(const struct virtio_device *virtio, const struct virtqueue_chain *chain)
{
	unsigned i;

	for (i = chain->readable; i < chain->readable + chain->writable; i++)
		guest_memory_discard(virtio->memory, chain->gpa[i], chain->parts[i].iov_len);
}

static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	struct virtqueue *ring = &virtio->queues[queue].ring;
	struct virtqueue_chain *chain;

	do {
		virtqueue_want_notices(ring, false);
		while (virtio_pop(virtio, queue, &chain)) {
			if (queue == QUEUE_INFLATE)
				free_named(virtio, chain);
			else if (queue == QUEUE_REPORT)
				free_reported(virtio, chain);
			virtio_push(virtio, queue, chain, 0);
		}
	} while (virtqueue_want_notices(ring, true) && virtio_is_running(virtio));
}

static void read_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes)
{
	const struct balloon *balloon = balloon_of(virtio);
	const struct virtio_balloon_config config = {.num_pages = balloon->target_pages,
						     .actual = balloon->actual_pages};

	memcpy(bytes, (const uint8_t *)&config + offset, size);
}

static void write_config(struct virtio_device *virtio, unsigned offset, unsigned size,
			 const uint8_t *bytes)
{
	struct balloon *balloon = balloon_of(virtio);

	if (offset == offsetof(struct virtio_balloon_config, actual) && size == sizeof(uint32_t))
		memcpy(&balloon->actual_pages, bytes, size);
}

static void reset(struct virtio_device *virtio)
{
	balloon_of(virtio)->actual_pages = 0;
}

static void transfer(struct virtio_device *virtio, struct state_stream *state)
{
	struct balloon *balloon = balloon_of(virtio);

	if (!state->is_loading)
		balloon->loaded_actual = balloon->actual_pages;
	state_u32(state, "actual pages", &balloon->loaded_actual);
}

static void loaded(struct virtio_device *virtio)
{
	struct balloon *balloon = balloon_of(virtio);

	balloon->actual_pages = balloon->loaded_actual;
}

void virtio_balloon_set_target(struct virtio_device *virtio, uint64_t bytes)
{
	pthread_mutex_lock(&virtio->lock);
	balloon_of(virtio)->target_pages = bytes / PAGE_BYTES;
	virtio_config_changed(virtio);
	pthread_mutex_unlock(&virtio->lock);
}

uint64_t virtio_balloon_given_back(struct virtio_device *virtio)
{
	uint64_t pages;

	pthread_mutex_lock(&virtio->lock);
	pages = balloon_of(virtio)->actual_pages;
	pthread_mutex_unlock(&virtio->lock);
	return pages * PAGE_BYTES;
}

static const struct virtio_kind kind = {
	.id = VIRTIO_ID_BALLOON,
	.name = "virtio-balloon",
	.read_config = read_config,
	.write_config = write_config,
	.reset = reset,
	.queue_notified = queue_notified,
	.transfer = transfer,
	.loaded = loaded,
	.destroy = virtio_destroy,
};

struct virtio_device *virtio_balloon_create(const struct virtio_host *host, uint64_t target_bytes,
					    struct error *error)
{
	static const uint16_t sizes[QUEUES] = {QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE};
	const uint64_t features = 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
				  1ull << VIRTIO_BALLOON_F_REPORTING;
	struct virtio_device *virtio = virtio_device_create(
		sizeof(struct balloon), &kind, host, features,
		offsetof(struct virtio_balloon_config, free_page_hint_cmd_id), sizes, QUEUES, error);

	if (virtio)
		balloon_of(virtio)->target_pages = target_bytes / PAGE_BYTES;
	return virtio;
}
