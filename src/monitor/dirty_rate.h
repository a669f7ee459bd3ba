/*
 * How fast a guest writes to its memory, which tells whether a migration will end: pages are chosen at random, and looked at
 * again some seconds later (calc-dirty-rate, page-sampling). The guest does not notice. On the I/O thread.
 */
#ifndef KVIK_MONITOR_DIRTY_RATE_H
#define KVIK_MONITOR_DIRTY_RATE_H

#include "machine/machine.h"
#include "util/error.h"
#include "util/event_loop.h"

#define DIRTY_RATE_SECONDS_MAX 60
#define DIRTY_RATE_PAGES_USUAL 512 /* of each GiB */
#define DIRTY_RATE_PAGES_MIN   128
#define DIRTY_RATE_PAGES_MAX   16384

enum dirty_rate_status { DIRTY_RATE_UNSTARTED, DIRTY_RATE_MEASURING, DIRTY_RATE_MEASURED };

struct dirty_rate_page;

/* All zeroes before dirty_rate_init. */
struct dirty_rate {
	struct machine *machine;
	struct event_timer timer;
	enum dirty_rate_status status;
	unsigned seconds, pages_per_gib;  /* as was asked for */
	int64_t start_s;		  /* since the epoch */
	uint64_t mib_per_s;		  /* once it is measured */
	uint64_t begun_ns;
	struct dirty_rate_page *pages; /* owned */
	size_t count;
};

/* 0 or -errno. */
int dirty_rate_init(struct dirty_rate *rate, struct machine *machine);
void dirty_rate_end(struct dirty_rate *rate); /* also fine on a zeroed one */

/* Measure for 1 to DIRTY_RATE_SECONDS_MAX seconds. 0, or -errno and `error`: it is being measured already. */
int dirty_rate_start(struct dirty_rate *rate, unsigned seconds, unsigned pages_per_gib, struct error *error);

#endif
