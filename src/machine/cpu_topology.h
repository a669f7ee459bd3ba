/* Where a machine's CPUs sit: their APIC ids, and the CPUID leaves that tell of it. */
#ifndef KVIK_MACHINE_CPU_TOPOLOGY_H
#define KVIK_MACHINE_CPU_TOPOLOGY_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

/* Dies of a socket, cores of a die, threads of a core; as many sockets as that takes. All 0: not said. */
struct cpu_topology {
	unsigned dies, cores, threads;
};

/* The same with all of it: what was not said is one socket of `cpus` cores. */
struct cpu_topology cpu_topology_of(const struct cpu_topology *said, unsigned cpus);

/* A CPU's place, by its number. */
struct cpu_place {
	unsigned socket, die, core, thread; /* each in the one before */
};
struct cpu_place cpu_topology_place(const struct cpu_topology *topology, unsigned cpu);

/*
 * Its APIC id: a field of bits for each level (SDM vol. 3 §9.9), so that ids have gaps where a level that others lie
 * above has a number that is no power of 2. However 64 CPUs are laid out, the last one's is below 128.
 */
unsigned cpu_topology_apic_id(const struct cpu_topology *topology, unsigned cpu);

/*
 * Have the leaves tell of it, on CPU `cpu`. `cpuid` has room for CPU_TOPOLOGY_ENTRIES more. What AMD's CPUs before
 * family 17h have no words for, threads of a core, they tell as cores.
 */
#define CPU_TOPOLOGY_ENTRIES 8
void cpu_topology_describe(const struct cpu_topology *topology, unsigned cpu, bool is_amd, struct kvm_cpuid2 *cpuid);

#endif
