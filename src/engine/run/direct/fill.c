/*
 * Filling a stub's address space from the guest's page tables.
 *
 * The rules are the TLB's (x86/mmu/memory.c): a page comes in by a walk that has set its accessed bit;
 * it can be written when its dirty bit is set, the host's page may be written unlogged, and nobody keeps
 * code of it. Neighbours come along when the tables already say all that, so that nothing is set which
 * the guest's access alone would not set.
 *
 * A page can be written or executed here, not both: code is looked through before it runs, and written
 * to only after it has lost that right. Stores to a page of which another tier keeps code make all of
 * them drop it at once; a stub has no slow path for single bytes.
 */
#include <sys/mman.h>

#include "engine/run/direct/internal.h"
#include "engine/run/tier/code_index.h"
#include "engine/x86/exception.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/system.h"

#define PAGE_SIZE 4096u
#define PAGE_MASK (~(uint64_t)0xfff)
#define AROUND    16u /* pages, and a power of two: what one visit looks at */
#define RUNS_MAX  8u  /* mappings that one visit makes */

/* A page as it would be mapped. */
struct candidate {
	uint64_t offset; /* in the memory's file */
	uint64_t gpa;
	uint32_t rights;
	bool is_there;
};

static bool is_shared(const struct direct *direct, const uint8_t *hva)
{
	const struct direct_memory *memory = direct->memory;

	return memory->fd >= 0 && hva >= memory->base && (uint64_t)(hva - memory->base) < memory->size;
}

static bool may_place(uint64_t gva)
{
	gva &= PAGE_MASK;
	return gva < DIRECT_SPACE_END && (gva < DIRECT_STUB_BASE || gva >= DIRECT_STUB_END);
}

static bool tsc_is_same(const struct cpu *cpu)
{
	return cpu->tsc_is_host && cpu->tsc_offset == 0 && cpu->tsc_adjust == 0;
}

static bool is_clean(struct direct *direct, uint64_t gpa, const uint8_t *bytes)
{
	return scan_is_clean(&direct->scans, direct->cpu, gpa, bytes, tsc_is_same(direct->cpu));
}

/* All code of the page goes: true when it may be written now. */
static bool drop_code(struct cpu *cpu, uint64_t gpa)
{
	bool began = cpu_exclusive_begin(cpu);

	code_changed(cpu->tiers->code, gpa & PAGE_MASK, PAGE_SIZE);
	if (began)
		cpu_exclusive_end(cpu);
	return memory_code_word(cpu, gpa) == 0;
}

static int host_rights(uint32_t rights)
{
	return PROT_READ | (rights & SHADOW_WRITE ? PROT_WRITE : 0) |
	       (rights & SHADOW_EXECUTE ? PROT_EXEC : 0);
}

/* The page at gva as a neighbour: only what needs no change in the guest's tables. */
static struct candidate look(struct direct *direct, struct shadow_space *space, uint64_t gva,
			     bool wants_execute)
{
	struct cpu *cpu = direct->cpu;
	struct candidate candidate = { 0 };
	struct paging_result result;
	struct tlb_page_rights rights;
	struct cpu_page page;

	if (!may_place(gva) || shadow_find(space, gva) ||
	    !paging_translate(cpu, gva, &result) || !result.accessed || result.page_size > 4 << 20)
		return candidate;
	rights = paging_rights(cpu, &result, TLB_USER);
	if (!rights.readable || !memory_page(cpu, result.gpa, &page) || !page.hva ||
	    !is_shared(direct, page.hva))
		return candidate;
	candidate.is_there = true;
	candidate.gpa = result.gpa & PAGE_MASK;
	candidate.offset = (uint64_t)(page.hva - direct->memory->base);
	if (result.page_size > PAGE_SIZE)
		candidate.rights |= SHADOW_LARGE;
	if (wants_execute && rights.executable)
		candidate.rights |= is_clean(direct, result.gpa, page.hva) ? SHADOW_EXECUTE : 0;
	else if (rights.writable && result.dirty && page.writable && !page.dirty_logging &&
		 !memory_code_word(cpu, result.gpa))
		candidate.rights |= SHADOW_WRITE;
	return candidate;
}

/* Map `candidates`, which are the pages from `first` on: runs of one kind as one. The run that holds
 * `wanted` in any case. */
static bool map_runs(struct direct *direct, struct shadow_space *space, uint64_t first,
		     const struct candidate *candidates, unsigned wanted)
{
	struct direct_process *process = process_of(direct, space);
	unsigned runs = 0;

	for (unsigned i = 0, end; i < AROUND; i = end) {
		const struct candidate *run = &candidates[i];

		end = i + 1;
		if (!run->is_there)
			continue;
		while (end < AROUND && candidates[end].is_there && candidates[end].rights == run->rights &&
		       candidates[end].offset == run->offset + (uint64_t)(end - i) * PAGE_SIZE)
			end++;
		if (!(i <= wanted && wanted < end) && runs + 1 >= RUNS_MAX)
			continue;
		if (!process_has_room(process, 1))
			return wanted < i;
		for (unsigned k = i; k < end; k++)
			if (!shadow_set(&direct->shadow, space, first + (uint64_t)k * PAGE_SIZE,
					candidates[k].gpa, candidates[k].rights))
				return false;
		process_map(process, first + (uint64_t)i * PAGE_SIZE, (uint64_t)(end - i) * PAGE_SIZE,
			    run->offset, host_rights(run->rights));
		direct->counters.pages += end - i;
		direct->counters.mappings++;
		runs++;
	}
	return true;
}

