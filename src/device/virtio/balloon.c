/*
 * Queues: 0 inflates, 1 deflates, then come those that were agreed on (§5.5.2): 2 has statistics, and the next one reports
 * free pages; hints, whose queue would be between them, are not offered.
 *
 * The driver leaves a buffer with its statistics in their queue, and fills another when that one comes back
 * (§5.5.6.3). So a buffer is looked at when it comes, stays in the queue, and goes back when new numbers are wanted: what is
 * saved meanwhile has it in the queue.
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
#include <time.h>

#include "util/clock.h"

#define QUEUE_SIZE 128
#define PAGE_BYTES (1u << VIRTIO_BALLOON_PFN_SHIFT)
#define PFNS_MAX   4096 /* of one chain */
#define STATS_MAX  64	/* likewise */
#define SECOND_NS  1000000000ull

enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATS, QUEUE_LAST, QUEUES };

struct balloon {
	struct virtio_device virtio;
	/* With the lock held: */
	uint32_t target_pages;
	uint32_t actual_pages, loaded_actual; /* as the driver says */
	struct virtio_balloon_stats stats;
	uint32_t period_s; /* between questions for them; 0: none are asked */
	bool will_tell;	   /* the listener, when `change` expires */
	uint64_t told_ns;  /* when it was told last */
	/* Fixed: */
	struct virtio_balloon_listener listener;
	/* Not used without a loop: */
	struct event_timer ask, change;
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

static void read_stats(struct balloon *balloon, const struct virtqueue_chain *chain)
{
	struct virtio_balloon_stat stat;
	struct timespec now;
	unsigned i;

	for (i = 0; i < STATS_MAX && virtqueue_read(chain, i * sizeof(stat), &stat, sizeof(stat)) == sizeof(stat); i++)
		if (stat.tag < VIRTIO_BALLOON_STATS)
			balloon->stats.values[stat.tag] = stat.val;
	clock_gettime(CLOCK_REALTIME, &now);
	balloon->stats.seconds = now.tv_sec;
}

static void forget_stats(struct balloon *balloon)
{
	memset(&balloon->stats, 0xff, sizeof(balloon->stats));
	balloon->stats.seconds = 0;
}

/* Look at what the driver has left, which stays where it is. */
static void look_at_stats(struct virtio_device *virtio)
{
	struct virtqueue *ring = &virtio->queues[QUEUE_STATS].ring;
	struct virtqueue_chain *chain;

	if (virtio_pop(virtio, QUEUE_STATS, &chain)) {
		read_stats(balloon_of(virtio), chain);
		virtqueue_unpop(ring, chain);
	}
	/* What is there is known: more of it is not waited for. */
	virtqueue_want_notices(ring, true);
}

static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	const bool has_stats = virtio_has(virtio, VIRTIO_BALLOON_F_STATS_VQ);
	struct virtqueue *ring = &virtio->queues[queue].ring;
	struct virtqueue_chain *chain;

