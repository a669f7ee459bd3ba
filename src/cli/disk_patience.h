/* A guest that waits for its disks (--disk FILE,on-error=wait): nobody is there to let it go on, so that it is tried again by
 * itself, and people are told. */
#ifndef KVIK_CLI_DISK_PATIENCE_H
#define KVIK_CLI_DISK_PATIENCE_H

#include "machine/inspect.h"
#include "util/event_loop.h"

/* Owned by the caller; all zero before disk_patience_begin. */
struct disk_patience {
	struct machine *machine; /* NULL: it has not begun */
	struct machine_observer observer;
	struct event_timer timer;
	bool waits;    /* what failed is held; else it was tried again */
	bool has_told; /* that it stands still, and not yet that it goes on */
};

/* Before machine_run. 0, or -errno and `error`. */
int disk_patience_begin(struct disk_patience *patience, struct machine *machine, struct event_loop *loop, struct error *error);
/* Before the machine goes. Also fine on one that is all zero. */
void disk_patience_end(struct disk_patience *patience);

#endif
