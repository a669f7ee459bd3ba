/*
 * Watching what a CPU does to memory.
 */
#ifndef KVIK_ENGINE_X86_MMU_WATCH_H
#define KVIK_ENGINE_X86_MMU_WATCH_H

#include "engine/x86/cpu.h"

/*
 * While cpu->watch is set (and tlb_update was called since), every access takes a slow path, and
 * whoever watches hears what it is about to do. Either call may unwind instead of returning.
 */
struct memory_watch {
	/* `size` bytes of guest memory at hva will be overwritten. */
	void (*store)(struct memory_watch *watch, struct cpu *cpu, uint8_t *hva, unsigned size);
	/* Something follows that cannot be taken back, or that others may see at once: a device's access, a
	 * store to code, a page walk that sets accessed or dirty bits, an exclusive section. */
	void (*lasting)(struct memory_watch *watch, struct cpu *cpu);
};

static inline void memory_watch_lasting(struct cpu *cpu)
{
	if (__builtin_expect(cpu->watch != NULL, 0))
		cpu->watch->lasting(cpu->watch, cpu);
}

#endif
