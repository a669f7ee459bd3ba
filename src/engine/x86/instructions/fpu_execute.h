/*
 * The handlers of instructions that run on the host's FPU; fpu_bind (isa_fpu.c) picks among them.
 * Internal to the FPU's files.
 */
#ifndef KVIK_ENGINE_X86_INSTRUCTIONS_FPU_EXECUTE_H
#define KVIK_ENGINE_X86_INSTRUCTIONS_FPU_EXECUTE_H

#include "engine/x86/cpu.h"
#include "engine/x86/decode/insn.h"
#include "engine/x86/fpu/thunk.h"

/* insn->thunk is the struct thunk of each of these. */
insn_handler fpu_run_register, fpu_run_load, fpu_run_store;
insn_handler fpu_run_masked_load, fpu_run_masked_store;
insn_handler fpu_run_x87_register, fpu_run_x87_load, fpu_run_x87_store;
insn_handler fpu_run_gather, fpu_run_scatter;
insn_handler fpu_run_masked_bytes; /* MASKMOVQ, MASKMOVDQU */

/* The offsets in the scratch buffer that gather, scatter and masked byte stores use: the index
 * vector, the data vector. */
#define FPU_SCRATCH_INDEX 0
#define FPU_SCRATCH_DATA  64

/* Raise what a closed gate raises. */
_Noreturn void fpu_gate_closed(struct cpu *cpu, const struct thunk_traits *traits);

/* #NM or #UD unless the instruction may run: CR0, CR4 and XCR0. */
static inline void fpu_check_gate(struct cpu *cpu, const struct thunk_traits *traits)
{
	uint32_t closed = ((uint32_t)cpu->cr0 & traits->cr0_forbidden) |
			  (~(uint32_t)cpu->cr4 & traits->cr4_required) |
			  (~(uint32_t)cpu->xcr0 & traits->xcr0_required);

	if (__builtin_expect(closed != 0, 0))
		fpu_gate_closed(cpu, traits);
}

#define FPU_CR0_MP        (1u << 1)
#define FPU_CR0_EM        (1u << 2)
#define FPU_CR0_TS        (1u << 3)
#define FPU_CR4_OSFXSR    (1u << 9)
#define FPU_CR4_OSXMMEXCPT (1u << 10)
#define FPU_CR4_OSXSAVE   (1u << 18)

/* -- instructions done in software: isa_xsave.c, isa_x87.c -- */

insn_handler fpu_run_fxsave, fpu_run_fxsave64, fpu_run_fxrstor, fpu_run_fxrstor64;
insn_handler fpu_run_xsave, fpu_run_xsaveopt, fpu_run_xsavec, fpu_run_xsaves;
insn_handler fpu_run_xrstor, fpu_run_xrstors;
insn_handler fpu_run_xgetbv, fpu_run_xsetbv;
insn_handler fpu_run_fwait, fpu_run_fnstenv, fpu_run_fldenv, fpu_run_fnsave, fpu_run_frstor;
/* Loads through its thunk after a look at the value. */
insn_handler fpu_run_ldmxcsr;

/* Binders of their rows: they leave in reg[1] whether FIP has 64 bits, or the environment's words
 * have 32. */
insn_handler *fpu_bind_xsave(struct insn *insn, const struct decoded *decoded,
			     const struct isa_row *row);
insn_handler *fpu_bind_environment(struct insn *insn, const struct decoded *decoded,
				   const struct isa_row *row);

#endif
