/*
 * What the guest's CPUID says, and what it means for the CPU (KVM api.rst 4.20, 4.46).
 */
#ifndef KVIK_ENGINE_X86_SYSTEM_CPUID_H
#define KVIK_ENGINE_X86_SYSTEM_CPUID_H

#include "engine/x86/cpu.h"

/* What CPUID returns for a leaf, dynamic bits (OSXSAVE, APIC, XSAVE sizes) included. */
struct cpuid_registers {
	uint32_t eax, ebx, ecx, edx;
};
struct cpuid_registers cpu_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t subleaf);

/*
 * KVM_SET_CPUID2: `entries` (malloc'ed) become the CPU's. Outside cpu_run. -EINVAL when an entry
 * cannot be (a linear address width other than 48).
 */
int cpu_set_cpuid(struct cpu *cpu, struct kvm_cpuid_entry2 *entries, unsigned count);

/* The feature words (enum cpu_feature_word, CPU_FEATURE_WORDS of them) that such entries hold. */
void cpuid_features(uint32_t *features, const struct kvm_cpuid_entry2 *entries, unsigned count);

struct host_claims;

#define CPUID_SUPPORTED_MAX 64 /* more than cpuid_supported ever gives */

/* KVM_GET_SUPPORTED_CPUID where guests may be told `claims`: fill up to `capacity` entries; their number, or
 * -E2BIG. */
int cpuid_supported(const struct host_claims *claims, struct kvm_cpuid_entry2 *entries, unsigned capacity);

#endif
