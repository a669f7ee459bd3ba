/* A machine's disks, and what becomes of requests of theirs that have failed (block/error_policy.h). */
#include "block/error_policy.h"
#include "machine/inspect.h"
#include "machine/machine_parts.h"

/* Tell observers of what has failed. */
void machine_tell_failures(struct machine *machine)
{
	struct machine_observer *observer, *next;
	struct block_failure failure;
	unsigned i;

	for (i = 0; i < machine->disk_count; i++)
		while (block_take_failure(machine->disks[i], &failure))
			for (observer = machine->observers; observer; observer = next) {
				next = observer->next;
				if (observer->disk_failed)
					observer->disk_failed(observer->context, machine->disks[i], &failure);
			}
}

void machine_retry_disks(struct machine *machine)
{
	unsigned i;

	for (i = 0; i < machine->disk_count; i++)
		block_retry(machine->disks[i]);
}

bool machine_holds_requests(const struct machine *machine)
{
	unsigned i;

	for (i = 0; i < machine->disk_count; i++)
		if (block_health(machine->disks[i]) != BLOCK_HEALTHY)
			return true;
	return false;
}

void machine_give_up_disks(struct machine *machine, bool begins)
{
	unsigned i;

	for (i = 0; i < machine->disk_count; i++)
		if (begins)
			block_give_up(machine->disks[i]);
		else
			block_keep(machine->disks[i]);
}
