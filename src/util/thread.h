/* Threads of kvik's own: the signals that they take and the room around their stacks. */
#ifndef KVIK_UTIL_THREAD_H
#define KVIK_UTIL_THREAD_H

#include <pthread.h>
#include <signal.h>

/* Remove from `set` what reports a fault of the thread itself: nobody can take that for it. */
void thread_keep_faults(sigset_t *set);

/*
 * Start a thread with `blocked` as its signal mask; NULL: all signals, as they are for other
 * threads, but those of thread_keep_faults. Its stack has an inaccessible megabyte below it. 0 or
 * -errno.
 */
int thread_start(pthread_t *thread, const sigset_t *blocked, void *(*run)(void *argument),
		 void *argument);

#endif
