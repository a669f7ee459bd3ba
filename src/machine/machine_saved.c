/* A machine to a file and back: what of it snapshot.h wants. */
#include "machine/machine_parts.h"
#include "machine/snapshot.h"
#include "util/log.h"

struct snapshot_parts machine_snapshot_parts(struct machine *machine)
{
	return (struct snapshot_parts){
		.vm = &machine->vm,
		.vcpus = machine->vcpus,
		.cpus = machine->vcpu_count,
		.ram = &machine->ram,
		.board = machine->board,
		.board_kind = machine->config.board,
		.irqchip_kind = machine->config.irqchip,
		.interrupts = &machine->interrupts,
	};
}

/* The vCPUs are parked. Whether it worked. */
bool machine_save_now(struct machine *machine)
{
	struct snapshot_parts parts = machine_snapshot_parts(machine);
	struct error error;
	int result;

	board_hold(machine->board);
	result = snapshot_save(&parts, machine->config.save_fd, &error);
	if (result < 0)
		log_error("%s", error.message);
	else
		log_info("saved the machine");
	if (result < 0 || !machine->config.ends_when_saved)
		board_release(machine->board);
	return result == 0;
}

void machine_keep(struct machine *machine)
{
	if (machine->is_sent)
		board_release(machine->board);
	machine->is_sent = false;
}

/* A machine that was saved goes on from there. */
int machine_load_state(struct machine *machine, struct error *error)
{
	struct snapshot_parts parts = machine_snapshot_parts(machine);
	int result;

	if (machine->config.load_fd < 0)
		return 0;
	result = snapshot_load(&parts, machine->config.load_fd, error);
	if (result == 0)
		log_info("loaded the machine");
	return result;
}
