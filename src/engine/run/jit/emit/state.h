/* Where translated code finds what it uses of struct cpu: offsets from the GS base. */
#ifndef KVIK_ENGINE_JIT_EMIT_STATE_H
#define KVIK_ENGINE_JIT_EMIT_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/x86/cpu.h"

/* The offset of a field from the GS base. */
#define STATE(field) ((int32_t)offsetof(struct cpu, field))

/* Likewise of a jump table. */
static inline int32_t jump_table(unsigned set)
{
	return STATE(fast.jumps) + (int32_t)(set * JIT_JUMP_ENTRIES * sizeof(struct jit_jump));
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
