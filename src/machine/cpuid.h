/* The CPUID that a machine's vCPUs show: what the backend supports, in this machine's topology. */
#ifndef KVIK_MACHINE_CPUID_H
#define KVIK_MACHINE_CPUID_H

#include "kvm/kvm.h"

/* What the rest of the machine must know of it. */
struct cpuid_facts {
	unsigned physical_bits; /* MAXPHYADDR */
	bool is_amd;            /* AMD or Hygon */
};

/* One socket, `cpus` cores of one thread each; APIC id = vCPU id. Sets CPUID of `vcpu`. */
int cpuid_apply(const struct kvm_vcpu *vcpu, unsigned cpus, struct cpuid_facts *facts,
                struct error *error);

#endif
