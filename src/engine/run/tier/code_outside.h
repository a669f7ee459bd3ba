/*
 * Writes to memory that code was made of by others than CPUs (devices, user space), where user space tells
 * of them (engine_tell_writes). They are listed, and the first CPU that is to see them drops what was made of these
 * bytes, for all CPUs, in an exclusive section: further writes there are then to memory like any other. What
 * is too much for the list puts all code in doubt, once for each CPU (cpu->code_epoch).
 */
#ifndef KVIK_ENGINE_RUN_TIER_CODE_OUTSIDE_H
#define KVIK_ENGINE_RUN_TIER_CODE_OUTSIDE_H

#include "engine/run/tier/code_index.h"

/*
 * [gpa, gpa + size) was written just now; `size` UINT64_MAX from gpa 0 on: anything may have been. A CPU that
 * learns of the write afterwards calls code_see_outside. Any thread.
 */
void code_written_outside(struct code_index *index, uint64_t gpa, uint64_t size);

/* Runs no code from here on that was made before a write that was told of. The CPU's own thread, between two instructions. */
void code_see_outside(struct cpu *cpu);

#endif
