#include "util/event_loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define EVENTS_PER_WAIT 16
#define WAKE_EVENT	UINT64_MAX /* no slot has this number */

/*
 * What the kernel is given to name a source is no pointer but its slot and the slot's generation: an
 * event that was fetched before its source was removed names nothing any more.
 */
struct source_slot {
	struct event_source *source; /* NULL: free */
	uint32_t generation;	     /* counts the sources that had it */
};

struct event_loop {
	int epoll_fd;
	int wake_fd; /* an eventfd: stop was asked, or an always-ready source was enabled */
	bool stopping;	   /* atomic */
	pid_t thread;	   /* likewise */
	void (*before_wait)(void *context); /* NULL: nothing is put off */
	void *before_context;
	pthread_mutex_t lock; /* guards what follows and every source's `watch` */
	struct source_slot *slots;
	unsigned slot_count;
};

static uint64_t event_name(const struct event_loop *loop, unsigned slot)
{
	return (uint64_t)loop->slots[slot].generation << 32 | slot;
}

/* The enabled source of that name, or NULL. */
static struct event_source *find_source(struct event_loop *loop, uint64_t name)
{
	struct event_source *source = NULL;
	uint32_t slot = name;

	pthread_mutex_lock(&loop->lock);
	if (slot < loop->slot_count && event_name(loop, slot) == name)
		source = loop->slots[slot].source;
	if (source && source->watch == EVENT_NOTHING)
		source = NULL;
	pthread_mutex_unlock(&loop->lock);
	return source;
}

struct event_loop *event_loop_create(struct error *error)
{
	struct event_loop *loop = calloc(1, sizeof(*loop));
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKE_EVENT};
	int code = ENOMEM;

	if (!loop)
		goto fail;
	pthread_mutex_init(&loop->lock, NULL);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		code = errno;
		goto fail_free;
	}
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0) {
		code = errno;
		goto fail_epoll;
	}
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) < 0) {
		code = errno;
		goto fail_wake;
	}
	return loop;

fail_wake:
	close(loop->wake_fd);
fail_epoll:
	close(loop->epoll_fd);
fail_free:
	pthread_mutex_destroy(&loop->lock);
	free(loop);
fail:
	error_set_errno(error, code, "cannot create the I/O loop");
	return NULL;
}

void event_loop_destroy(struct event_loop *loop)
{
	if (!loop)
		return;
	close(loop->wake_fd);
	close(loop->epoll_fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop->slots);
	free(loop);
}

