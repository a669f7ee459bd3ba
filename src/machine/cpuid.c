/*
 * CPUID leaves: Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E. KVM_GET_SUPPORTED_CPUID
 * reports the host's own topology, which must be replaced by the machine's in every leaf that has
 * a part of it.
 */
#include "machine/cpuid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

#define FIRST_GUESS_ENTRIES 128
#define MAX_ENTRIES         1024

#define DEFAULT_PHYSICAL_BITS 36 /* of a CPU that doesn't say */

#define VENDOR_AMD_EBX   0x68747541 /* "Auth"enticAMD */
#define VENDOR_HYGON_EBX 0x6f677948 /* "Hygo"nGenuine */

#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_EDX_HTT          (1u << 28)
#define EXT1_ECX_CMP_LEGACY    (1u << 1)
#define LEAFB_TYPE_THREAD      1u
#define LEAFB_TYPE_CORE        2u
#define TOPOLOGY_LEVELS        2 /* threads, cores */
#define TOPOLOGY_ENTRIES       (2 * TOPOLOGY_LEVELS)

/* All entries that the backend supports; the caller frees. NULL with `error` on failure. */
static struct kvm_cpuid2 *get_supported(const struct kvm_system *system, struct error *error)
{
	struct kvm_cpuid2 *cpuid;
	unsigned count = FIRST_GUESS_ENTRIES;
	int result;

	for (;;) {
		/* Room for the topology leaves, which may have to be added. */
		cpuid = calloc(1, sizeof(*cpuid) + (count + CPU_SPEC_ENTRIES + TOPOLOGY_ENTRIES) *
		                                       sizeof(cpuid->entries[0]));
		if (!cpuid) {
			error_set_errno(error, ENOMEM, "cannot set up CPUID");
			return NULL;
		}
		cpuid->nent = count;
		result = kvm_system_ioctl(system, KVM_GET_SUPPORTED_CPUID, cpuid);
		if (result >= 0)
			return cpuid;
		free(cpuid);
		if (result != -E2BIG || count >= MAX_ENTRIES) {
			error_set_errno(error, -result, "cannot ask for the supported CPUID");
			return NULL;
		}
		count *= 2;
	}
}

int cpuid_supported_features(const struct kvm_system *system, struct cpu_feature_set *features,
                             struct error *error)
{
	const struct cpu_spec max = {.model = NULL};
	struct cpu_feature_set missing;
	struct kvm_cpuid2 *cpuid = get_supported(system, error);

	if (!cpuid)
		return -EIO;
	cpu_spec_resolve(&max, cpuid, &missing);
	cpu_features_of(cpuid, features);
	free(cpuid);
	return 0;
}

/* The number of bits that hold ids below `count`. */
static unsigned id_bits(unsigned count)
{
	unsigned bits = 0;

	while ((1u << bits) < count)
		bits++;
	return bits;
}

/* Leaves 0xb and 0x1f: the thread level (one a core), the core level, and the end. */
static void set_extended_topology(struct kvm_cpuid_entry2 *entry, unsigned id, unsigned cpus)
{
	entry->eax = entry->ebx = 0;
	entry->ecx = entry->index;
	entry->edx = id;
	if (entry->index == 0) {
		entry->ebx = 1;
		entry->ecx |= LEAFB_TYPE_THREAD << 8;
	} else if (entry->index == 1) {
		entry->eax = id_bits(cpus);
		entry->ebx = cpus;
		entry->ecx |= LEAFB_TYPE_CORE << 8;
	}
}

/* Cache leaves (4 and 0x8000001d): the first two levels belong to one core, the last to all. */
static void set_cache_sharing(struct kvm_cpuid_entry2 *entry, unsigned cpus, bool has_cores_field)
{
	unsigned type = entry->eax & 0x1f, level = entry->eax >> 5 & 7;
	unsigned sharing = level >= 3 ? (1u << id_bits(cpus)) - 1 : 0;

	if (type == 0)
		return;
	entry->eax &= has_cores_field ? 0x3fff : ~(0xfffu << 14);
	entry->eax |= sharing << 14;
	if (has_cores_field)
		entry->eax |= ((1u << id_bits(cpus)) - 1) << 26;
}

