/*
 * Disks that come are watched: a machine whose disk holds requests that have failed (block/error_policy.h) stands still, and
 * they are tried again when it goes on (machine_disks.c).
 */
#include "block/error_policy.h"
#include "machine/inspect.h"
#include "machine/machine_parts.h"

static void failures_ready(void *context)
{
	machine_tell_failures(context);
}

/* block_failure_watch.failed: on the disk's I/O thread. */
static void failed(void *context, bool is_held)
{
	struct machine *machine = context;

	if (is_held)
		machine_pause(machine, MACHINE_PAUSE_IO_ERROR);
	event_signal_raise(&machine->failure_signal);
}

/* block_failure_watch.closes: on the I/O thread, or nothing runs. */
static void closes(void *context, const struct block *block)
{
	struct machine *machine = context;
	unsigned i, kept = 0;

	for (i = 0; i < machine->disk_count; i++)
		if (machine->disks[i] != block)
			machine->disks[kept++] = machine->disks[i];
	machine->disk_count = kept;
}

int machine_watch_failures(struct machine *machine)
{
	return event_signal_init(&machine->failure_signal, machine->config.loop, failures_ready, machine);
}

void machine_note_disk(struct machine *machine, struct block *block)
{
	const struct block_failure_watch watch = {failed, closes, machine};

	if (!block || machine->disk_count == BOARD_DISKS_MAX)
		return;
	block_watch_failures(block, &watch);
	machine->disks[machine->disk_count++] = block;
}
