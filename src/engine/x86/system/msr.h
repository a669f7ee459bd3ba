/*
 * Model-specific registers (Intel SDM vol. 4; AMD APM vol. 2 appendix A; KVM api.rst 4.18-4.19).
 */
#ifndef KVIK_ENGINE_X86_SYSTEM_MSR_H
#define KVIK_ENGINE_X86_SYSTEM_MSR_H

#include "engine/x86/cpu.h"

/*
 * Read or write an MSR. `host_initiated`: by KVM_GET_MSRS/KVM_SET_MSRS rather than the guest's
 * RDMSR/WRMSR; lifts the rules that bind only guests. 0; -ENOENT: no such MSR; -EINVAL: not this
 * value. Both are #GP(0) for a guest. On the CPU's thread, or with the CPU outside cpu_run.
 */
int cpu_msr_read(struct cpu *cpu, uint32_t index, uint64_t *value, bool host_initiated);
int cpu_msr_write(struct cpu *cpu, uint32_t index, uint64_t value, bool host_initiated);

/* The state behind cpu->msrs: for cpu_create, cpu_destroy and cpu_reset. */
int msr_create(struct cpu *cpu); /* 0 or -ENOMEM */
void msr_destroy(struct cpu *cpu);
void msr_reset(struct cpu *cpu);
/* cpu->is_amd was set: the MSRs whose state after reset depends on the vendor. */
void msr_vendor_changed(struct cpu *cpu);

/* KVM_GET_MSR_INDEX_LIST and KVM_GET_MSR_FEATURE_INDEX_LIST. */
extern const uint32_t cpu_msr_list[];
extern const unsigned cpu_msr_list_count;
extern const uint32_t cpu_msr_feature_list[];
extern const unsigned cpu_msr_feature_list_count;
struct host_claims;
/* The value of a feature MSR (KVM_GET_MSRS on the system handle) where guests may be told `claims`: 0 or -ENOENT. */
int cpu_msr_feature(uint32_t index, const struct host_claims *claims, uint64_t *value);

/* MISC_FEATURES_ENABLES: bit 0, CPUID faults outside ring 0. */
uint64_t msr_misc_features(const struct cpu *cpu);

/* The guest's TSC now: scaled host TSC plus offset. */
uint64_t cpu_read_tsc(struct cpu *cpu);

#endif
