#include "device/char/output.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/event_loop.h"
#include "util/log.h"

/* From BUSY_BYTES on the output is busy, until READY_BYTES are left. */
#define BUSY_BYTES  (16u << 10)
#define READY_BYTES (BUSY_BYTES / 2)
/* More than a FIFO's worth beyond that: the guest ignores that its line is busy. */
#define OVERFULL_BYTES (BUSY_BYTES + 1024)
/* Room for one more access of each vCPU, string I/O of a page, when they find it not overfull. */
#define QUEUE_BYTES (512u << 10)
/* What is pending at a cancel may still leave, as long as that takes no longer. */
#define CANCEL_GRACE_NS 100000000ull
/* Makes system calls of the writing thread return; its handler does nothing. */
#define POKE_SIGNAL    (SIGRTMIN + 1)
#define POKE_PERIOD_NS 5000000
#define NS_PER_MS      1000000

struct char_output {
	int fd; /* the thread's, once there is one; -1: none */
	bool owns_fd;
	/* For tests, instead of a descriptor and a thread. */
	void (*write)(void *context, const uint8_t *data, size_t size);
	void *context;
	struct char_output *log; /* NULL: none. Owned */
	pthread_t thread;
	bool has_thread; /* from the first byte on; with the lock held */

	pthread_mutex_t lock; /* guards what follows; nothing waits or calls out under it */
	pthread_cond_t work;  /* for the thread: bytes, or the end */
	pthread_cond_t done;  /* for char_output_destroy */
	uint8_t *queue;
	size_t head, count;
	bool is_busy; /* is_busy and is_overfull are also read as hints without the lock */
	bool is_overfull;
	size_t stale;                   /* of the queue's bytes, the first: for who is gone */
	bool has_next;                  /* ... is `fd` from now on: */
	int next_fd;
	bool is_finishing;              /* nothing more comes for it, or for `fd`: to be closed with the last byte */
	bool was_replaced;              /* peers come and go, which is nothing to tell of */
	bool is_gone;                   /* nobody takes the bytes any more: drop them. Also read as a hint */
	bool expects_gone;              /* fixed: that is nothing to tell of */
	bool is_stalled;                /* a callback's: see char_output_set_stalled */
	bool is_closing;                /* char_output_destroy waits */
	bool is_done;                   /* the thread is about to end */
	uint64_t deadline_ns;           /* when the thread gives up; 0: never */
	void (*drained)(void *context); /* to be called when the queue is empty; or NULL */
	void *drained_context;

	/* Held while watches are called, so that one that was removed is not. Never taken under
	 * `lock` or under a device's lock. */
	pthread_mutex_t watch_lock;
	struct char_watch *watches;
};

static void poked(int number)
{
	(void)number;
}

/* The state after a change of the queue. Returns whether the watches are to be called. */
static bool update_state(struct char_output *output)
{
	bool was_busy = output->is_busy;
	bool is_busy = output->count >= (was_busy ? READY_BYTES : BUSY_BYTES);

	if (output->write)
		is_busy = output->is_stalled;
	else if (output->is_finishing)
		is_busy = false; /* what comes now is dropped */
	__atomic_store_n(&output->is_busy, is_busy, __ATOMIC_RELAXED);
	__atomic_store_n(&output->is_overfull,
	                 is_busy && (output->is_overfull || output->count >= OVERFULL_BYTES),
	                 __ATOMIC_RELAXED);
	return was_busy && !is_busy;
}

static void call_watches(struct char_output *output)
{
	struct char_watch *watch;

	pthread_mutex_lock(&output->watch_lock);
	for (watch = output->watches; watch; watch = watch->next)
		watch->ready(watch->context);
	pthread_mutex_unlock(&output->watch_lock);
}

/* Take `size` bytes off the queue; unlock what the caller has locked, then tell those who wait. */
static void consume_and_unlock(struct char_output *output, size_t size)
{
	void (*drained)(void *context) = NULL;
	void *context = output->drained_context;
	bool calls_watches;

	output->count -= size;
	output->stale -= size < output->stale ? size : output->stale;
	/* From the start again, so that a short queue touches few pages. */
	output->head = output->count ? (output->head + size) % QUEUE_BYTES : 0;
	if (!output->count) {
		drained = output->drained;
		output->drained = NULL;
	}
	calls_watches = update_state(output);
	pthread_mutex_unlock(&output->lock);
	if (calls_watches)
		call_watches(output);
	if (drained)
		drained(context);
}

