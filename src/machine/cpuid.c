/*
 * CPUID leaves: Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E. KVM_GET_SUPPORTED_CPUID
 * lists what the backend has; the model chooses from it, and the topology fills its leaves.
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

/* All entries that the backend supports; the caller frees. NULL with `error` on failure. */
static struct kvm_cpuid2 *get_supported(const struct kvm_system *system, struct error *error)
{
	struct kvm_cpuid2 *cpuid;
	unsigned count = FIRST_GUESS_ENTRIES;
	int result;

	for (;;) {
		/* Room for the topology leaves, which may have to be added. */
		cpuid = calloc(1, sizeof(*cpuid) + (count + CPU_SPEC_ENTRIES + CPU_TOPOLOGY_ENTRIES) *
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
static int report_missing(unsigned cpu, const struct cpu_spec *spec,
                          const struct cpu_feature_set *missing, struct error *error)
{
	char names[400];

	cpu_feature_names(missing, names, sizeof(names));
	if (!names[0])
		return 0;
	if (spec->is_enforced)
		return error_set(error, ENOTSUP, "this host's CPUs lack what --cpu asks for: %s",
		                 names);
	if (cpu == 0 && !spec->is_silent)
		log_warning("the guest's CPU goes without what this host lacks: %s", names);
	return 0;
}

int cpuid_apply(const struct kvm_vcpu *vcpu, const struct cpu_spec *spec,
                const struct cpu_topology *topology, unsigned cpu, struct cpuid_facts *facts,
                struct kvm_cpuid2 **set, struct error *error)
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
	result = report_missing(cpu, spec, &missing, error);
	if (result < 0)
		goto out;
	*facts = (struct cpuid_facts){.physical_bits = DEFAULT_PHYSICAL_BITS};
	for (i = 0; i < cpuid->nent; i++)
		read_facts(&cpuid->entries[i], facts);
	cpu_topology_describe(topology, cpu, facts->is_amd, cpuid);
	result = kvm_vcpu_ioctl(vcpu, KVM_SET_CPUID2, cpuid);
	if (result < 0) {
		error_set_errno(error, -result, "cannot set CPUID of CPU %u", cpu);
		goto out;
	}
	*set = cpuid;
	return 0;
out:
	free(cpuid);
	return result;
}
