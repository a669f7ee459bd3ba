/*
 * The interpreter's loop: runs decoded blocks (code.h) one instruction after the other.
 */
#ifndef KVIK_ENGINE_X86_EXEC_H
#define KVIK_ENGINE_X86_EXEC_H

#include "engine/x86/cpu.h"

/*
 * Run until cpu->requests is not 0. On return the CPU is between instructions. Exceptions and exits
 * unwind out of it (exception.h).
 */
void exec_blocks(struct cpu *cpu);

/*
 * The same in parts, for the translator's dispatcher: exec_begin, then exec_block for each block that
 * is the interpreter's (it may also run none, when a request comes in between), then exec_end.
 */
void exec_begin(struct cpu *cpu);
void exec_block(struct cpu *cpu);
void exec_end(struct cpu *cpu);

/*
 * Run exactly one instruction, or one portion of a string instruction's iterations (one iteration
 * while RFLAGS.TF is set), whatever cpu->requests says.
 */
void exec_one(struct cpu *cpu);

/*
 * An instruction that reaches into the next page, as a handler: whatever is there now. For code that
 * knows only where it begins (`insn` says nothing more).
 */
void exec_crossing(struct cpu *cpu, const struct insn *insn);

/* Cached code may have changed behind the CPU's back: compare it before it runs (code.h). */
static inline void exec_new_epoch(struct cpu *cpu)
{
	cpu->code_epoch++;
}

#endif