static void loop_wake(struct event_loop *loop)
{
	uint64_t one = 1;

	/* A full counter already wakes the loop, so a failed write loses nothing. */
	if (write(loop->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* Call back every enabled always-ready source once; whether there was one. */
static bool dispatch_always_ready(struct event_loop *loop)
{
	struct event_source *source;
	bool found = false;
	unsigned i;

	for (i = 0;;) {
		source = NULL;
		pthread_mutex_lock(&loop->lock);
		for (; i < loop->slot_count && !source; i++) {
			source = loop->slots[i].source;
			if (source && !(source->always_ready && source->watch == EVENT_ALL))
				source = NULL;
		}
		pthread_mutex_unlock(&loop->lock);
		if (!source)
			return found;
		found = true;
		source->ready(source->context);
	}
}

void event_loop_before_wait(struct event_loop *loop, void (*run)(void *context), void *context)
{
	loop->before_wait = run;
	loop->before_context = context;
}

pid_t event_loop_thread(const struct event_loop *loop)
{
	return __atomic_load_n(&loop->thread, __ATOMIC_RELAXED);
}

int event_loop_run(struct event_loop *loop)
{
	struct epoll_event events[EVENTS_PER_WAIT];
	struct event_source *source;
	uint64_t wakes;
	int count, i;

	__atomic_store_n(&loop->thread, gettid(), __ATOMIC_RELAXED);
	while (!__atomic_load_n(&loop->stopping, __ATOMIC_ACQUIRE)) {
		bool busy = dispatch_always_ready(loop);

		if (loop->before_wait)
			loop->before_wait(loop->before_context);
		count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, busy ? 0 : -1);
		if (count < 0 && errno != EINTR)
			return -errno;
		for (i = 0; i < count; i++) {
			if (events[i].data.u64 == WAKE_EVENT) {
				if (read(loop->wake_fd, &wakes, sizeof(wakes)) < 0)
					continue;
			} else {
				source = find_source(loop, events[i].data.u64);
				if (source)
					source->ready(source->context);
			}
		}
	}
	__atomic_store_n(&loop->stopping, false, __ATOMIC_RELEASE);
	return 0;
}

void event_loop_stop(struct event_loop *loop)
{
	__atomic_store_n(&loop->stopping, true, __ATOMIC_RELEASE);
	loop_wake(loop);
}

/* A free slot, with the lock held; or -ENOMEM. */
static int take_slot(struct event_loop *loop)
{
	unsigned i, count;
	struct source_slot *slots;

	for (i = 0; i < loop->slot_count; i++)
		if (!loop->slots[i].source)
			return i;
	count = loop->slot_count ? 2 * loop->slot_count : 16;
	slots = realloc(loop->slots, count * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memset(slots + loop->slot_count, 0, (count - loop->slot_count) * sizeof(*slots));
	loop->slots = slots;
	loop->slot_count = count;
	return i;
}

static uint32_t wanted_events(const struct event_source *source)
{
	return source->for_output ? EPOLLOUT : EPOLLIN;
}

int event_loop_add(struct event_loop *loop, struct event_source *source)
{
	struct epoll_event event = {.events = wanted_events(source)};
	int slot, result = 0;

	pthread_mutex_lock(&loop->lock);
	slot = take_slot(loop);
	if (slot < 0) {
		result = slot;
		goto out;
	}
	source->always_ready = false;
	event.data.u64 = event_name(loop, slot);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0) {
		if (errno != EPERM) {
			result = -errno;
			goto out;
		}
		source->always_ready = true;
	}
	loop->slots[slot].source = source;
	source->slot = slot;
	source->loop = loop;
	source->watch = EVENT_ALL;
out:
	pthread_mutex_unlock(&loop->lock);
	if (result == 0)
		loop_wake(loop);
	return result;
}

void event_loop_remove(struct event_source *source)
{
	struct event_loop *loop = source->loop;

	if (!loop)
		return;
	pthread_mutex_lock(&loop->lock);
	loop->slots[source->slot].source = NULL;
	loop->slots[source->slot].generation++;
	if (!source->always_ready && source->watch != EVENT_NOTHING)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	source->loop = NULL;
	source->watch = EVENT_NOTHING;
	pthread_mutex_unlock(&loop->lock);
}

static void set_watch(struct event_source *source, enum event_watch watch)
{
	struct event_loop *loop = source->loop;
	struct epoll_event event = {.events = watch == EVENT_END ? (uint32_t)EPOLLRDHUP : wanted_events(source)};
	int operation;

	if (!loop)
		return;
	pthread_mutex_lock(&loop->lock);
	if (source->watch == watch) {
		pthread_mutex_unlock(&loop->lock);
		return;
	}
	operation = source->watch == EVENT_NOTHING ? EPOLL_CTL_ADD
		    : watch == EVENT_NOTHING	   ? EPOLL_CTL_DEL
						   : EPOLL_CTL_MOD;
	source->watch = watch;
	event.data.u64 = event_name(loop, source->slot);
	/* EPOLLHUP cannot be masked, so a disabled source leaves the set altogether. */
	if (!source->always_ready)
		epoll_ctl(loop->epoll_fd, operation, source->fd, &event);
	pthread_mutex_unlock(&loop->lock);
	if (watch != EVENT_NOTHING)
		loop_wake(loop);
}

void event_source_enable(struct event_source *source, bool enabled)
{
	set_watch(source, enabled ? EVENT_ALL : EVENT_NOTHING);
}

void event_source_await_end(struct event_source *source)
{
	set_watch(source, EVENT_END);
}

static void timer_ready(void *context)
{
	struct event_timer *timer = context;
	uint64_t expirations;

	/* Nothing to read when another thread moved the timer meanwhile. */
	if (read(timer->source.fd, &expirations, sizeof(expirations)) == sizeof(expirations))
		timer->expired(timer->context);
}

int event_timer_init(struct event_timer *timer, struct event_loop *loop,
		     void (*expired)(void *context), void *context)
{
	int result;

	timer->expired = expired;
	timer->context = context;
	timer->source.for_output = false;
	timer->source.ready = timer_ready;
	timer->source.context = timer;
	timer->source.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer->source.fd < 0)
		return -errno;
	result = event_loop_add(loop, &timer->source);
	if (result < 0)
		close(timer->source.fd);
	return result;
}

void event_timer_destroy(struct event_timer *timer)
{
	if (!timer->source.loop)
		return;
	event_loop_remove(&timer->source);
	close(timer->source.fd);
}

void event_timer_set(struct event_timer *timer, uint64_t deadline_ns, uint64_t period_ns)
{
	struct itimerspec spec = {
		.it_value = {deadline_ns / NS_PER_SECOND, deadline_ns % NS_PER_SECOND},
		.it_interval = {period_ns / NS_PER_SECOND, period_ns % NS_PER_SECOND},
	};

	timerfd_settime(timer->source.fd, TFD_TIMER_ABSTIME, &spec, NULL);
}
