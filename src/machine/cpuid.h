/* The CPUID that a machine's vCPUs show: their model's, in this machine's topology. */
#ifndef KVIK_MACHINE_CPUID_H
#define KVIK_MACHINE_CPUID_H

#include "kvm/kvm.h"
#include "machine/cpu_spec.h"
#include "machine/cpu_topology.h"

/* What the rest of the machine must know of it. */
struct cpuid_facts {
	unsigned physical_bits; /* MAXPHYADDR */
	bool is_amd;            /* AMD or Hygon */
};

/* The features that CPUs of model "max" have on a backend. 0, or -errno and `error`. */
int cpuid_supported_features(const struct kvm_system *system, struct cpu_feature_set *features,
                             struct error *error);

/*
 * Sets CPUID of `vcpu`, which is CPU `cpu` and has the APIC id of that (cpu_topology.h). What the
 * model has and the backend lacks is told on the first vCPU, or is an error, as `spec` says. What was
 * set is in *set, which the caller frees: not each KVM gives it back by KVM_GET_CPUID2.
 */
int cpuid_apply(const struct kvm_vcpu *vcpu, const struct cpu_spec *spec,
                const struct cpu_topology *topology, unsigned cpu, struct cpuid_facts *facts,
                struct kvm_cpuid2 **set, struct error *error);

#endif
