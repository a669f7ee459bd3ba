/*
 * What a CPU tells those who execute it: the room above (engine/run), which keeps what it has derived
 * from the TLB and from code, and hears here of what makes that void.
 *
 * All on the CPU's own thread, or while the CPU is known to be between instructions, with the guest's
 * vector state wherever it happens to be: observers leave vector registers alone.
 */
#ifndef KVIK_ENGINE_X86_OBSERVER_H
#define KVIK_ENGINE_X86_OBSERVER_H

#include "engine/x86/cpu.h"

/* What has become of translations of addresses; `where` belongs to it. */
enum tlb_change {
	TLB_SWITCHED,         /* another address space: CR3 was loaded; 0 */
	TLB_LOST_ALL,         /* every PCID, with global pages; 0 */
	TLB_LOST_NONGLOBAL,   /* every PCID, without them; 0 */
	TLB_LOST_PAGE,        /* INVLPG, in every PCID; the page's gva */
	TLB_LOST_PCID,        /* without global pages; the PCID */
	TLB_LOST_PCID_PAGE,   /* the page's gva, with the PCID in its low bits */
	TLB_LOST_WRITES,      /* only the right to write: to the page at this gpa, or TLB_ALL_PAGES */
};

struct cpu_observer {
	/* The TLB has lost these translations, whether or not it held any. */
	void (*tlb_changed)(struct cpu *cpu, enum tlb_change change, uint64_t where);
	/* cpu->tlb was chosen anew: tlb_update. Not of each stay in ring 3: cpu->untold_stays. */
	void (*access_changed)(struct cpu *cpu);
	/* The page at gpa got a translation for fetches. What is known of its bytes may be old: those that
	 * changed them without the CPU's knowledge are ordered before this. */
	void (*fetch_mapped)(struct cpu *cpu, uint64_t gpa);
	/* Bit n: bytes [64n, 64n + 64) of gpa's page hold code that somebody has decoded. A store to them
	 * is to be followed by code_written. */
	uint64_t (*code_word)(struct cpu *cpu, uint64_t gpa);
	/* Such bytes were written. Inside an exclusive section or by the only CPU. */
	void (*code_written)(struct cpu *cpu, uint64_t gpa, unsigned size);
};

/* A CPU that nobody executes (some tests' own) has no observer. */
static inline void observe_tlb_change(struct cpu *cpu, enum tlb_change change, uint64_t where)
{
	if (cpu->observer)
		cpu->observer->tlb_changed(cpu, change, where);
}

#endif
