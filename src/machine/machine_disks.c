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
		while (block_take_failure(machine->disks[i].block, &failure))
			for (observer = machine->observers; observer; observer = next) {
				next = observer->next;
				if (observer->disk_failed)
					observer->disk_failed(observer->context, machine->disks[i].block, &failure);
			}
}

/* That one; NULL: those in that slot. */
static void forget(struct machine *machine, const struct block *block, unsigned slot)
{
	unsigned i, kept = 0;

	for (i = 0; i < machine->disk_count; i++)
		if (block ? machine->disks[i].block != block : machine->disks[i].slot != slot)
			machine->disks[kept++] = machine->disks[i];
	machine->disk_count = kept;
}

void machine_forget_disk(struct machine *machine, const struct block *block)
{
	if (block)
		forget(machine, block, 0);
}

void machine_forget_disks(struct machine *machine, unsigned slot)
{
	forget(machine, NULL, slot);
}

void machine_retry_disks(struct machine *machine)
{
	unsigned i;

	for (i = 0; i < machine->disk_count; i++)
		block_retry(machine->disks[i].block);
}

void machine_give_up_disks(struct machine *machine, bool begins)
{
	unsigned i;

	for (i = 0; i < machine->disk_count; i++)
		if (begins)
			block_give_up(machine->disks[i].block);
		else
			block_keep(machine->disks[i].block);
}