/* Take over the descriptor that char_output_replace gave. With the lock held, which it gives up. */
static void take_next_and_unlock(struct char_output *output)
{
	int old_fd = output->fd;

	output->fd = output->next_fd;
	output->has_next = false;
	consume_and_unlock(output, output->stale);
	if (old_fd >= 0)
		close(old_fd);
}

/* All has left that was meant for the descriptor, or has been given up. With the lock held, which it gives up. */
static void finish_and_unlock(struct char_output *output)
{
	int old_fd = output->fd;

	output->fd = -1;
	output->is_finishing = false;
	pthread_mutex_unlock(&output->lock);
	if (old_fd >= 0)
		close(old_fd);
}

/* Drop the queue, now and in future. With the lock held, which it gives up. */
static void give_up_and_unlock(struct char_output *output)
{
	__atomic_store_n(&output->is_gone, true, __ATOMIC_RELAXED);
	consume_and_unlock(output, output->count);
}

/*
 * Wait until the descriptor takes bytes or the time is up. A write may still wait after this, where
 * others write there, too, or a terminal has room for less: pokes end that.
 */
static bool wait_writable(int fd, uint64_t deadline_ns)
{
	struct pollfd writable = {.fd = fd, .events = POLLOUT};
	uint64_t now_ns = monotonic_ns();
	int left_ms = -1;

	if (deadline_ns)
		left_ms = now_ns < deadline_ns ? (deadline_ns - now_ns) / NS_PER_MS : 0;
	return poll(&writable, 1, left_ms) > 0;
}

static void *output_thread(void *argument)
{
	struct char_output *output = argument;
	uint64_t deadline_ns;
	size_t size;
	ssize_t written;

	pthread_mutex_lock(&output->lock);
	for (;;) {
		while (!output->count && !output->has_next && !output->is_finishing && !output->is_closing)
			pthread_cond_wait(&output->work, &output->lock);
		if (output->has_next) {
			take_next_and_unlock(output);
			pthread_mutex_lock(&output->lock);
			continue;
		}
		if (!output->count && output->is_finishing) {
			finish_and_unlock(output);
			pthread_mutex_lock(&output->lock);
			continue;
		}
		if (!output->count)
			break;
		/* Writes of up to PIPE_BUF bytes aren't mixed with others'. Only this thread takes
		 * bytes off, so these stay where they are. */
		size = output->count < PIPE_BUF ? output->count : PIPE_BUF;
		if (size > QUEUE_BYTES - output->head)
			size = QUEUE_BYTES - output->head;
		deadline_ns = output->deadline_ns;
		pthread_mutex_unlock(&output->lock);

		written = 0;
		if (wait_writable(output->fd, deadline_ns))
			written = write(output->fd, output->queue + output->head, size);
		if (written < 0 && (errno == EINTR || errno == EAGAIN))
			written = 0;
		if (written < 0 && !output->was_replaced &&
		    !(output->expects_gone && errno == EPIPE))
			log_warning("console output is dropped from here on: %s", strerror(errno));

		pthread_mutex_lock(&output->lock);
		if (output->has_next)
			continue;
		if (written < 0 || (output->deadline_ns && output->deadline_ns <= monotonic_ns()))
			give_up_and_unlock(output);
		else
			consume_and_unlock(output, written);
		pthread_mutex_lock(&output->lock);
	}
	output->is_done = true;
	pthread_cond_signal(&output->done);
	pthread_mutex_unlock(&output->lock);
	return NULL;
}

