/*
 * What the guest's CPUID says, and what it means for the CPU (KVM api.rst 4.20, 4.46).
 */
#ifndef KVIK_ENGINE_X86_CPUID_H
#define KVIK_ENGINE_X86_CPUID_H

#include "engine/x86/cpu.h"
#include "engine/x86/host/host.h"

/* Feature words cached from CPUID: cpu->features. A feature is word * 32 + bit. Those that decide which
 * instructions there are have the host's numbers. */
enum cpu_feature_word {
	CPU_FEATURES_1_ECX = HOST_1_ECX, CPU_FEATURES_1_EDX = HOST_1_EDX,
	CPU_FEATURES_7_EBX = HOST_7_EBX, CPU_FEATURES_7_ECX = HOST_7_ECX,
	CPU_FEATURES_7_EDX = HOST_7_EDX, CPU_FEATURES_7_1_EAX = HOST_7_1_EAX,
	CPU_FEATURES_D_1_EAX = HOST_D_1_EAX, CPU_FEATURES_EXT1_ECX = HOST_EXT1_ECX,
	CPU_FEATURES_EXT1_EDX = HOST_EXT1_EDX, CPU_FEATURES_EXT7_EDX = HOST_EXT7_EDX,
	CPU_FEATURES_EXT8_EBX = HOST_EXT8_EBX,
	CPU_FEATURES_EXT21_EAX = HOST_WORDS, CPU_FEATURES_KVM_EAX,
	/* CPU_FEATURE_WORDS in cpu.h is their number */
};

#define CPU_FEATURE(word, bit) (CPU_FEATURES_##word * 32 + (bit))

enum cpu_feature {
	FEATURE_MONITOR = CPU_FEATURE(1_ECX, 3), FEATURE_CX16 = CPU_FEATURE(1_ECX, 13),
	FEATURE_PDCM = CPU_FEATURE(1_ECX, 15), FEATURE_PCID = CPU_FEATURE(1_ECX, 17),
	FEATURE_X2APIC = CPU_FEATURE(1_ECX, 21), FEATURE_TSC_DEADLINE = CPU_FEATURE(1_ECX, 24),
	FEATURE_XSAVE = CPU_FEATURE(1_ECX, 26),
	FEATURE_VME = CPU_FEATURE(1_EDX, 1), FEATURE_DE = CPU_FEATURE(1_EDX, 2),
	FEATURE_PSE = CPU_FEATURE(1_EDX, 3), FEATURE_TSC = CPU_FEATURE(1_EDX, 4),
	FEATURE_PAE = CPU_FEATURE(1_EDX, 6), FEATURE_MCE = CPU_FEATURE(1_EDX, 7),
	FEATURE_MTRR = CPU_FEATURE(1_EDX, 12), FEATURE_MCA = CPU_FEATURE(1_EDX, 14),
	FEATURE_PAT = CPU_FEATURE(1_EDX, 16),
	FEATURE_SEP = CPU_FEATURE(1_EDX, 11), FEATURE_PGE = CPU_FEATURE(1_EDX, 13),
	FEATURE_CLFLUSH = CPU_FEATURE(1_EDX, 19), FEATURE_FXSR = CPU_FEATURE(1_EDX, 24),
	FEATURE_SSE = CPU_FEATURE(1_EDX, 25),
	FEATURE_FSGSBASE = CPU_FEATURE(7_EBX, 0), FEATURE_TSC_ADJUST = CPU_FEATURE(7_EBX, 1),
	FEATURE_SMEP = CPU_FEATURE(7_EBX, 7), FEATURE_INVPCID = CPU_FEATURE(7_EBX, 10),
	FEATURE_SMAP = CPU_FEATURE(7_EBX, 20), FEATURE_CLFLUSHOPT = CPU_FEATURE(7_EBX, 23),
	FEATURE_CLWB = CPU_FEATURE(7_EBX, 24), FEATURE_UMIP = CPU_FEATURE(7_ECX, 2),
	FEATURE_RDPID = CPU_FEATURE(7_ECX, 22),
	FEATURE_MD_CLEAR = CPU_FEATURE(7_EDX, 10), FEATURE_VERW_CLEAR = CPU_FEATURE(EXT21_EAX, 5),
	FEATURE_SERIALIZE = CPU_FEATURE(7_EDX, 14), FEATURE_SPEC_CTRL = CPU_FEATURE(7_EDX, 26),
	FEATURE_STIBP = CPU_FEATURE(7_EDX, 27), FEATURE_FLUSH_L1D = CPU_FEATURE(7_EDX, 28),
	FEATURE_ARCH_CAPABILITIES = CPU_FEATURE(7_EDX, 29),
	FEATURE_SSBD = CPU_FEATURE(7_EDX, 31),
	FEATURE_BMI1 = CPU_FEATURE(7_EBX, 3), FEATURE_LZCNT = CPU_FEATURE(EXT1_ECX, 5),
	FEATURE_SYSCALL = CPU_FEATURE(EXT1_EDX, 11), FEATURE_NX = CPU_FEATURE(EXT1_EDX, 20),
	FEATURE_FFXSR = CPU_FEATURE(EXT1_EDX, 25), FEATURE_GB_PAGES = CPU_FEATURE(EXT1_EDX, 26),
	FEATURE_RDTSCP = CPU_FEATURE(EXT1_EDX, 27), FEATURE_LM = CPU_FEATURE(EXT1_EDX, 29),
	FEATURE_AMD_IBPB = CPU_FEATURE(EXT8_EBX, 12), FEATURE_AMD_IBRS = CPU_FEATURE(EXT8_EBX, 14),
	FEATURE_AMD_STIBP = CPU_FEATURE(EXT8_EBX, 15), FEATURE_AMD_SSBD = CPU_FEATURE(EXT8_EBX, 24),
	FEATURE_AMD_VIRT_SSBD = CPU_FEATURE(EXT8_EBX, 25),
	FEATURE_CLZERO = CPU_FEATURE(EXT8_EBX, 0), FEATURE_WBNOINVD = CPU_FEATURE(EXT8_EBX, 9),
	FEATURE_XSAVES = CPU_FEATURE(D_1_EAX, 3),
};

/* Whether the guest's CPUID has `feature`. A CPU that was given no CPUID has all supported ones. */
static inline bool cpu_has(const struct cpu *cpu, enum cpu_feature feature)
{
	return cpu->features[feature / 32] >> (feature % 32) & 1;
}

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

#define CPUID_SUPPORTED_MAX 64 /* more than cpuid_supported ever gives */

/* KVM_GET_SUPPORTED_CPUID: fill up to `capacity` entries; their number, or -E2BIG. */
int cpuid_supported(struct kvm_cpuid_entry2 *entries, unsigned capacity);

/* XCR0 bits that a guest may set on this host: those of cpuid_supported's leaf 0xD. */
uint64_t cpuid_supported_xcr0(void);

#endif
