/*
 * Intel SDM vol. 2A, CPUID, leaves 1, 4, 0xb and 0x1f; AMD APM vol. 3, appendix E.4.6 to E.4.17. Backends report the
 * host's own topology, which is replaced by the machine's in every leaf that has a part of it.
 */
#include "machine/cpu_topology.h"

#include <stddef.h>
#include <string.h>

#define LEAF1_EDX_HTT	    (1u << 28)
#define EXT1_ECX_CMP_LEGACY (1u << 1)
#define EXT1_ECX_TOPOEXT    (1u << 22)
#define LEAF4_MAX_CORES	    63
#define LEVEL_THREAD	    1u
#define LEVEL_CORE	    2u
#define LEVEL_DIE	    5u
#define TOPOLOGY_LEAF	    0xb
#define DIES_LEAF	    0x1f
#define ZEN_FAMILY	    0x17

struct level {
	unsigned type, shift, cpus; /* the bits of an APIC id below the next level; CPUs in one of this */
};

/* The number of bits that hold ids below `count`. */
static unsigned id_bits(unsigned count)
{
	unsigned bits = 0;

	while ((1u << bits) < count)
		bits++;
	return bits;
}

static unsigned core_shift(const struct cpu_topology *topology)
{
	return id_bits(topology->threads);
}

static unsigned die_shift(const struct cpu_topology *topology)
{
	return core_shift(topology) + id_bits(topology->cores);
}

static unsigned socket_shift(const struct cpu_topology *topology)
{
	return die_shift(topology) + id_bits(topology->dies);
}

static unsigned socket_cpus(const struct cpu_topology *topology)
{
	return topology->dies * topology->cores * topology->threads;
}

struct cpu_topology cpu_topology_of(const struct cpu_topology *said, unsigned cpus)
{
	struct cpu_topology topology = *said;

	if (!topology.cores)
		topology = (struct cpu_topology){1, cpus, 1};
	return topology;
}

struct cpu_place cpu_topology_place(const struct cpu_topology *topology, unsigned cpu)
{
	unsigned core = cpu / topology->threads, die = core / topology->cores;

	return (struct cpu_place){.socket = die / topology->dies,
				  .die = die % topology->dies,
				  .core = core % topology->cores,
				  .thread = cpu % topology->threads};
}

unsigned cpu_topology_apic_id(const struct cpu_topology *topology, unsigned cpu)
{
	struct cpu_place place = cpu_topology_place(topology, cpu);

	return place.socket << socket_shift(topology) | place.die << die_shift(topology) |
	       place.core << core_shift(topology) | place.thread;
}

/* Leaves 0xb and 0x1f: a level each subleaf, and the end. The first knows no dies: its cores are all of a socket's. */
static void set_level(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, unsigned id)
{
	bool has_dies = entry->function == DIES_LEAF && topology->dies > 1;
	const struct level levels[] = {
		{LEVEL_THREAD, core_shift(topology), topology->threads},
		{LEVEL_CORE, has_dies ? die_shift(topology) : socket_shift(topology),
		 has_dies ? topology->cores * topology->threads : socket_cpus(topology)},
		{LEVEL_DIE, socket_shift(topology), socket_cpus(topology)},
	};
	unsigned count = has_dies ? 3 : 2;

	entry->eax = entry->ebx = 0;
	entry->ecx = entry->index;
	entry->edx = id;
	if (entry->index < count) {
		entry->eax = levels[entry->index].shift;
		entry->ebx = levels[entry->index].cpus;
		entry->ecx |= levels[entry->index].type << 8;
	}
}

/* Cache leaves (4 and 0x8000001d): the first two levels belong to one core, the last to a die. */
static void set_cache_sharing(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, bool has_cores_field)
{
	unsigned type = entry->eax & 0x1f, level = entry->eax >> 5 & 7;
	unsigned shift = level >= 3 ? die_shift(topology) : core_shift(topology);
	unsigned cores = (1u << (socket_shift(topology) - core_shift(topology))) - 1;

	if (type == 0)
		return;
	entry->eax &= has_cores_field ? 0x3fff : ~(0xfffu << 14);
	entry->eax |= ((1u << shift) - 1) << 14;
	if (has_cores_field)
		entry->eax |= (cores < LEAF4_MAX_CORES ? cores : LEAF4_MAX_CORES) << 26;
}

