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

/* block_watch_failures: on the disk's I/O thread. */
static void failed(void *context, bool is_held)
{
	struct machine *machine = context;

	if (is_held)
		machine_pause(machine, MACHINE_PAUSE_IO_ERROR);
	event_signal_raise(&machine->failure_signal);
}

int machine_watch_failures(struct machine *machine)
{
	return event_signal_init(&machine->failure_signal, machine->config.loop, failures_ready, machine);
}

void machine_note_disk(struct machine *machine, struct block *block, unsigned place)
{
	if (!block || machine->disk_count == BOARD_DISKS_MAX)
		return;
	block_watch_failures(block, failed, machine);
	machine->disks[machine->disk_count].block = block;
	machine->disks[machine->disk_count++].slot = place ? BOARD_PLACE_SLOT(place) : 0;
}
