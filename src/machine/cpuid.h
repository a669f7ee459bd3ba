/* The CPUID that a machine's vCPUs show: what the backend supports, in this machine's topology. */
#ifndef KVIK_MACHINE_CPUID_H
#define KVIK_MACHINE_CPUID_H

#include "kvm/kvm.h"

/*
 * One socket, `cpus` cores of one thread each; APIC id = vCPU id. Sets CPUID of `vcpu`, and tells
 * how many bits a physical address has (MAXPHYADDR).
 */
int cpuid_apply(const struct kvm_vcpu *vcpu, unsigned cpus, unsigned *physical_bits,
		struct error *error);

#endif
