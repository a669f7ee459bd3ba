#include "cli/disk_patience.h"

#include <string.h>

#include "block/block.h"
#include "block/error_policy.h"
#include "util/clock.h"
#include "util/log.h"

#define RETRY_NS NS_PER_SECOND

static void disk_failed(void *context, const struct block *block, const struct block_failure *failure)
{
	struct disk_patience *patience = context;

	if (failure->action != BLOCK_ON_ERROR_STOP)
		return;
	if (!patience->has_told)
		log_warning("%s: %s: %s; the guest stands still, and it is tried again each second", block_info(block)->path,
			    failure->is_read ? "reading" : "writing", strerror(failure->error));
	patience->has_told = patience->waits = true;
	event_timer_set(&patience->timer, monotonic_ns() + RETRY_NS, 0);
}

/* A second after it has failed, or after it was tried again. */
static void try_again(void *context)
{
	struct disk_patience *patience = context;

	if (!patience->waits) {
		log_warning("the guest goes on");
		patience->has_told = false;
		return;
	}
	patience->waits = false;
	event_timer_set(&patience->timer, monotonic_ns() + RETRY_NS, 0);
	machine_resume(patience->machine, MACHINE_PAUSE_IO_ERROR);
}

int disk_patience_begin(struct disk_patience *patience, struct machine *machine, struct event_loop *loop, struct error *error)
{
	int result = event_timer_init(&patience->timer, loop, try_again, patience);

	if (result < 0)
		return error_set_errno(error, -result, "cannot watch the disks");
	patience->machine = machine;
	patience->observer = (struct machine_observer){.disk_failed = disk_failed, .context = patience};
	machine_observe(machine, &patience->observer);
	return 0;
}

void disk_patience_end(struct disk_patience *patience)
{
	if (patience->machine)
		machine_unobserve(patience->machine, &patience->observer);
	patience->machine = NULL;
	event_timer_destroy(&patience->timer);
}
