/*
 * CPUs that come and go. All that can be there are made at the start, with their threads: what is not there is parked, as
 * one is that a debugger holds. So nothing has to be made or opened later, and none is slower than others.
 */
#include <errno.h>

#include "machine/inspect.h"
#include "machine/machine_parts.h"
#include "util/log.h"

unsigned machine_most_cpus(const struct machine_config *config)
{
	return config->max_cpus > config->cpus ? config->max_cpus : config->cpus;
}

uint64_t machine_first_cpus(const struct machine_config *config)
{
	return board_first_cpus(config->cpus) | config->more_cpus;
}

static void set_absent(struct machine *machine, unsigned cpu, bool is_absent)
{
	pthread_mutex_lock(&machine->lock);
	__atomic_store_n(&machine->vcpus[cpu].is_absent, is_absent, __ATOMIC_SEQ_CST);
	pthread_cond_broadcast(&machine->state_changed);
	pthread_mutex_unlock(&machine->lock);
}

/* One that came before begins as a new one does: so nothing of its last life is left. */
int machine_plug_cpu(struct machine *machine, unsigned cpu, struct error *error)
{
	int result;

	if (cpu >= machine->vcpu_count)
		return error_set(error, EINVAL, "there is no CPU %u: at most %u can be there", cpu, machine->vcpu_count);
	if (machine_has_cpu(machine, cpu))
		return error_set(error, EEXIST, "CPU %u is there already", cpu);
	result = machine_look_begin(machine, error);
	if (result < 0)
		return result;
	result = machine_reset_cpu(machine, cpu, error);
	if (result == 0)
		result = board_plug_cpu(machine->board, cpu, error);
	if (result == 0)
		set_absent(machine, cpu, false);
	machine_look_end(machine);
	return result;
}

int machine_unplug_cpu(struct machine *machine, unsigned cpu, struct error *error)
{
	if (cpu >= machine->vcpu_count || !machine_has_cpu(machine, cpu))
		return error_set(error, ENODEV, "CPU %u is not there", cpu);
	return board_unplug_cpu(machine->board, cpu, error);
}

/* Its local APIC hears nothing any more, and cannot be chosen for an interrupt. */
void machine_cpu_ejected(void *context, unsigned cpu)
{
	struct machine *machine = context;
	struct machine_observer *observer, *next;
	struct error error;

	set_absent(machine, cpu, true);
	vcpu_force_exit(&machine->vcpus[cpu]);
	if (machine_park(machine) < 0 || machine_reset_cpu(machine, cpu, &error) < 0)
		log_warning("CPU %u keeps its state until it comes again", cpu);
	machine_settle(machine);
	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		if (observer->cpu_unplugged)
			observer->cpu_unplugged(observer->context, cpu);
	}
}

void machine_cpu_reported(void *context, unsigned cpu, uint32_t event, uint32_t status)
{
	struct machine *machine = context;
	struct machine_observer *observer, *next;

	for (observer = machine->observers; observer; observer = next) {
		next = observer->next;
		if (observer->cpu_reported)
			observer->cpu_reported(observer->context, cpu, event, status);
	}
}

void machine_cpu_report(const struct machine *machine, unsigned cpu, uint32_t *event, uint32_t *status)
{
	board_cpu_report(machine->board, cpu, event, status);
}

bool machine_has_cpu(const struct machine *machine, unsigned cpu)
{
	return !__atomic_load_n(&machine->vcpus[cpu].is_absent, __ATOMIC_SEQ_CST);
}
