/*
 * virtio-9p has the same with one queue, for messages of 9P (virtio's later drafts have a section on it, Linux's
 * virtio_9p.h the layout). Every message has a reply; where the share has none, it was no message.
 *
 * Queue 0 is for what must not wait (forgetting), 1 for all else (§5.11.2; without notifications, which are not
 * offered, no queue comes between). A chain is a request to read and room for its reply (§5.11.6). It is copied
 * into a slot of the share's, which is the last time that it is looked at, and its reply is copied back.
 *
 * A guest asks many small things one after the other, for a file one by FUSE and a dozen by 9P, and most are answered sooner
 * than a thread falls asleep and wakes. So the vCPU that notifies submits the requests itself, and looks for the replies for
 * a moment, as the share's process looks for the next request: nobody falls asleep, and neither asks the host's kernel for
 * anything (exchange.h). What takes longer, a thread of the device's takes, which the process wakes.
 *
 * Requests are under way from then on, so a reset waits for their replies; they come, because the share's
 * process answers one after the other and never waits for the guest. When that process has gone, requests
 * fail (EIO).
 *
 * What a guest has open cannot be saved: the folder may be another by the time that it is loaded.
 */
#include "device/virtio/filesystem.h"

#include <errno.h>
#include <linux/virtio_9p.h>
#include <linux/virtio_fs.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "util/log.h"
#include "util/thread.h"

#define QUEUE_SIZE 1024 /* a guest's largest request has a descriptor for each page */
#define P9_QUEUE_SIZE 128 /* as Linux's driver has it in mind */

/* How long a vCPU looks for replies; and, when none has come, how many times it does not. */
#define LOOK_NS	      50000
#define TIMES_WITHOUT 4
#define FEW	      2 /* requests under way */

enum { QUEUE_URGENT, QUEUE_REQUESTS, QUEUES };

struct request_slot {
	struct virtqueue_chain *chain; /* NULL: it is free */
	unsigned queue;
	size_t size, room;
};

struct filesystem {
	struct virtio_device virtio;
	struct share share; /* owned */
	char tag[VIRTIO_FILESYSTEM_TAG_MAX + 1];
	struct event_loop *loop;
	pthread_t thread;
	bool has_thread;
	struct event_source replies;
	/* With the device's lock held: */
	struct request_slot slots[SHARE_SLOTS];
	unsigned free_slots;
	uint64_t submitted, answered; /* counts: replies come in the order of the requests */
	bool are_quick; /* those that were submitted last */
	unsigned times_without; /* how often nobody shall wait */
	bool is_gone; /* the share's process has ended */
};

static struct filesystem *filesystem_of(struct virtio_device *virtio)
{
	return (struct filesystem *)((char *)virtio - offsetof(struct filesystem, virtio));
}

/* --- replies; with the lock held --- */

static void answer(struct filesystem *filesystem, unsigned number, size_t size)
{
	struct request_slot *slot = &filesystem->slots[number];

	if (size > slot->room)
		size = slot->room;
	if (!size && filesystem->share.protocol == SHARE_9P) {
		virtio_break(&filesystem->virtio, "a 9P message is malformed");
		virtqueue_drop(slot->chain);
	} else {
		virtqueue_write(slot->chain, 0, share_reply(&filesystem->share, number), size);
		virtqueue_push(&filesystem->virtio.queues[slot->queue].ring, slot->chain, size);
	}
	*slot = (struct request_slot){.chain = NULL};
	filesystem->free_slots++;
	filesystem->answered++;
	virtio_end(&filesystem->virtio);
}

static void refuse(struct filesystem *filesystem, unsigned number)
{
	const struct request_slot *slot = &filesystem->slots[number];
	const struct share *share = &filesystem->share;

	answer(filesystem, number,
	       share_refuse(share, share_request(share, number), slot->size, EIO,
			    share_reply(share, number), slot->room));
}

static void give_up(struct filesystem *filesystem)
{
	unsigned i;

	if (!filesystem->is_gone)
		log_error("the process that shares '%s' has ended", filesystem->tag);
	filesystem->is_gone = true;
	event_source_enable(&filesystem->replies, false);
	for (i = 0; i < SHARE_SLOTS; i++)
		if (filesystem->slots[i].chain)
			refuse(filesystem, i);
}

/* --- requests; with the lock held --- */