static int start_thread(struct char_output *output)
{
	struct sigaction action = {.sa_handler = poked}; /* no SA_RESTART */
	sigset_t all, old;
	int code;

	sigaction(POKE_SIGNAL, &action, NULL);
	/* All other signals are the main thread's. */
	sigfillset(&all);
	sigdelset(&all, POKE_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	code = pthread_create(&output->thread, NULL, output_thread, output);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	output->has_thread = code == 0;
	return code;
}

static struct char_output *output_allocate(void)
{
	struct char_output *output = calloc(1, sizeof(*output));
	pthread_condattr_t attributes;

	if (!output)
		return NULL;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_mutex_init(&output->lock, NULL);
	pthread_mutex_init(&output->watch_lock, NULL);
	pthread_cond_init(&output->work, NULL);
	pthread_cond_init(&output->done, &attributes);
	pthread_condattr_destroy(&attributes);
	output->fd = -1;
	return output;
}

struct char_output *char_output_create(int fd, bool owns_fd, struct error *error)
{
	struct char_output *output = output_allocate();
	int code = ENOMEM;

	if (!output)
		goto fail;
	output->fd = fd;
	output->is_gone = fd < 0;
	output->queue = calloc(1, QUEUE_BYTES);
	if (!output->queue)
		goto fail_destroy;
	output->owns_fd = owns_fd;
	return output;

fail_destroy:
	char_output_destroy(output);
fail:
	error_set_errno(error, code, "cannot create a console");
	return NULL;
}

struct char_output *char_output_create_callback(void (*write)(void *context, const uint8_t *data,
                                                              size_t size),
                                                void *context, struct error *error)
{
	struct char_output *output = output_allocate();

	if (!output) {
		error_set_errno(error, ENOMEM, "cannot create a console");
		return NULL;
	}
	output->write = write;
	output->context = context;
	return output;
}

/* Have the thread wait for its reader a little longer, and no more. */
static void cancel(struct char_output *output)
{
	if (output->write)
		return;
	pthread_mutex_lock(&output->lock);
	if (!output->deadline_ns)
		output->deadline_ns = monotonic_ns() + CANCEL_GRACE_NS;
	if (output->has_thread)
		pthread_kill(output->thread, POKE_SIGNAL);
	pthread_mutex_unlock(&output->lock);
}

/* Let the thread write what can be written at once, and have its end. */
static void join_thread(struct char_output *output)
{
	struct timespec until;

	cancel(output);
	pthread_mutex_lock(&output->lock);
	output->is_closing = true;
	pthread_cond_signal(&output->work);
	while (!output->is_done) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += POKE_PERIOD_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		/* Again and again: a poke just before a write that waits is lost. */
		if (pthread_cond_timedwait(&output->done, &output->lock, &until) == ETIMEDOUT)
			pthread_kill(output->thread, POKE_SIGNAL);
	}
	pthread_mutex_unlock(&output->lock);
	pthread_join(output->thread, NULL);
}

void char_output_destroy(struct char_output *output)
{
	if (!output)
		return;
	char_output_destroy(output->log);
	if (output->has_thread)
		join_thread(output);
	if (output->owns_fd && output->fd >= 0)
		close(output->fd);
	free(output->queue);
	pthread_cond_destroy(&output->done);
	pthread_cond_destroy(&output->work);
	pthread_mutex_destroy(&output->watch_lock);
	pthread_mutex_destroy(&output->lock);
	free(output);
}

void char_output_write(struct char_output *output, const uint8_t *data, size_t size)
{
	size_t tail, part;

	if (output->log)
		char_output_write(output->log, data, size);
	if (output->write) {
		output->write(output->context, data, size);
		return;
	}
	pthread_mutex_lock(&output->lock);
	if (output->is_gone || output->deadline_ns)
		size = 0;
	if (size > QUEUE_BYTES - output->count)
		size = QUEUE_BYTES - output->count;
	/* Not before there is something to write: a process with threads cannot confine itself. */
	if (size && !output->has_thread && start_thread(output)) {
		output->is_gone = true;
		size = 0;
	}
	if (size && !output->count)
		pthread_cond_signal(&output->work);
	while (size) {
		tail = (output->head + output->count) % QUEUE_BYTES;
		part = size < QUEUE_BYTES - tail ? size : QUEUE_BYTES - tail;
		memcpy(output->queue + tail, data, part);
		output->count += part;
		data += part;
		size -= part;
	}
	update_state(output);
	pthread_mutex_unlock(&output->lock);
}