void fill_unmap_lost(struct direct *direct, struct shadow_space *space)
{
	struct direct_process *process = process_of(direct, space);

	if (!process_has_room(process, space->loss_count + 2))
		shadow_lose_space(&direct->shadow, space);
	if (space->is_lost) {
		/* What was to be mapped is lost, too. */
		process->count = 0;
		process_unmap_all(process);
		process_wipe(process);
		direct->counters.dropped++;
	} else {
		for (unsigned i = 0; i < space->loss_count; i++)
			process_unmap(process, space->losses[i], PAGE_SIZE);
		direct->counters.unmapped += space->loss_count;
	}
	space->is_lost = false;
	space->loss_count = 0;
}

enum fill fill_page(struct direct *direct, struct shadow_space *space, uint64_t gva,
		    enum paging_access access)
{
	struct cpu *cpu = direct->cpu;
	struct candidate candidates[AROUND], *wanted;
	uint64_t first = gva & ~((uint64_t)AROUND * PAGE_SIZE - 1);
	unsigned index = (unsigned)((gva - first) / PAGE_SIZE);
	const struct shadow_page *before;
	struct paging_result result;
	struct tlb_page_rights rights;
	struct cpu_page page;
	uint32_t error_code;

	if (!paging_walk(cpu, gva, access, TLB_USER, &result, &error_code)) {
		direct->counters.guest_faults++;
		direct->raised.is_open = true;
		direct->raised.rip = cpu->rip;
		direct->raised.gva = gva;
		direct->raised.cr3 = cpu->cr3;
		direct->raised.access = access;
		cpu_raise_page_fault(cpu, gva, error_code);
	}
	if (!may_place(gva) || result.page_size > 4 << 20 || !memory_page(cpu, result.gpa, &page) ||
	    !page.hva || !is_shared(direct, page.hva))
		return FILL_REFUSED;
	rights = paging_rights(cpu, &result, TLB_USER);
	before = shadow_find(space, gva);
	if (before && access == PAGING_WRITE)
		direct->counters.turned_to_write += (before->rights & SHADOW_EXECUTE) != 0;
	if (before && access == PAGING_FETCH)
		direct->counters.turned_to_execute += (before->rights & SHADOW_WRITE) != 0;
	wanted = &candidates[index];
	*wanted = (struct candidate){ .is_there = true, .gpa = result.gpa & PAGE_MASK,
				      .offset = (uint64_t)(page.hva - direct->memory->base) };
	if (result.page_size > PAGE_SIZE)
		wanted->rights |= SHADOW_LARGE;
	switch (access) {
	case PAGING_FETCH:
		if (!is_clean(direct, result.gpa, page.hva))
			return FILL_SENSITIVE;
		wanted->rights |= SHADOW_EXECUTE;
		break;
	case PAGING_WRITE:
		if (!page.writable)
			return FILL_REFUSED;
		if (memory_code_word(cpu, result.gpa) && !drop_code(cpu, result.gpa))
			return FILL_REFUSED;
		if (cpu->requests)
			return FILL_DONE; /* slots may be others now: the access comes again */
		if (page.dirty_logging)
			memory_page_dirty(cpu, result.gpa);
		wanted->rights |= SHADOW_WRITE;
		break;
	default:
		if (rights.writable && result.dirty && page.writable && !page.dirty_logging &&
		    !memory_code_word(cpu, result.gpa))
			wanted->rights |= SHADOW_WRITE;
		break;
	}
	for (unsigned i = 0; i < AROUND; i++)
		if (i != index)
			candidates[i] = look(direct, space, first + (uint64_t)i * PAGE_SIZE,
					     access == PAGING_FETCH);
	fill_unmap_lost(direct, space);
	if (!map_runs(direct, space, first, candidates, index)) {
		shadow_lose_space(&direct->shadow, space);
		fill_unmap_lost(direct, space);
		return FILL_REFUSED;
	}
	return FILL_DONE;
}

void fill_ahead(struct direct *direct, struct shadow_space *space)
{
	struct cpu *cpu = direct->cpu;
	enum paging_access access = direct->raised.access;
	struct paging_result result;
	struct tlb_page_rights rights;

	if (!direct->raised.is_open)
		return;
	direct->raised.is_open = false;
	/* Fetches are looked at before each entry. A signal's handler, and another program, do not come
	 * to the same access at once. */
	if (access == PAGING_FETCH || direct->raised.rip != cpu->rip || direct->raised.cr3 != cpu->cr3 ||
	    !paging_translate(cpu, direct->raised.gva, &result) || !result.accessed)
		return;
	rights = paging_rights(cpu, &result, TLB_USER);
	if (access == PAGING_WRITE ? !rights.writable || !result.dirty : !rights.readable)
		return;
	if (fill_page(direct, space, direct->raised.gva, access) == FILL_DONE)
		direct->counters.ahead++;
}
