/*
 * Memory that comes and goes, in slots. Room for all of it is in the file behind RAM and in the monitor's addresses from
 * the start, so that nothing has to be made or mapped later. The vCPUs stand still and the devices hold while the
 * table of regions changes.
 */
#include <errno.h>

#include "machine/inspect.h"
#include "machine/machine_parts.h"
#include "util/log.h"

/* Nobody uses guest memory from now on. */
static int begin(struct machine *machine, struct error *error)
{
	int result = machine_look_begin(machine, error);

	if (result == 0)
		board_hold(machine->board);
	return result;
}

static void end(struct machine *machine, bool was_released)
{
	if (was_released)
		board_release(machine->board);
	machine_look_end(machine);
}

int machine_plug_memory(struct machine *machine, struct ram_dimm *dimm, struct error *error)
{
	bool was_released = board_is_released(machine->board);
	int result;

	if (machine->is_sending)
		return error_set(error, EBUSY, "memory cannot come while the machine is sent");
	result = begin(machine, error);
	if (result < 0)
		return result;
	result = ram_add_dimm(&machine->ram, dimm, &machine->vm, error);
	end(machine, was_released);
	if (result == 0)
		board_fill_memory(machine->board, dimm->slot, dimm->gpa, dimm->size_bytes, true);
	return result;
}

int machine_unplug_memory(struct machine *machine, unsigned slot, struct error *error)
{
	if (!ram_dimm(&machine->ram, slot))
		return error_set(error, ENODEV, "there is no memory in slot %u", slot);
	if (machine->is_sending)
		return error_set(error, EBUSY, "memory cannot go while the machine is sent");
	return board_unplug_memory(machine->board, slot, error);
}

bool machine_memory_may_go(void *context, unsigned slot)
{
	const struct machine *machine = context;

	(void)slot;
	return !__atomic_load_n(&machine->is_sending, __ATOMIC_SEQ_CST);
}

void machine_memory_ejected(void *context, unsigned slot)
{
	struct machine *machine = context;
	struct machine_observer *observer, *next;
	bool was_released = board_is_released(machine->board);
	struct error error;

	if (!ram_dimm(&machine->ram, slot))
		return;
	if (begin(machine, &error) < 0) {
		log_warning("the memory of slot %u stays: %s", slot, error.message);
		return;
	}
	ram_remove_dimm(&machine->ram, slot, &machine->vm);
	end(machine, was_released);
	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		if (observer->memory_unplugged)
			observer->memory_unplugged(observer->context, slot);
	}
}

void machine_memory_reported(void *context, unsigned slot, uint32_t event, uint32_t status)
{
	struct machine *machine = context;
	struct machine_observer *observer, *next;

	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		if (observer->memory_reported)
			observer->memory_reported(observer->context, slot, event, status);
	}
}

bool machine_memory_in_slot(const struct machine *machine, unsigned slot, struct ram_dimm *dimm)
{
	const struct ram_dimm *found = ram_dimm(&machine->ram, slot);

	if (found)
		*dimm = *found;
	return found;
}

uint64_t machine_plugged_bytes(const struct machine *machine)
{
	uint64_t bytes = 0;
	unsigned i;

	for (i = 0; i < machine->config.more_ram.slots; i++)
		if (ram_dimm(&machine->ram, i))
			bytes += ram_dimm(&machine->ram, i)->size_bytes;
	return bytes;
}

void machine_memory_report(const struct machine *machine, unsigned slot, uint32_t *event, uint32_t *status)
{
	board_memory_report(machine->board, slot, event, status);
}