/* AMD counts a socket's CPUs, Intel the ids that are kept for them. */
static void set_leaf1(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, unsigned id, bool is_amd)
{
	unsigned logical = is_amd ? socket_cpus(topology) : 1u << socket_shift(topology);

	if (logical > 0xff)
		logical = 0xff;
	entry->ebx = (entry->ebx & 0xffff) | logical << 16 | id << 24;
	entry->edx &= ~LEAF1_EDX_HTT;
	if (socket_cpus(topology) > 1)
		entry->edx |= LEAF1_EDX_HTT;
}

static void set_extended_apic_id(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, unsigned cpu)
{
	struct cpu_place place = cpu_topology_place(topology, cpu);

	entry->eax = cpu_topology_apic_id(topology, cpu);
	entry->ebx = ((place.die << (die_shift(topology) - core_shift(topology)) | place.core) & 0xff) |
		     (topology->threads - 1) << 8;
	entry->ecx = ((place.socket * topology->dies + place.die) & 0xff) | ((topology->dies - 1) & 7) << 8;
	entry->edx = 0;
}

static void patch_entry(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, unsigned cpu, bool is_amd,
			bool has_threads)
{
	unsigned id = cpu_topology_apic_id(topology, cpu), cpus = socket_cpus(topology);

	switch (entry->function) {
	case 0x1: set_leaf1(entry, topology, id, is_amd); break;
	case 0x4: set_cache_sharing(entry, topology, true); break;
	case 0x80000001:
		/* Without it AMD's CPUs of leaf 1 would be threads of one core. */
		entry->ecx &= ~EXT1_ECX_CMP_LEGACY;
		if (is_amd && cpus > 1)
			entry->ecx |= EXT1_ECX_CMP_LEGACY;
		if (has_threads)
			entry->ecx |= EXT1_ECX_TOPOEXT;
		break;
	case TOPOLOGY_LEAF:
	case DIES_LEAF: set_level(entry, topology, id); break;
	case 0x80000008:
		entry->ecx = (entry->ecx & ~0xf0ffu) | socket_shift(topology) << 12 | ((cpus - 1) & 0xff);
		break;
	case 0x8000001d: set_cache_sharing(entry, topology, false); break;
	case 0x8000001e: set_extended_apic_id(entry, topology, cpu); break;
	}
}

/* A backend lists a topology leaf with only its first level, or not at all. */
static void complete(struct kvm_cpuid2 *cpuid, uint32_t leaf, unsigned levels, const struct cpu_topology *topology,
		     unsigned id)
{
	struct kvm_cpuid_entry2 *entry;
	uint32_t there = 0;
	unsigned i;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == leaf && cpuid->entries[i].index < levels)
			there |= 1u << cpuid->entries[i].index;
	for (i = 0; i < levels; i++) {
		if (there >> i & 1)
			continue;
		entry = &cpuid->entries[cpuid->nent++];
		memset(entry, 0, sizeof(*entry));
		entry->function = leaf;
		entry->index = i;
		entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		set_level(entry, topology, id);
	}
}

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *cpuid, uint32_t function)
{
	unsigned i;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function)
			return &cpuid->entries[i];
	return NULL;
}

static unsigned family(uint32_t signature)
{
	unsigned base = signature >> 8 & 0xf;

	return base == 0xf ? base + (signature >> 20 & 0xff) : base;
}

void cpu_topology_describe(const struct cpu_topology *topology, unsigned cpu, bool is_amd, struct kvm_cpuid2 *cpuid)
{
	unsigned id = cpu_topology_apic_id(topology, cpu), i;
	struct kvm_cpuid_entry2 *first = find(cpuid, 0), *one = find(cpuid, 1);
	bool has_threads = is_amd && topology->threads > 1 && one && family(one->eax) >= ZEN_FAMILY;

	/* Intel's have no other word for dies. */
	if (first && !is_amd && topology->dies > 1 && first->eax >= TOPOLOGY_LEAF && first->eax < DIES_LEAF)
		first->eax = DIES_LEAF;
	for (i = 0; i < cpuid->nent; i++)
		patch_entry(&cpuid->entries[i], topology, cpu, is_amd, has_threads);
	if (first && first->eax >= TOPOLOGY_LEAF)
		complete(cpuid, TOPOLOGY_LEAF, 2, topology, id);
	if (first && first->eax >= DIES_LEAF)
		complete(cpuid, DIES_LEAF, topology->dies > 1 ? 3 : 2, topology, id);
}