void char_output_set_log(struct char_output *output, struct char_output *log)
{
	output->log = log;
}

size_t char_output_free(struct char_output *output)
{
	size_t room;

	if (output->write)
		return SIZE_MAX;
	pthread_mutex_lock(&output->lock);
	room = QUEUE_BYTES - output->count;
	pthread_mutex_unlock(&output->lock);
	return room;
}

void char_output_replace(struct char_output *output, int fd)
{
	int unused_fd;

	pthread_mutex_lock(&output->lock);
	output->was_replaced = true;
	output->is_gone = fd < 0;
	output->is_finishing = false;
	if (output->has_thread) {
		unused_fd = output->has_next ? output->next_fd : -1;
		output->has_next = true;
		output->next_fd = fd;
		output->stale = output->count;
		pthread_cond_signal(&output->work);
		pthread_kill(output->thread, POKE_SIGNAL);
	} else {
		unused_fd = output->fd;
		output->fd = fd;
	}
	pthread_mutex_unlock(&output->lock);
	if (unused_fd >= 0)
		close(unused_fd);
}

void char_output_finish(struct char_output *output)
{
	bool calls_watches;

	if (!output->has_thread) {
		char_output_replace(output, -1); /* nothing was queued */
		return;
	}
	pthread_mutex_lock(&output->lock);
	output->was_replaced = true;
	output->is_gone = true;
	output->is_finishing = true;
	calls_watches = update_state(output);
	pthread_cond_signal(&output->work);
	pthread_mutex_unlock(&output->lock);
	if (calls_watches)
		call_watches(output);
}

bool char_output_is_ready(struct char_output *output)
{
	return !__atomic_load_n(&output->is_busy, __ATOMIC_RELAXED);
}

bool char_output_is_overfull(struct char_output *output)
{
	return __atomic_load_n(&output->is_overfull, __ATOMIC_RELAXED);
}

bool char_output_is_gone(struct char_output *output)
{
	return __atomic_load_n(&output->is_gone, __ATOMIC_RELAXED);
}

void char_output_expect_gone(struct char_output *output)
{
	output->expects_gone = true;
}

void char_output_add_watch(struct char_output *output, struct char_watch *watch)
{
	pthread_mutex_lock(&output->watch_lock);
	watch->next = output->watches;
	output->watches = watch;
	pthread_mutex_unlock(&output->watch_lock);
}

void char_output_remove_watch(struct char_output *output, struct char_watch *watch)
{
	struct char_watch **link;

	pthread_mutex_lock(&output->watch_lock);
	for (link = &output->watches; *link; link = &(*link)->next) {
		if (*link == watch) {
			*link = watch->next;
			break;
		}
	}
	pthread_mutex_unlock(&output->watch_lock);
}

void char_output_move_watches(struct char_output *from, struct char_output *to)
{
	struct char_watch *watches, **last;

	pthread_mutex_lock(&from->watch_lock);
	watches = from->watches;
	from->watches = NULL;
	pthread_mutex_unlock(&from->watch_lock);
	pthread_mutex_lock(&to->watch_lock);
	for (last = &to->watches; *last; last = &(*last)->next)
		;
	*last = watches;
	pthread_mutex_unlock(&to->watch_lock);
	if (char_output_is_ready(to))
		call_watches(to);
}

bool char_output_drain(struct char_output *output, void (*drained)(void *context), void *context)
{
	bool is_drained;

	pthread_mutex_lock(&output->lock);
	is_drained = !output->count;
	output->drained = is_drained ? NULL : drained;
	output->drained_context = context;
	pthread_mutex_unlock(&output->lock);
	return is_drained;
}

void char_output_set_stalled(struct char_output *output, bool is_stalled)
{
	bool calls_watches;

	pthread_mutex_lock(&output->lock);
	output->is_stalled = is_stalled;
	calls_watches = update_state(output);
	pthread_mutex_unlock(&output->lock);
	if (calls_watches)
		call_watches(output);
}
