/* The supervisor's process: what its files share. */
#ifndef KVIK_SUPERVISE_SUPERVISOR_H
#define KVIK_SUPERVISE_SUPERVISOR_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct supervisor {
	int listener;             /* the filter's notifications */
	int watches;              /* inotify: copies of handouts that come and go */
	pid_t program;            /* our child, 0 once it has ended */
	_Atomic unsigned waiting; /* threads that wait for a notification */
	/* Children's states are taken by one thread at a time: remapping (remap.h) waits for stops.
	 */
	pthread_mutex_t children_lock;
};

#endif
