/*
 * Control registers with the rules that bind them (Intel SDM vol. 3 §2.5, §4.1, §9.8.5), for the
 * instructions and for KVM_SET_SREGS.
 */
#ifndef KVIK_ENGINE_X86_SYSTEM_CONTROL_H
#define KVIK_ENGINE_X86_SYSTEM_CONTROL_H

#include "engine/x86/cpu.h"

/* EFER bits that this CPU's guest may set. */
uint64_t control_efer_allowed(const struct cpu *cpu);

/*
 * Whether a whole set is one that the architecture allows: what KVM_SET_SREGS checks first
 * (kvm_is_valid_sregs). The caller then assigns the fields and calls cpu_update_mode and
 * control_changed.
 */
bool control_is_valid(const struct cpu *cpu, uint64_t cr0, uint64_t cr3, uint64_t cr4,
		      uint64_t efer);

/* What MOV to CR0, CR3 and CR4 does, after its check of privilege. Raise #GP(0) for what may not be. */
void control_write_cr0(struct cpu *cpu, uint64_t value);
void control_write_cr3(struct cpu *cpu, uint64_t value);
void control_write_cr4(struct cpu *cpu, uint64_t value);

/* Assign EFER, which has been checked; translations that NX or LMA change are dropped. */
void control_write_efer(struct cpu *cpu, uint64_t value);

/* Control registers were assigned from outside: drop cached translations, reload the PDPTRs. */
void control_changed(struct cpu *cpu);

#endif
