/*
 * Lockstep: a debug mode in which the interpreter goes before the translator, block by block, and
 * their results are compared. For one vCPU.
 */
#ifndef KVIK_ENGINE_JIT_LOCKSTEP_H
#define KVIK_ENGINE_JIT_LOCKSTEP_H

#include "engine/run/jit/analyse/item.h"
#include "engine/run/jit/internal.h"

/* What lockstep keeps of a block: its instructions up to the first that must not run twice. */
struct jit_script {
	unsigned count;
	bool has_vectors;
	bool ends_in_fallback; /* the instruction behind them is the interpreter's anyway */
	struct jit_step {
		struct insn insn;
		uint16_t flags; /* arithmetic flags that are defined and may be read behind it */
	} steps[];
};

void jit_lockstep_destroy(struct jit *jit); /* tells what it has found */
/* From the items of the block just translated; NULL when there is none. */
struct jit_script *jit_lockstep_script(const struct jit_item *items, unsigned count);

/* Around the entry of a block: run the interpreter and take its effects back; compare. */
void jit_lockstep_before(struct jit *jit, const struct jit_block *block);
void jit_lockstep_after(struct jit *jit);
/* The interpreter is about to execute the instruction at `rip` for the block. */
void jit_lockstep_fallback(struct jit *jit, uint64_t rip);

#endif
