/* An open disk: what block.c (its life and threads) and request.c (its requests) share. */
#ifndef KVIK_BLOCK_DISK_H
#define KVIK_BLOCK_DISK_H

#include <pthread.h>
#include <stdbool.h>

#include "block/block.h"
#include "block/error_policy.h"
#include "block/node.h"
#include "block/range_lock.h"
#include "block/ring.h"
#include "block/workers.h"
#include "util/event_signal.h"

struct operation;
struct disk_call;
struct throttle_queue;
struct block_bitmap;

/* Who looks at all changes of a disk (copy_watch.c). */
struct disk_watch {
	/* On the I/O thread, of a request that is to begin: whether it waits until the watch begins it (request_start). */
	bool (*holds)(struct disk_watch *watch, struct block_request *request);
	/* Likewise, of one that has ended. */
	void (*changed)(struct disk_watch *watch, const struct block_request *request);
	/* The disk is closed: it is nobody's any more when this returns. */
	void (*disk_goes)(struct disk_watch *watch);
};

/* Requests in the order in which they came, until they begin. The I/O thread's alone. */
struct request_list {
	struct block_request *first, *last;
};

#define FAILURE_ACTIONS (BLOCK_ON_ERROR_STOP + 1)

/* error_policy.h */
struct block_errors {
	struct block_error_policy policy;
	struct block_failure_watch watch;
	/* Failures to be told, by whether it was a read, by what was done, and by whether there was no room. The disk's lock
	 * guards them. */
	struct failure_slot {
		int error;	  /* 0: there is none */
		uint64_t told_ns; /* on CLOCK_MONOTONIC: the last one; 0: never */
	} slots[2][FAILURE_ACTIONS][2];
	unsigned health; /* written by the I/O thread; atomic */
	/* The I/O thread's alone: */
	struct request_list held;
	unsigned giving_up; /* who does */
	uint64_t retried_ns; /* on CLOCK_MONOTONIC: when the machine went on the last time, and what was held with it */
};

struct block {
	struct block_info info;
	struct node *node;
	bool is_write_through;
	struct block_options options; /* without their strings */
	char *path;

	struct event_loop *loop;
	struct event_signal wake; /* there is something for the I/O thread */
	struct event_source transferred; /* the ring's descriptor, where there is one */
	struct workers *workers;
	struct ring *ring; /* NULL: threads do it */

	pthread_mutex_t lock; /* guards up to `is_started` */
	pthread_cond_t changed; /* of `outstanding` and of a call's end */
	struct block_request *submitted, *last_submitted;
	struct disk_call *calls;
	bool is_started;
	uint64_t outstanding; /* requests between block_submit and the end of `complete`, but for those that are held; atomic */
	pthread_t thread;

	/* Who is told of another size, on the thread that changes it. */
	void (*resized)(void *context);
	void *resized_context;

	struct throttle_queue *throttled; /* throttle.h; NULL: it never had limits. Set on the I/O thread, for good */
	struct block_visitor *visitors; /* of the thread that closes it */
	pthread_mutex_t freezing;  /* who has it frozen */
	struct disk_watch *watch;  /* changes while it is frozen; NULL: none */

	struct block_errors errors;
	struct block_counts counts; /* written by the I/O thread, atomically */
	uint64_t active; /* requests that were begun and have not ended; the I/O thread's, atomic */

	/* The I/O thread's alone: */
	struct block_bitmap *bitmaps;	/* dirty.h */
	struct range_lock ranges;
	bool is_frozen;			/* what comes is not begun, but put into `held` */
	struct request_list held;
	bool is_submitting;		/* block_submit is on the stack: nothing may complete */
	struct operation *completed;	/* what was finished meanwhile */
	struct operation *last_completed;
};

/* On the I/O thread: a request begins, or waits for its turn (throttle.h). */
void throttle_arrive(struct block *block, struct block_request *request);
/* Likewise, of a queue: nothing waits, from the one to the other. */
void throttle_open(void *queue);
void throttle_close(void *queue);
/* The disk is closed; nothing waits. */
void throttle_end(struct block *block);

/* On the I/O thread, of a request that has failed with `result`: whether it is held (error_policy.h). Otherwise it ends with
 * what `result` is then. */
bool errors_hold(struct block *block, struct block_request *request, int *result);
/* Likewise, and nothing is done: one that began before the machine went on is of what its user knew, and is tried again. */
bool errors_would_hold(const struct block *block, const struct block_request *request, int result);
/* Likewise: all that is held, which is not from now on. */
struct block_request *errors_take_held(struct block *block);
/* Likewise: block_give_up and block_keep, of a struct block. */
void errors_give_up(void *block);
void errors_keep(void *block);

/* On the I/O thread: begin a request; complete what was finished while nothing might. */
void request_start(struct block *block, struct block_request *request);
void request_complete_deferred(struct block *block);

static inline void request_list_add(struct request_list *list, struct block_request *request)
{
	request->next = NULL;
	if (list->last)
		list->last->next = request;
	else
		list->first = request;
	list->last = request;
}

/* Begin all of them; who has to wait again is put into the list anew. */
void request_list_start(struct request_list *list, struct block *block);

/*
 * Begin no more requests, and wait until those that were begun have ended; block_thaw does begin them, with those that
 * came meanwhile. In between the disk's images are the caller's. Not on the I/O thread; others who want that wait.
 */
void block_freeze(struct block *block);
void block_thaw(struct block *block);
/* What block_info says of the topmost image, anew. */
void block_fill_info(struct block *block);

#endif
