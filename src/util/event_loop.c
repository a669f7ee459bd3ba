#include "util/event_loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND 1000000000ull
#define EVENTS_PER_WAIT 16

struct event_loop {
	int epoll_fd;
	int wake_fd; /* an eventfd: stop was asked, or an always-ready source was enabled */
	bool stopping;	   /* atomic */
	pthread_mutex_t lock; /* guards `sources` and every source's `enabled` */
	struct event_source *sources;
};

struct event_loop *event_loop_create(struct error *error)
{
	struct event_loop *loop = calloc(1, sizeof(*loop));
	struct epoll_event event = {.events = EPOLLIN};
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
	free(loop);
}

static void loop_wake(struct event_loop *loop)
{
	uint64_t one = 1;

	/* A full counter already wakes the loop, so a failed write loses nothing. */
	if (write(loop->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/*
 * Call back every enabled always-ready source once; whether there was one. A callback may remove
 * its own source, so the list is walked afresh by position.
 */
static bool dispatch_always_ready(struct event_loop *loop)
{
	struct event_source *source;
	unsigned position = 0, i;
	bool found = false;

	for (;;) {
		pthread_mutex_lock(&loop->lock);
		source = loop->sources;
		for (i = 0; source && i < position; i++)
			source = source->next;
		while (source && !(source->always_ready && source->enabled)) {
			source = source->next;
			position++;
		}
		pthread_mutex_unlock(&loop->lock);
		if (!source)
			return found;
		found = true;
		position++;
		source->ready(source->context);
	}
}

int event_loop_run(struct event_loop *loop)
{
	struct epoll_event events[EVENTS_PER_WAIT];
	struct event_source *source;
	uint64_t wakes;
	int count, i;

	while (!__atomic_load_n(&loop->stopping, __ATOMIC_ACQUIRE)) {
		bool busy = dispatch_always_ready(loop);

		count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_WAIT, busy ? 0 : -1);
		if (count < 0 && errno != EINTR)
			return -errno;
		for (i = 0; i < count; i++) {
			source = events[i].data.ptr;
			if (!source) {
				if (read(loop->wake_fd, &wakes, sizeof(wakes)) < 0)
					continue;
			} else if (source->enabled && source->loop) {
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

int event_loop_add(struct event_loop *loop, struct event_source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	source->always_ready = false;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0) {
		if (errno != EPERM)
			return -errno;
		source->always_ready = true;
	}
	source->loop = loop;
	source->enabled = true;
	pthread_mutex_lock(&loop->lock);
	source->next = loop->sources;
	loop->sources = source;
	pthread_mutex_unlock(&loop->lock);
	loop_wake(loop);
	return 0;
}

void event_loop_remove(struct event_source *source)
{
	struct event_loop *loop = source->loop;
	struct event_source **link;

	if (!loop)
		return;
	pthread_mutex_lock(&loop->lock);
	for (link = &loop->sources; *link; link = &(*link)->next) {
		if (*link == source) {
			*link = source->next;
			break;
		}
	}
	source->loop = NULL;
	source->enabled = false;
	pthread_mutex_unlock(&loop->lock);
	if (!source->always_ready)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
}

void event_source_enable(struct event_source *source, bool enabled)
{
	struct event_loop *loop = source->loop;
	struct epoll_event event = {.events = enabled ? EPOLLIN : 0, .data.ptr = source};

	if (!loop)
		return;
	pthread_mutex_lock(&loop->lock);
	if (source->enabled == enabled) {
		pthread_mutex_unlock(&loop->lock);
		return;
	}
	source->enabled = enabled;
	/* EPOLLHUP cannot be masked, so a disabled source leaves the set altogether. */
	if (!source->always_ready)
		epoll_ctl(loop->epoll_fd, enabled ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, source->fd,
			  &event);
	pthread_mutex_unlock(&loop->lock);
	if (enabled)
		loop_wake(loop);
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

uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}
