/*
 * Where a stub is stopped by a kick: whether it spends its time with LOCK.
 *
 * While a VM has one CPU the translator leaves the prefix out, which makes such an instruction five times cheaper, and
 * with it code that does little else dearer directly than translated. An interrupt comes in behind the instruction
 * that the processor was busy with: so where it finds one of these again and again, they are what takes the time.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_LOCKED_H
#define KVIK_ENGINE_RUN_DIRECT_LOCKED_H

#include <stdbool.h>

struct cpu;

/* Whether the bytes before RIP, as far as they are in its page, end in an instruction with LOCK. Raises what the fetch
 * of the next instruction does. */
bool locked_is_behind(struct cpu *cpu);

#endif
