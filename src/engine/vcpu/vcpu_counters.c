/*
 * What KVM_GET_STATS_FD shows of a vCPU (vm/statistics.h), by the names that Linux has for it.
 *
 * An exit counts when KVM_RUN returns: what the engine does by itself, as Linux's KVM does in the kernel,
 * is none. The file is brought up to date at the same moment.
 */
#include <stdio.h>
#include <unistd.h>

#include "engine/vcpu/vcpu.h"

#define COUNTER KVM_STATS_TYPE_CUMULATIVE

static const struct statistics_row rows[VCPU_COUNTERS] = {
	[VCPU_COUNT_EXITS] = { "exits", COUNTER },
	[VCPU_COUNT_IO] = { "io_exits", COUNTER },
	[VCPU_COUNT_MMIO] = { "mmio_exits", COUNTER },
	[VCPU_COUNT_HALT] = { "halt_exits", COUNTER },
	[VCPU_COUNT_SIGNAL] = { "signal_exits", COUNTER },
	[VCPU_COUNT_WINDOW] = { "irq_window_exits", COUNTER },
	[VCPU_COUNT_INJECTIONS] = { "irq_injections", COUNTER },
};

static void store(const struct vcpu *vcpu)
{
	for (unsigned i = 0; i < VCPU_COUNTERS; i++)
		statistics_store(&vcpu->statistics, i, vcpu->counters[i]);
}

void vcpu_count_exit(struct vcpu *vcpu)
{
	vcpu->counters[VCPU_COUNT_EXITS]++;
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO: vcpu->counters[VCPU_COUNT_IO]++; break;
	case KVM_EXIT_MMIO: vcpu->counters[VCPU_COUNT_MMIO]++; break;
	case KVM_EXIT_HLT: vcpu->counters[VCPU_COUNT_HALT]++; break;
	case KVM_EXIT_INTR: vcpu->counters[VCPU_COUNT_SIGNAL]++; break;
	case KVM_EXIT_IRQ_WINDOW_OPEN: vcpu->counters[VCPU_COUNT_WINDOW]++; break;
	}
	if (vcpu->statistics.values)
		store(vcpu);
}

int vcpu_open_counters(struct vcpu *vcpu)
{
	char id[STATISTICS_NAME_SIZE];
	int fd;

	snprintf(id, sizeof(id), "kvm-%d/vcpu-%u", getpid(), vcpu->member.id);
	fd = statistics_open(&vcpu->statistics, id, rows, VCPU_COUNTERS);
	if (fd >= 0)
		store(vcpu);
	return fd;
}
