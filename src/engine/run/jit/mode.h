/* What code means to a CPU, as far as translations depend on it: the mode part of a block's key. */
#ifndef KVIK_ENGINE_RUN_JIT_MODE_H
#define KVIK_ENGINE_RUN_JIT_MODE_H

#include "engine/x86/cpu.h"

static inline bool jit_mode_is_64(uint32_t mode)
{
	return (mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64;
}

/* 64-bit mode, or 32-bit code in flat segments: all others are the interpreter's. */
static inline bool jit_mode_is_translated(uint32_t mode)
{
	uint32_t flat32 = CPU_MODE_CODE32 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_FLAT;

	return jit_mode_is_64(mode) || (mode & (CPU_MODE_CODE_MASK | flat32)) == flat32;
}

#define JIT_MODE_USER       (1u << 8)
#define JIT_MODE_EDGE_SHIFT 9
#define JIT_MODE_EDGE       (~0u << JIT_MODE_EDGE_SHIFT)

/*
 * Which page the code at rip is in, if a direct jump from there can leave the canonical addresses: one
 * that does is #GP before it changes anything. So near their borders, and nowhere else, code is
 * translated for its address. 0: anywhere else.
 */
static inline uint32_t jit_edge_of(uint64_t rip)
{
	const uint64_t border = 1ull << 47, reach = (1ull << 31) + 2 * 4096;
	uint64_t distance = border - 1 - rip; /* to the last address of the lower half */

	if (distance < reach)
		return (uint32_t)((distance >> 12) + 1) << JIT_MODE_EDGE_SHIFT;
	distance = rip + border; /* from the first of the upper half */
	if (distance < reach)
		return (uint32_t)((distance >> 12) + (1u << 20) + 1) << JIT_MODE_EDGE_SHIFT;
	return 0;
}

_Static_assert(((1ull << 20) + (1ull << 19) + 3) << JIT_MODE_EDGE_SHIFT <= UINT32_MAX, "edge pages");

/* What the code at cpu->rip means now, and whether it is the user's: what may be fetched depends on
 * that. */
static inline uint32_t jit_mode_of(const struct cpu *cpu)
{
	uint32_t mode = cpu->mode | (cpu->cpl == 3 ? JIT_MODE_USER : 0);

	return jit_mode_is_64(mode) ? mode | jit_edge_of(cpu->rip) : mode;
}

/* The jump table for a mode. */
static inline unsigned jit_jump_set(uint32_t mode)
{
	return (mode & JIT_MODE_USER ? 1 : 0) + (jit_mode_is_64(mode) ? 0 : 2);
}

#endif
