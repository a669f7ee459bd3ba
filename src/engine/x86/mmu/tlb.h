/*
 * Filling, switching and flushing the software TLB (tlb_set.h; Intel SDM vol. 3 §4.10).
 *
 * All functions: on the CPU's own thread, or while the CPU is known to be between instructions.
 */
#ifndef KVIK_ENGINE_X86_MMU_TLB_H
#define KVIK_ENGINE_X86_MMU_TLB_H

#include "engine/x86/cpu.h"

/* 0 or -ENOMEM. */
int tlb_create(struct cpu *cpu);
void tlb_destroy(struct cpu *cpu);
/* Have the first supervisor set's memory at once: for a CPU that runs a kernel from now on, whose addresses come to lie all
 * over it. One that never runs does without. */
void tlb_touch(struct cpu *cpu);

/*
 * Set cpu->tlb after CPL, RFLAGS.AC, CR0.AM or CR4.SMAP changed (cpu_update_mode calls this).
 * Rights are baked into entries: changes of CR0.PG and CR0.WP, of CR4.PSE, PAE, PGE, PCIDE, SMEP
 * and SMAP, of EFER.NXE and LMA, and of data breakpoints need tlb_flush_all besides.
 */
void tlb_update(struct cpu *cpu);

/* The privilege of the CPU's explicit accesses. */
enum tlb_privilege tlb_privilege(const struct cpu *cpu);

/*
 * CR3 was loaded (cpu->cr3 is the new value without bit 63): go on with the context of its PCID.
 * What that holds is flushed, global pages excepted, unless `keep` (bit 63 of MOV CR3, SDM vol. 3
 * §4.10.4.1). Also after CR4.PCIDE changed (following tlb_flush_all).
 */
void tlb_switch(struct cpu *cpu, bool keep);

void tlb_flush_all(struct cpu *cpu);       /* every PCID, with global pages; INVPCID type 2 */
void tlb_flush_nonglobal(struct cpu *cpu); /* every PCID, without global pages; INVPCID type 3 */
void tlb_flush_page(struct cpu *cpu, uint64_t gva); /* INVLPG */
void tlb_flush_pcid(struct cpu *cpu, uint16_t pcid); /* INVPCID type 1 */
void tlb_flush_pcid_page(struct cpu *cpu, uint16_t pcid, uint64_t gva); /* INVPCID type 0 */

/*
 * Obey CPU_REQUEST_TLB_FLUSH: memory slots, or what their dirty logs hold, changed while this CPU
 * stood still. Whoever has stood still calls this before anything else. True: there was such a
 * request; every host address from before is void (memory.h), and host_generation tells.
 */
bool tlb_obey_flush(struct cpu *cpu);

#define TLB_ALL_PAGES UINT64_MAX
/*
 * Take away write tags: of all entries for the page at gpa, or of all (TLB_ALL_PAGES). The next
 * write walks and so is logged (dirty log), or compared with the code bitmap (first code on a
 * page).
 */
void tlb_flush_writes(struct cpu *cpu, uint64_t gpa);

/*
 * Who may write a page without asking whether it holds code: each CPU notes its pages *before* it asks that for the
 * last time (memory_code_word) and makes an entry, or anything else that stores go by. Another CPU that has
 * announced code, and then finds no note, knows that stores of this one will see the code. A note stays, through
 * flushes and evictions, until tlb_renew_writable or tlb_flush_all.
 */
void tlb_note_writable(struct cpu *cpu, uint64_t gpa);
/* Whether the CPU may write the page that way; often true in vain. Any thread that is inside the guest as well. */
bool tlb_may_write(const struct cpu *cpu, uint64_t gpa);
/* When there are many notes: forget those of pages without entries. Inside an exclusive section: nothing that an
 * instruction or a piece of translated code has looked up ahead may go by them. */
void tlb_renew_writable(struct cpu *cpu);
/* Whether it would do something. The CPU's own thread. */
bool tlb_has_many_notes(const struct cpu *cpu);

/* What tlb_fill enters; the rights of the set's privilege. */
struct tlb_page_rights {
	bool readable, writable, executable;
};

/* Whether nothing would go for the page of gva if it were entered. */
static inline bool tlb_is_free(const struct cpu *cpu, enum tlb_privilege privilege, uint64_t gva)
{
	const struct tlb_set *set = &cpu->tlb_sets.sets[privilege];
	unsigned index = (gva >> 12) & (TLB_ENTRIES - 1);

	return !((set->used_global[index / 64] | set->used_local[index / 64]) >> index % 64 & 1);
}

/* Enter the page of gva into the set of `privilege`; `flags` are enum tlb_page. What is writable has been noted. */
void tlb_fill(struct cpu *cpu, enum tlb_privilege privilege, uint64_t gva, uint64_t gpa,
	      uint8_t *hva, struct tlb_page_rights rights, unsigned flags);

#endif
