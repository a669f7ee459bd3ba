/* Outputs that are read slower than a guest writes. */
#include "machine/machine_parts.h"

/* The streams that a guest writes to. Returns how many. */
static unsigned list_streams(const struct machine *machine, struct char_stream *list[MACHINE_LINES_MAX])
{
	const struct board_streams *streams = &machine->config.streams;
	unsigned count = 0, i;

	list[count++] = streams->serial;
	for (i = 0; i < BOARD_SERIALS_MAX - 1; i++)
		if (streams->more_serial[i])
			list[count++] = streams->more_serial[i];
	if (streams->debug_console)
		list[count++] = streams->debug_console;
	if (streams->print)
		list[count++] = streams->print;
	return count;
}

static bool any_is_overfull(const struct machine *machine)
{
	struct char_stream *streams[MACHINE_LINES_MAX];
	unsigned i, count = list_streams(machine, streams);

	for (i = 0; i < count; i++)
		if (char_is_overfull(streams[i]))
			return true;
	return false;
}

/*
 * A guest may write to a slow line faster than the host reads, and not look or not be able to see
 * that the line isn't ready. Then the vCPU that writes waits here, where no lock of a device is held
 * and where requests to the machine find it.
 */
void machine_hold_while_overfull(struct machine *machine, const struct machine_vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->kvm.run;

	if (run->exit_reason != KVM_EXIT_IO || run->io.direction != KVM_EXIT_IO_OUT ||
	    !any_is_overfull(machine))
		return;
	pthread_mutex_lock(&machine->lock);
	while (machine->state == MACHINE_RUNNING && any_is_overfull(machine))
		pthread_cond_wait(&machine->state_changed, &machine->lock);
	pthread_mutex_unlock(&machine->lock);
}

static void line_ready(void *context)
{
	struct machine *machine = context;

	pthread_mutex_lock(&machine->lock);
	pthread_cond_broadcast(&machine->state_changed);
	pthread_mutex_unlock(&machine->lock);
}

void machine_watch_lines(struct machine *machine)
{
	struct char_stream *streams[MACHINE_LINES_MAX];
	unsigned i, count = list_streams(machine, streams);

	for (i = 0; i < count; i++) {
		machine->line_ready[i] = (struct char_watch){line_ready, machine, NULL};
		char_watch(streams[i], &machine->line_ready[i]);
	}
}

void machine_unwatch_lines(struct machine *machine)
{
	struct char_stream *streams[MACHINE_LINES_MAX];
	unsigned i, count = list_streams(machine, streams);

	for (i = 0; i < count; i++)
		char_unwatch(streams[i], &machine->line_ready[i]);
}
