/*
 * What the translator hears of the TLB (x86/observer.h).
 *
 * The page slots hold what some TLB entry held. Whatever the TLB loses empties all of them, whether or
 * not it held any: a slot outlives the entry that it was filled from. An empty slot has to hold some
 * page, because translated code compares with nothing but that.
 */
#include <stdatomic.h>
#include <sys/random.h>

#include "engine/run/jit/cache/page.h"
#include "engine/run/jit/internal.h"
#include "engine/x86/mmu/tlb.h"
#include "engine/x86/system.h"

static void empty_slots(struct jit_frame *frame)
{
	struct jit_slot *slot = &frame->slots[0][0][0];
	uint64_t tag = frame->nowhere_tag;
	uint64_t delta = (((uintptr_t)frame->nowhere + 63) & ~(uintptr_t)63) - tag;

	if (!frame->slots_used)
		return;
	frame->slots_used = 0;
	for (unsigned i = 0; i < JIT_SLOT_SETS * 2 * JIT_SLOTS; i++)
		slot[i] = (struct jit_slot){ tag, delta };
}

void jit_slots_init(struct cpu *cpu)
{
	struct jit_frame *frame = jit_frame(cpu);
	uint64_t page = 0;

	/* A guest that met the page would see no #GP there, and nothing else either. */
	(void)!getrandom(&page, sizeof(page), 0);
	frame->nowhere_tag = (page >> 2 & ~(uint64_t)0xfff) | 1ull << 63;
	frame->slots_used = 1;
	empty_slots(frame);
}

void jit_tlb_changed(struct cpu *cpu, enum tlb_change change, uint64_t where)
{
	(void)change, (void)where;
	empty_slots(jit_frame(cpu));
}

/* Slots are filled from cpu->tlb, with the rights of its privilege; STAC and CLAC change it, too. */
void jit_access_changed(struct cpu *cpu)
{
	struct jit_frame *frame = jit_frame(cpu);
	enum tlb_privilege with_ac = cpu->cr4 & CR4_SMAP ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;

	frame->tlb_by_ac[0] = &cpu->tlb_sets.sets[TLB_SUPERVISOR];
	frame->tlb_by_ac[1] = &cpu->tlb_sets.sets[with_ac];
	frame->tlb_user = &cpu->tlb_sets.sets[TLB_USER];
	frame->fs_base_told = cpu->segment[CPU_FS].base;
	frame->ac_closes_slots = with_ac == TLB_SUPERVISOR_AC;
	frame->slots_closed = tlb_privilege(cpu) == TLB_SUPERVISOR_AC;
	/* All accesses are to be looked at. While they are watched no translated code runs. */
	if (cpu->tlb == cpu->tlb_sets.empty && !cpu->watch)
		empty_slots(frame);
}

/* Compare the page before its code runs again. */
void jit_fetch_mapped(struct cpu *cpu, uint64_t gpa)
{
	struct jit *jit = jit_of(cpu);
	struct jit_page *page = jit_page_find(jit->cache, gpa);

	if (page)
		atomic_store_explicit(&jit->places[page->index].compared, 0, memory_order_relaxed);
}
