/* What --stats prints of a machine. */
#include <stdio.h>

#include "machine/machine_parts.h"

static const char *exit_name(unsigned reason)
{
	static const char *const names[VCPU_EXIT_REASONS] = {
		[KVM_EXIT_IO] = "port I/O",
		[KVM_EXIT_MMIO] = "memory-mapped I/O",
		[KVM_EXIT_HLT] = "halt",
		[KVM_EXIT_INTR] = "signal",
		[KVM_EXIT_SHUTDOWN] = "triple fault",
		[KVM_EXIT_FAIL_ENTRY] = "failed entry",
		[KVM_EXIT_INTERNAL_ERROR] = "internal error",
		[KVM_EXIT_IRQ_WINDOW_OPEN] = "interrupt window",
		[KVM_EXIT_IOAPIC_EOI] = "end of interrupt",
		[KVM_EXIT_SYSTEM_EVENT] = "system event",
		[KVM_EXIT_DEBUG] = "debug",
	};

	return names[reason] ? names[reason] : "other";
}

static void print_statistic(void *context, const char *name, uint64_t value)
{
	const unsigned *id = context;

	fprintf(stderr, "kvik: CPU %u: %s %llu\n", *id, name, (unsigned long long)value);
}

void machine_print_statistics(const struct machine *machine)
{
	const struct vcpu_statistics *statistics;
	unsigned i, reason;

	fprintf(stderr, "kvik: statistics: resets %llu\n", (unsigned long long)machine->resets);
	if (machine->no_stubs.message[0])
		fprintf(stderr, "kvik: no direct execution: %s\n", machine->no_stubs.message);
	for (i = 0; i < machine->vcpu_count; i++) {
		statistics = &machine->vcpus[i].statistics;
		fprintf(stderr,
			"kvik: CPU %u: port accesses %llu, memory-mapped accesses %llu, kicks %llu",
			i, (unsigned long long)statistics->port_accesses,
			(unsigned long long)statistics->mmio_accesses,
			(unsigned long long)statistics->kicks);
		for (reason = 0; reason < VCPU_EXIT_REASONS; reason++)
			if (statistics->exits[reason])
				fprintf(stderr, ", %s exits %llu", exit_name(reason),
					(unsigned long long)statistics->exits[reason]);
		fputc('\n', stderr);
		if (machine->system.backend->read_statistics)
			machine->system.backend->read_statistics(machine->vcpus[i].kvm.fd,
								 print_statistic, &i);
	}
}