static void take(struct filesystem *filesystem, unsigned queue, struct virtqueue_chain *chain)
{
	struct share *share = &filesystem->share;
	struct request_slot *slot;
	unsigned number = 0;

	/* No driver makes one that large, nor one that says nothing. */
	if (chain->readable_bytes > SHARE_SLOT_BYTES || !chain->readable_bytes) {
		virtio_break(&filesystem->virtio, "a request is empty or too long");
		virtqueue_drop(chain);
		return;
	}
	while (filesystem->slots[number].chain)
		number++;
	slot = &filesystem->slots[number];
	*slot = (struct request_slot){
		.chain = chain,
		.queue = queue,
		.size = chain->readable_bytes,
		.room = chain->writable_bytes < SHARE_SLOT_BYTES ? chain->writable_bytes
								   : SHARE_SLOT_BYTES,
	};
	filesystem->free_slots--;
	filesystem->submitted++;
	virtio_begin(&filesystem->virtio);
	virtqueue_read(chain, 0, share_request(share, number), slot->size);
	filesystem->are_quick &= share_is_quick(share, share_request(share, number), slot->size);
	if (filesystem->is_gone)
		refuse(filesystem, number);
	else if (share_submit(share, number, slot->size, slot->room) < 0)
		give_up(filesystem);
}

/* Submit what there is. */
static void take_all(struct virtio_device *virtio, unsigned queue)
{
	struct filesystem *filesystem = filesystem_of(virtio);
	struct virtqueue *ring = &virtio->queues[queue].ring;
	struct virtqueue_chain *chain;

	do {
		virtqueue_want_notices(ring, false);
		while (filesystem->free_slots && virtio_pop(virtio, queue, &chain))
			take(filesystem, queue, chain);
		/* Without a slot nobody has to notify: the next reply makes one free. */
	} while (filesystem->free_slots && virtqueue_want_notices(ring, true) &&
		 virtio_is_running(virtio));
	if (filesystem->is_gone)
		virtio_interrupt(virtio, queue);
}

static unsigned under_way(const struct filesystem *filesystem)
{
	return SHARE_SLOTS - filesystem->free_slots;
}

/* Take the replies that there are. */
static void take_replies(struct filesystem *filesystem)
{
	struct virtio_device *virtio = &filesystem->virtio;
	bool was_full = !filesystem->free_slots;
	unsigned number, i;
	size_t size;
	int result;

	while ((result = share_take(&filesystem->share, &number, &size)) > 0) {
		/* Only a process that is not ours any more answers what was not asked. */
		if (!filesystem->slots[number].chain) {
			result = -EPROTO;
			break;
		}
		answer(filesystem, number, size);
	}
	if (result < 0)
		give_up(filesystem);
	for (i = 0; i < virtio->queue_count; i++) {
		virtio_interrupt(virtio, i);
		if (was_full && virtio_is_running(virtio))
			take_all(virtio, i);
	}
}

/* Have the device's thread woken by the next reply, if there is one to come. */
static void leave_to_thread(struct filesystem *filesystem)
{
	while (under_way(filesystem) && !exchange_sleep(&filesystem->share.exchange))
		take_replies(filesystem);
}

/* On the device's thread: a reply that nobody looks for, or the process has gone. */
static void replies_ready(void *context)
{
	struct filesystem *filesystem = context;
	int result;

	pthread_mutex_lock(&filesystem->virtio.lock);
	result = exchange_hear(&filesystem->share.exchange);
	take_replies(filesystem);
	/* What it said before counts. */
	if (result < 0)
		give_up(filesystem);
	leave_to_thread(filesystem);
	pthread_mutex_unlock(&filesystem->virtio.lock);
}

/* Look for the replies to what was submitted, but not long; others may work meanwhile. */
static void look_briefly(struct filesystem *filesystem)
{
	const uint64_t last = filesystem->submitted, end = monotonic_ns() + LOOK_NS;

	if (filesystem->times_without) {
		filesystem->times_without--;
		return;
	}
	exchange_wake(&filesystem->share.exchange);
	while (filesystem->answered < last && !filesystem->times_without) {
		if (!exchange_look(&filesystem->share.exchange)) {
			pthread_mutex_unlock(&filesystem->virtio.lock);
			pthread_mutex_lock(&filesystem->virtio.lock);
		}
		take_replies(filesystem);
		if (filesystem->answered < last && monotonic_ns() > end)
			filesystem->times_without = TIMES_WITHOUT;
	}
}

/* On the thread that notifies. */
static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	struct filesystem *filesystem = filesystem_of(virtio);

	filesystem->are_quick = true;
	take_all(virtio, queue);
	/* Behind much else it would be long. */
	if (under_way(filesystem) && under_way(filesystem) <= FEW && filesystem->are_quick)
		look_briefly(filesystem);
	leave_to_thread(filesystem);
}

static void read_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes)
{
	struct virtio_fs_config config = {.num_request_queues = QUEUES - QUEUE_REQUESTS};

	/* Padded with zeroes, and without one where it fills the field (§5.11.4). */
	memcpy(config.tag, filesystem_of(virtio)->tag, sizeof(config.tag));
	memcpy(bytes, (const uint8_t *)&config + offset, size);
}

