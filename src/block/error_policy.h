/*
 * What becomes of requests that fail: the guest is told, or is told that they worked, or the machine stands still with
 * them until somebody has made room or mended the medium (QEMU's werror= and rerror=).
 *
 * It holds for requests with BLOCK_HOLDABLE, which are those of guests, when the medium or the image failed them. What no
 * guest should have asked for fails as ever.
 */
#ifndef KVIK_BLOCK_ERROR_POLICY_H
#define KVIK_BLOCK_ERROR_POLICY_H

#include <stdbool.h>

struct block;

enum block_on_error {
	BLOCK_ON_ERROR_REPORT, /* it fails */
	BLOCK_ON_ERROR_IGNORE, /* it is said to have worked: of a read, with whatever is in the memory */
	BLOCK_ON_ERROR_STOP,   /* it is held, and whoever watches failures is to stop the machine; without one: reported */
	BLOCK_ON_ERROR_ENOSPC, /* it is held if there is no room (ENOSPC), and fails otherwise */
	BLOCK_ON_ERRORS,
};

struct block_error_policy {
	enum block_on_error on_read, on_write; /* a flush, zeroes and a discard are writes */
};

/* In QEMU's words. 0, or -EINVAL: there is no such word. */
int block_on_error_parse(const char *text, enum block_on_error *policy);
const char *block_on_error_name(enum block_on_error policy);

/* Before block_start. All zero, as at first: all are reported. */
void block_set_error_policy(struct block *block, const struct block_error_policy *policy);

/* Who hears of failures; all zero: nobody does. */
struct block_failure_watch {
	/* There are some to be taken. On the I/O thread without a lock: before the request's `complete`, if that comes.
	 * `is_held`: it waits for block_retry or block_give_up. */
	void (*failed)(void *context, bool is_held);
	/* The disk is closed: it is not to be looked at any more. On the thread that closes it; NULL: no matter. */
	void (*closes)(void *context, const struct block *block);
	void *context;
};
/* Before block_start, or by block_call. */
void block_watch_failures(struct block *block, const struct block_failure_watch *watch);

/* Failures that are alike are one until it is taken; and of those that were not held, one a second. */
struct block_failure {
	bool is_read;
	enum block_on_error action; /* what was done: reported, ignored or (STOP) held */
	int error;		    /* an errno: of the last one */
};
/* The next one that nobody has taken. Any thread. False: there is none. */
bool block_take_failure(struct block *block, struct block_failure *failure);

/* How the disk is, for those who ask: a failure counts from when a request was held until it is tried again. */
enum block_health { BLOCK_HEALTHY, BLOCK_HAS_FAILED, BLOCK_IS_FULL };
enum block_health block_health(const struct block *block);

/* Begin what is held anew: it works, or fails and may be held again. Not on the I/O thread. */
void block_retry(struct block *block);

/*
 * From now on until block_keep, once for each call, nothing is held: what was fails (-EIO), and what fails is reported. For
 * those who wait for requests to end that a guest does not care for any more. Not with a lock that completions take.
 */
void block_give_up(struct block *block);
void block_keep(struct block *block);

#endif
