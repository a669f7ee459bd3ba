/*
 * Which parts of an image the requests under way use. Shared: reads and writes in place, any number
 * at once. Exclusive: what changes where data is. Granted in the order of asking, so nobody starves.
 *
 * Not locked itself: it belongs to the disk's I/O thread.
 */
#ifndef KVIK_BLOCK_RANGE_LOCK_H
#define KVIK_BLOCK_RANGE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

enum range_mode { RANGE_NONE, RANGE_SHARED, RANGE_EXCLUSIVE };

/* Embedded in what asks. */
struct range_hold {
	uint64_t first, last; /* granules, inclusive */
	enum range_mode mode; /* RANGE_NONE: in no list */
	bool is_granted;
	struct range_hold *next, *previous;
};

struct range_lock {
	struct range_hold *oldest, *newest;
	unsigned waiting;
};

/* Ask for granules `first` to `last`. Whether they were granted; otherwise range_wake tells. */
bool range_take(struct range_lock *lock, struct range_hold *hold, uint64_t first, uint64_t last,
		enum range_mode mode);
/* Give them back; also one that was never taken. Follow it with range_wake. */
void range_release(struct range_lock *lock, struct range_hold *hold);
/* Grant one that waits and can have its range now. NULL: there is none. */
struct range_hold *range_wake(struct range_lock *lock);

#endif