	if (queue == QUEUE_STATS && has_stats) {
		look_at_stats(virtio);
		return;
	}
	do {
		virtqueue_want_notices(ring, false);
		while (virtio_pop(virtio, queue, &chain)) {
			if (queue == QUEUE_INFLATE)
				free_named(virtio, chain);
			else if (queue == (has_stats ? QUEUE_LAST : QUEUE_STATS))
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

/* The listener will hear of a change: soon, but a second after the last one. */
static void note_change(struct balloon *balloon)
{
	uint64_t now = monotonic_ns(), earliest = balloon->told_ns + SECOND_NS;

	if (!balloon->listener.changed || !balloon->virtio.loop || balloon->will_tell)
		return;
	balloon->will_tell = true;
	event_timer_set(&balloon->change, balloon->told_ns && earliest > now ? earliest : now, 0);
}

static void tell_change(void *context)
{
	struct balloon *balloon = context;

	pthread_mutex_lock(&balloon->virtio.lock);
	balloon->will_tell = false;
	balloon->told_ns = monotonic_ns();
	pthread_mutex_unlock(&balloon->virtio.lock);
	balloon->listener.changed(balloon->listener.context);
}

static void write_config(struct virtio_device *virtio, unsigned offset, unsigned size,
			 const uint8_t *bytes)
{
	struct balloon *balloon = balloon_of(virtio);
	uint32_t before = balloon->actual_pages;

	if (offset == offsetof(struct virtio_balloon_config, actual) && size == sizeof(uint32_t))
		memcpy(&balloon->actual_pages, bytes, size);
	if (balloon->actual_pages != before)
		note_change(balloon);
}

static void reset(struct virtio_device *virtio)
{
	struct balloon *balloon = balloon_of(virtio);

	if (balloon->actual_pages)
		note_change(balloon);
	balloon->actual_pages = 0;
	forget_stats(balloon);
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

void virtio_balloon_read_stats(struct virtio_device *virtio, struct virtio_balloon_stats *stats)
{
	pthread_mutex_lock(&virtio->lock);
	*stats = balloon_of(virtio)->stats;
	pthread_mutex_unlock(&virtio->lock);
}

void virtio_balloon_ask_stats(struct virtio_device *virtio)
{
	struct virtqueue_chain *chain;

	pthread_mutex_lock(&virtio->lock);
	if (virtio_is_running(virtio) && virtio_has(virtio, VIRTIO_BALLOON_F_STATS_VQ) &&
	    virtio_pop(virtio, QUEUE_STATS, &chain)) {
		/* Before the driver can leave the next one. */
		virtqueue_want_notices(&virtio->queues[QUEUE_STATS].ring, true);
		virtio_push(virtio, QUEUE_STATS, chain, 0);
	}
	pthread_mutex_unlock(&virtio->lock);
}

static void ask(void *virtio)
{
	virtio_balloon_ask_stats(virtio);
}

int virtio_balloon_set_period(struct virtio_device *virtio, uint32_t seconds)
{
	struct balloon *balloon = balloon_of(virtio);
	const uint64_t period_ns = seconds * SECOND_NS;

	if (!virtio->loop)
		return -ENODEV;
	pthread_mutex_lock(&virtio->lock);
	balloon->period_s = seconds;
	pthread_mutex_unlock(&virtio->lock);
	event_timer_set(&balloon->ask, seconds ? monotonic_ns() + period_ns : 0, period_ns);
	return 0;
}

uint32_t virtio_balloon_period(struct virtio_device *virtio)
{
	uint32_t seconds;

	pthread_mutex_lock(&virtio->lock);
	seconds = balloon_of(virtio)->period_s;
	pthread_mutex_unlock(&virtio->lock);
	return seconds;
}

static void destroy(struct virtio_device *virtio)
{
	struct balloon *balloon = balloon_of(virtio);

	event_timer_destroy(&balloon->ask);
	event_timer_destroy(&balloon->change);
	virtio_destroy(virtio);
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
	.destroy = destroy,
};

struct virtio_device *virtio_balloon_create(const struct virtio_host *host, const struct virtio_balloon_setup *setup,
					    struct error *error)
{
	static const uint16_t sizes[QUEUES] = {QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE};
	const uint64_t features = 1ull << VIRTIO_BALLOON_F_STATS_VQ |
				  (uint64_t)setup->may_deflate_on_oom << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
				  (uint64_t)setup->has_reporting << VIRTIO_BALLOON_F_REPORTING;
	struct virtio_device *virtio = virtio_device_create(
		sizeof(struct balloon), &kind, host, features,
		offsetof(struct virtio_balloon_config, free_page_hint_cmd_id), sizes, QUEUES, error);
	struct balloon *balloon;
	int result = 0;

	if (!virtio)
		return NULL;
	/* Both are for the guest to use, whatever it is told: one that was may go on. */
	virtio->able |= 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM | 1ull << VIRTIO_BALLOON_F_REPORTING;
	balloon = balloon_of(virtio);
	balloon->target_pages = setup->target_bytes / PAGE_BYTES;
	balloon->listener = setup->listener;
	forget_stats(balloon);
	if (host->loop)
		result = event_timer_init(&balloon->ask, host->loop, ask, virtio);
	if (host->loop && result == 0)
		result = event_timer_init(&balloon->change, host->loop, tell_change, balloon);
	if (result < 0) {
		error_set_errno(error, -result, "cannot create a balloon");
		destroy(virtio);
		return NULL;
	}
	return virtio;
}
