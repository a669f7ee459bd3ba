/* Where translated code finds what it uses of struct cpu and its frame: offsets from the GS base. */
#ifndef KVIK_ENGINE_RUN_JIT_EMIT_STATE_H
#define KVIK_ENGINE_RUN_JIT_EMIT_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/run/jit/frame.h"
#include "engine/x86/cpu.h"

/* The offset from the GS base of a field of struct cpu, and of one of struct jit_frame. */
#define STATE(field) ((int32_t)offsetof(struct cpu, field))
#define FRAME(field) ((int32_t)offsetof(struct jit_cpu, frame.field))

/* Likewise of a jump table. */
static inline int32_t jump_table(unsigned set)
{
	return FRAME(jumps) + (int32_t)(set * JIT_JUMP_ENTRIES * sizeof(struct jit_jump));
}

static inline unsigned jump_set(int32_t table)
{
	return (table - jump_table(0)) / (jump_table(1) - jump_table(0));
}

static inline int32_t home(unsigned guest)
{
	return STATE(gpr) + (int32_t)guest * 8;
}

#endif