/* tag_len[2] and the tag, without a NUL. */
static void read_9p_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes)
{
	const struct filesystem *filesystem = filesystem_of(virtio);
	uint8_t config[sizeof(struct virtio_9p_config) + VIRTIO_FILESYSTEM_TAG_MAX];
	uint16_t length = strlen(filesystem->tag);

	memcpy(config, &length, sizeof(length));
	memcpy(config + sizeof(length), filesystem->tag, length);
	memcpy(bytes, config + offset, size);
}

/* --- life --- */

static void transfer(struct virtio_device *virtio, struct state_stream *state)
{
	if (!state->is_loading && (virtio->status & VIRTIO_CONFIG_S_DRIVER_OK))
		state_fail(state,
			   "the guest uses the shared folder '%s', and what it has open there "
			   "cannot be saved",
			   filesystem_of(virtio)->tag);
}

static void end_thread(struct filesystem *filesystem)
{
	if (!filesystem->has_thread)
		return;
	event_loop_stop(filesystem->loop);
	pthread_join(filesystem->thread, NULL);
	filesystem->has_thread = false;
}

static void destroy(struct virtio_device *virtio)
{
	struct filesystem *filesystem = filesystem_of(virtio);
	struct event_loop *loop = filesystem->loop;
	unsigned i;

	end_thread(filesystem);
	event_loop_remove(&filesystem->replies);
	for (i = 0; i < SHARE_SLOTS; i++)
		if (filesystem->slots[i].chain)
			virtqueue_drop(filesystem->slots[i].chain);
	share_close(&filesystem->share);
	virtio_destroy(virtio);
	event_loop_destroy(loop);
}

static const struct virtio_kind kind = {
	.id = VIRTIO_ID_FS,
	.name = "virtio-fs",
	.read_config = read_config,
	.queue_notified = queue_notified,
	.transfer = transfer,
	.destroy = destroy,
};

static const struct virtio_kind p9_kind = {
	.id = VIRTIO_ID_9P,
	.name = "virtio-9p",
	.read_config = read_9p_config,
	.queue_notified = queue_notified,
	.transfer = transfer,
	.destroy = destroy,
};

static void *run(void *context)
{
	struct filesystem *filesystem = context;

	pthread_setname_np(pthread_self(), "kvik share");
	event_loop_run(filesystem->loop);
	return NULL;
}

static int start(struct filesystem *filesystem)
{
	int result = event_loop_add(filesystem->loop, &filesystem->replies);

	if (result == 0)
		result = thread_start(&filesystem->thread, NULL, run, filesystem);
	filesystem->has_thread = result == 0;
	return result;
}

static struct virtio_device *create_device(const struct virtio_host *host, const struct share *share,
					   const char *tag, struct error *error)
{
	static const uint16_t sizes[QUEUES] = {QUEUE_SIZE, QUEUE_SIZE};
	static const uint16_t p9_sizes[1] = {P9_QUEUE_SIZE};

	if (share->protocol == SHARE_9P)
		return virtio_device_create(sizeof(struct filesystem), &p9_kind, host,
					    1ull << VIRTIO_9P_MOUNT_TAG,
					    sizeof(struct virtio_9p_config) + strlen(tag), p9_sizes, 1,
					    error);
	return virtio_device_create(sizeof(struct filesystem), &kind, host, 0,
				    offsetof(struct virtio_fs_config, num_request_queues) +
					    sizeof(uint32_t),
				    sizes, QUEUES, error);
}

struct virtio_device *virtio_filesystem_create(const struct virtio_host *host,
					       const struct share *share, const char *tag,
					       struct error *error)
{
	struct virtio_host own = *host;
	struct share closed = *share;
	struct virtio_device *virtio = NULL;
	struct filesystem *filesystem;
	struct event_loop *loop = event_loop_create(error);
	int result;

	own.loop = NULL; /* whoever notifies */
	if (loop)
		virtio = create_device(&own, share, tag, error);
	if (!virtio) {
		if (loop)
			event_loop_destroy(loop);
		share_close(&closed);
		return NULL;
	}
	filesystem = filesystem_of(virtio);
	filesystem->share = *share;
	filesystem->loop = loop;
	filesystem->free_slots = SHARE_SLOTS;
	strncpy(filesystem->tag, tag, VIRTIO_FILESYSTEM_TAG_MAX);
	filesystem->replies =
		(struct event_source){.fd = share->socket, .ready = replies_ready, .context = filesystem};
	result = start(filesystem);
	if (result < 0) {
		destroy(virtio);
		error_set_errno(error, -result, "cannot create a virtio-fs");
		return NULL;
	}
	return virtio;
}
