/*
 * The present stack, as near instructions use it: SS:rSP with the width that SS.B or 64-bit mode
 * gives (Intel SDM vol. 1 §6.2.3).
 */
#ifndef KVIK_ENGINE_X86_INSTRUCTIONS_STACK_H
#define KVIK_ENGINE_X86_INSTRUCTIONS_STACK_H

#include "engine/x86/instructions/operand.h"

ALWAYS_INLINE uint64_t stack_wrap(const struct cpu *cpu, uint64_t sp)
{
	if (cpu_is_64(cpu))
		return sp;
	return cpu->mode & CPU_MODE_STACK32 ? (uint32_t)sp : (uint16_t)sp;
}

/* Only SP changes on a 16-bit stack. */
ALWAYS_INLINE void stack_set_pointer(struct cpu *cpu, uint64_t sp)
{
	if (cpu_is_64(cpu))
		cpu->gpr[CPU_RSP] = sp;
	else
		register_write(&cpu->gpr[CPU_RSP], sp, cpu->mode & CPU_MODE_STACK32 ? 4 : 2);
}

ALWAYS_INLINE void stack_push(struct cpu *cpu, uint64_t value, unsigned size)
{
	uint64_t sp = stack_wrap(cpu, cpu->gpr[CPU_RSP] - size);

	mem_write(cpu, CPU_SS, sp, value, size);
	stack_set_pointer(cpu, sp);
}

/* The top of the stack; the caller moves the pointer when nothing can raise any more. */
ALWAYS_INLINE uint64_t stack_top(struct cpu *cpu, unsigned size)
{
	return mem_read(cpu, CPU_SS, stack_wrap(cpu, cpu->gpr[CPU_RSP]), size);
}

ALWAYS_INLINE void stack_skip(struct cpu *cpu, uint64_t bytes)
{
	stack_set_pointer(cpu, cpu->gpr[CPU_RSP] + bytes);
}

#endif
