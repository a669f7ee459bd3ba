/*
 * Watching translated code, block by block: what lockstep needs of the translator.
 *
 * While a CPU's translator has a watcher, each run of a block is one pass: blocks are neither linked nor
 * paired, jumps do not find them, and they are left behind each instruction that is the interpreter's.
 */
#ifndef KVIK_ENGINE_RUN_JIT_WATCH_H
#define KVIK_ENGINE_RUN_JIT_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/x86/decode/insn.h"

struct cpu;

#define JIT_SCRIPT_STEPS 64 /* at most */

/* What a block was made from: its instructions, up to the first that the interpreter executes. */
struct jit_script {
	unsigned count;
	bool has_vectors;
	bool ends_in_fallback; /* there is such an instruction behind them */
	struct jit_step {
		struct insn insn;
		uint16_t flags; /* arithmetic flags that are defined and may be read behind it */
	} steps[];
};

/* All on the CPU's own thread. */
struct jit_watcher {
	/* A block is about to run from cpu->rip; NULL: there is no script of it. Vector registers may hold
	 * the guest's state, then and afterwards. */
	void (*before)(struct jit_watcher *watcher, struct cpu *cpu, const struct jit_script *script);
	/* It was left, without an exception, for cpu->rip. */
	void (*after)(struct jit_watcher *watcher, struct cpu *cpu);
	/* The interpreter is about to execute the instruction at `rip` for it; all else of the CPU's state is
	 * that before this instruction. */
	void (*fallback)(struct jit_watcher *watcher, struct cpu *cpu, uint64_t rip);
	/* The CPU ends. */
	void (*end)(struct jit_watcher *watcher);
	uint64_t differences; /* that it has found, for the counters */
};

/* From now on `watcher` watches the CPU, which has a translator and has translated nothing yet. */
void jit_watch(struct cpu *cpu, struct jit_watcher *watcher);

#endif