static void patch_entry(struct kvm_cpuid_entry2 *entry, unsigned id, unsigned cpus, bool is_amd)
{
	switch (entry->function) {
	case 0x1:
		entry->ebx = (entry->ebx & 0xffff) | cpus << 16 | id << 24;
		entry->edx &= ~LEAF1_EDX_HTT;
		if (cpus > 1)
			entry->edx |= LEAF1_EDX_HTT;
		break;
	case 0x4: set_cache_sharing(entry, cpus, true); break;
	case 0x80000001:
		/* Without it AMD's CPUs of leaf 1 would be threads of one core. */
		entry->ecx &= ~EXT1_ECX_CMP_LEGACY;
		if (is_amd && cpus > 1)
			entry->ecx |= EXT1_ECX_CMP_LEGACY;
		break;
	case 0xb:
	case 0x1f: set_extended_topology(entry, id, cpus); break;
	case 0x80000008:
		entry->ecx = (entry->ecx & ~0xf0ffu) | id_bits(cpus) << 12 | (cpus - 1);
		break;
	case 0x8000001d: set_cache_sharing(entry, cpus, false); break;
	case 0x8000001e:
		entry->eax = id;
		entry->ebx = id; /* one thread a core */
		entry->ecx = 0;  /* one node */
		entry->edx = 0;
		break;
	}
}

/* A backend lists a topology leaf (0xb, 0x1f) with only its first level, or not at all. */
static void complete_topology(struct kvm_cpuid2 *cpuid, uint32_t leaf, unsigned id, unsigned cpus)
{
	struct kvm_cpuid_entry2 *entry;
	bool has_level[TOPOLOGY_LEVELS] = {false};
	unsigned i, level, max_leaf = 0;

	for (i = 0; i < cpuid->nent; i++) {
		entry = &cpuid->entries[i];
		if (entry->function == 0)
			max_leaf = entry->eax;
		if (entry->function == leaf && entry->index < TOPOLOGY_LEVELS)
			has_level[entry->index] = true;
	}
	for (level = 0; level < TOPOLOGY_LEVELS && max_leaf >= leaf; level++) {
		if (has_level[level])
			continue;
		entry = &cpuid->entries[cpuid->nent++];
		memset(entry, 0, sizeof(*entry));
		entry->function = leaf;
		entry->index = level;
		entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		set_extended_topology(entry, id, cpus);
	}
}

static void read_facts(const struct kvm_cpuid_entry2 *entry, struct cpuid_facts *facts)
{
	if (entry->function == 0)
		facts->is_amd = entry->ebx == VENDOR_AMD_EBX || entry->ebx == VENDOR_HYGON_EBX;
	else if (entry->function == 0x80000008)
		facts->physical_bits = entry->eax & 0xff;
}

/* The backend's timer in deadline mode is a capability of its own (api.rst 4.46). */
static void add_tsc_deadline(struct kvm_cpuid2 *cpuid)
{
	unsigned i;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 1)
			cpuid->entries[i].ecx |= LEAF1_ECX_TSC_DEADLINE;
}

/* The model's features that the backend lacks are told once, or end the start. */
static int report_missing(const struct kvm_vcpu *vcpu, const struct cpu_spec *spec,
                          const struct cpu_feature_set *missing, struct error *error)
{
	char names[400];

	cpu_feature_names(missing, names, sizeof(names));
	if (!names[0])
		return 0;
	if (spec->is_enforced)
		return error_set(error, ENOTSUP, "this host's CPUs lack what --cpu asks for: %s",
		                 names);
	if (vcpu->id == 0 && !spec->is_silent)
		log_warning("the guest's CPU goes without what this host lacks: %s", names);
	return 0;
}

int cpuid_apply(const struct kvm_vcpu *vcpu, const struct cpu_spec *spec, unsigned cpus,
                struct cpuid_facts *facts, struct kvm_cpuid2 **set, struct error *error)
{
	struct kvm_cpuid2 *cpuid = get_supported(vcpu->system, error);
	struct cpu_feature_set missing;
	unsigned i;
	int result;

	if (!cpuid)
		return -ENOTSUP;
	if (kvm_check_extension(vcpu->system, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		add_tsc_deadline(cpuid);
	cpu_spec_resolve(spec, cpuid, &missing);
	result = report_missing(vcpu, spec, &missing, error);
	if (result < 0)
		goto out;
	*facts = (struct cpuid_facts){.physical_bits = DEFAULT_PHYSICAL_BITS};
	for (i = 0; i < cpuid->nent; i++)
		read_facts(&cpuid->entries[i], facts);
	for (i = 0; i < cpuid->nent; i++)
		patch_entry(&cpuid->entries[i], vcpu->id, cpus, facts->is_amd);
	complete_topology(cpuid, 0xb, vcpu->id, cpus);
	complete_topology(cpuid, 0x1f, vcpu->id, cpus);
	result = kvm_vcpu_ioctl(vcpu, KVM_SET_CPUID2, cpuid);
	if (result < 0) {
		error_set_errno(error, -result, "cannot set CPUID of CPU %u", vcpu->id);
		goto out;
	}
	*set = cpuid;
	return 0;
out:
	free(cpuid);
	return result;
}
