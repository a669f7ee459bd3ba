/* An I/O loop with a thread of its own. */
#ifndef KVIK_UTIL_LOOP_THREAD_H
#define KVIK_UTIL_LOOP_THREAD_H

#include <pthread.h>
#include <stdbool.h>

#include "util/error.h"
#include "util/event_loop.h"

/* Owned and embedded by the user. */
struct loop_thread {
	struct event_loop *loop; /* NULL: there is none */
	pthread_t thread;
	bool is_running;
	char name[16];
};

/* The loop, which does not run yet; `name` is what the thread is called. 0 or -errno. */
int loop_thread_create(struct loop_thread *thread, const char *name, struct error *error);
/* Run it, once its first sources are there. 0 or -errno. */
int loop_thread_start(struct loop_thread *thread, struct error *error);
/* Wait for its end: then its sources can be removed here. Fine on one that doesn't run. */
void loop_thread_stop(struct loop_thread *thread);
void loop_thread_destroy(struct loop_thread *thread); /* stopped, without sources */

#endif
