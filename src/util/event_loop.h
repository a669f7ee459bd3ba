/*
 * The I/O loop: one thread waits on descriptors and timers with epoll(7) and calls back.
 *
 * Sources are added and removed on the loop's thread, or while the loop isn't running; callbacks
 * run on the loop's thread with no lock held. A callback may remove and free any source, its own
 * too: none that was removed is called or looked at any more. What other threads may do is said at
 * each function.
 */
#ifndef KVIK_UTIL_EVENT_LOOP_H
#define KVIK_UTIL_EVENT_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/clock.h"
#include "util/error.h"

struct event_loop;

enum event_watch { EVENT_NOTHING, EVENT_END, EVENT_ALL };

/* A descriptor that the loop watches for input, or for room for output. Owned and embedded by the user. For
 * both, a socket has two: dup(2). */
struct event_source {
	int fd;
	bool for_output;
	void (*ready)(void *context);
	void *context;
	/* The loop's own: */
	struct event_loop *loop;
	unsigned slot; /* where the loop knows it */
	uint8_t watch; /* for what: an enum event_watch */
	bool always_ready; /* a regular file, which epoll refuses: it never blocks */
};

/* A one-shot or periodic timer on CLOCK_MONOTONIC. Owned and embedded by the user. */
struct event_timer {
	struct event_source source;
	void (*expired)(void *context);
	void *context;
};

struct event_loop *event_loop_create(struct error *error); /* NULL, and `error`, on failure */
void event_loop_destroy(struct event_loop *loop); /* after all of its sources are removed */

/* Have a function called on the loop's thread each time before it waits: for what callbacks have put off. One; before
 * event_loop_run. */
void event_loop_before_wait(struct event_loop *loop, void (*run)(void *context), void *context);

/* Dispatch until event_loop_stop. Returns 0 or -errno. */
int event_loop_run(struct event_loop *loop);
/* Who does, as the host numbers threads; 0: nobody has. Any thread. */
pid_t event_loop_thread(const struct event_loop *loop);
/* Make event_loop_run return. Any thread. */
void event_loop_stop(struct event_loop *loop);

/* Watch `source->fd`, for hang-up as well; `source` is enabled. 0 or -errno. */
int event_loop_add(struct event_loop *loop, struct event_source *source);
void event_loop_remove(struct event_source *source);
/* Watch or ignore it. Any thread. */
void event_source_enable(struct event_source *source, bool enabled);
/* Watch a source for input no more, but for the end of its other side: a call says only that it is worth a look
 * (poll(2), POLLRDHUP), and comes again until that has changed. Of a regular file there is none. Any thread. */
void event_source_await_end(struct event_source *source);

/* Create a stopped timer. 0 or -errno. */
int event_timer_init(struct event_timer *timer, struct event_loop *loop,
		     void (*expired)(void *context), void *context);
void event_timer_destroy(struct event_timer *timer); /* also fine on a zeroed one */
/* Fire at `deadline_ns` on CLOCK_MONOTONIC, then every `period_ns` if that isn't 0; a deadline of 0
 * stops the timer. Any thread. */
void event_timer_set(struct event_timer *timer, uint64_t deadline_ns, uint64_t period_ns);

#endif
