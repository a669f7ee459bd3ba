/*
 * The checks that privileged and sensitive instructions begin with.
 */
#ifndef KVIK_ENGINE_X86_PRIVILEGE_H
#define KVIK_ENGINE_X86_PRIVILEGE_H

#include "engine/x86/instructions/operand.h"

static inline void require_cpl0(struct cpu *cpu)
{
	if (cpu->cpl)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

/* SGDT, SIDT, SLDT, SMSW and STR outside ring 0 (SDM vol. 3 §2.5, CR4.UMIP). */
static inline void require_umip(struct cpu *cpu)
{
	if (cpu->cpl && (cpu->cr4 & CR4_UMIP))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

/* Instructions that know selectors only: #UD in real and virtual-8086 mode. */
static inline void require_protected(struct cpu *cpu)
{
	if (!(cpu->mode & CPU_MODE_PROTECTED))
		cpu_raise(cpu, EXCEPTION_UD);
}

#endif
