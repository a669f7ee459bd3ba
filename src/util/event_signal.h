/*
 * A word from any thread to an event loop's: a function is called there, once for all words that have come since it was
 * called last. It is an eventfd (eventfd(2)) that the loop watches.
 */
#ifndef KVIK_UTIL_EVENT_SIGNAL_H
#define KVIK_UTIL_EVENT_SIGNAL_H

#include "util/event_loop.h"

/* Owned and embedded by the user; all zeroes before event_signal_init. */
struct event_signal {
	struct event_source source;
	void (*raised)(void *context);
	void *context;
};

/* Have `raised` called on the loop's thread. 0 or -errno. */
int event_signal_init(struct event_signal *signal, struct event_loop *loop, void (*raised)(void *context), void *context);
/* Raise it; nothing on a zeroed one. Any thread that has not to fear its end, signal handlers too. */
void event_signal_raise(const struct event_signal *signal);
/* The loop's thread, or none of it runs. Also fine on a zeroed one, and a second time. */
void event_signal_destroy(struct event_signal *signal);

#endif
