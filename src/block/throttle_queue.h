/* A disk's requests on their way past its limits (throttle.h). Inside of the room only. */
#ifndef KVIK_BLOCK_THROTTLE_QUEUE_H
#define KVIK_BLOCK_THROTTLE_QUEUE_H

#include <pthread.h>

#include "block/throttle.h"
#include "util/event_loop.h"

#define THROTTLE_UNITS 2 /* bytes, operations */

/* Of one or several disks. */
struct block_throttle {
	pthread_mutex_t lock; /* guards what follows */
	struct block_limits limits;
	struct throttle_bucket {
		double level, burst_level;
	} buckets[THROTTLE_UNITS][BLOCK_RATES];
	uint64_t leaked_ns; /* on CLOCK_MONOTONIC: up to when */
	unsigned users;
};

/* What a disk has that has limits: all but its throttle is its I/O thread's. */
struct throttle_queue {
	struct block *block;
	struct block_throttle *throttle;
	struct event_timer timer;
	struct waiting {
		struct block_request *first, *last;
	} waiting[2]; /* reads, writes */
	uint64_t wakes_ns; /* when the timer expires; 0: it is not set */
	unsigned open; /* who wants nothing to wait */
};

struct block_throttle *throttle_make(void); /* nobody's; NULL without memory */
void throttle_leave(struct block_throttle *throttle); /* whoever is the last frees it */

/* On the I/O thread: what may begin, does. */
void throttle_go_on(void *queue);

#endif
