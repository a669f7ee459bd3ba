/*
 * Filling a stub's address space from the guest's page tables.
 *
 * The rules are the TLB's (x86/mmu/memory.c): a page comes in by a walk that has set its accessed bit;
 * it can be written when its dirty bit is set, the host's page may be written unlogged, and nobody keeps
 * code of it. Neighbours come along when the tables already say all that, so that nothing is set which
 * the guest's access alone would not set. What is in doubt is held against the same rules, and stays while
 * they give as much.
 *
 * A page can be written or executed here, not both: code is looked through before it runs, and written
 * to only after it has lost that right. Stores to a page of which another tier keeps code make all of
 * them drop it at once; a stub has no slow path for single bytes.
 */
#include <sys/mman.h>

#include "engine/run/direct/internal.h"
#include "engine/run/tier/code_index.h"
#include "engine/x86/exception.h"
#include "engine/x86/host/host.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/system.h"

#define PAGE_SIZE 4096u
#define PAGE_MASK (~(uint64_t)0xfff)
#define AROUND    16u /* pages, and a power of two: what one visit looks at */
#define RUNS_MAX  8u  /* mappings that one visit makes */

/* What is asked to give way at once: more than one visit brings. */
#define VICTIM_RUNS 24u

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

static bool may_place(const struct direct_process *process, uint64_t gva)
{
	gva &= PAGE_MASK;
	return gva < DIRECT_SPACE_END && !process_is_place(process, gva, PAGE_SIZE);
}

static bool tsc_is_same(const struct cpu *cpu)
{
	return cpu->tsc_is_host && cpu->tsc_offset == 0 && cpu->tsc_adjust == 0;
}

static unsigned allowed(const struct direct *direct)
{
	unsigned width = cpu_is_64(direct->cpu) ? 0 : SENSITIVE_CODE32;

	/* What it tells is another each time. */
	if (direct->comparison)
		return SENSITIVE_RANDOM | width | (direct->cpuid_faults ? ALLOW_CPUID : 0);
	return (tsc_is_same(direct->cpu) ? ALLOW_RDTSC : 0) | (direct->cpuid_faults ? ALLOW_CPUID : 0) |
	       (host_has(HOST_OSPKE) ? 0 : ALLOW_PKRU) | width;
}

static bool is_marked(const struct direct *direct, uint64_t gpa)
{
	return memory_code_word(direct->cpu, gpa) == UINT64_MAX;
}

static enum scan_verdict scan(struct direct *direct, uint64_t gpa, const uint8_t *bytes)
{
	return scan_page(&direct->scans, direct->cpu, gpa, bytes, allowed(direct), is_marked(direct, gpa));
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

/*
 * Whoever writes to the page from now on, by whatever mapping and on whatever CPU, takes the right to execute
 * it. But for pages that change all the time: those are looked through when they are filled. Others may run
 * meanwhile, and slots be others then: there is a request.
 */
static void mark_code(struct cpu *cpu, uint64_t gpa)
{
	if (!code_is_hot(cpu->tiers->code, gpa))
		code_mark(cpu, gpa & PAGE_MASK, PAGE_SIZE);
}

static bool may_write(struct cpu *cpu, const struct paging_result *result, const struct cpu_page *page)
{
	return paging_rights(cpu, result, TLB_USER).writable && result->dirty && page->writable &&
	       !page->dirty_logging && !memory_code_word(cpu, result->gpa) &&
	       compare_may_write(direct_of(cpu), page->hva);
}

/*
 * What a mapping may allow, without a change in the guest's tables. Code that the guest cannot write may be
 * executed whatever it was touched for, so that it is not touched twice; else it is one or the other.
 */
static uint32_t free_rights(struct direct *direct, const struct paging_result *result,
			    const struct cpu_page *page, bool wants_execute)
{
	struct cpu *cpu = direct->cpu;
	struct tlb_page_rights rights = paging_rights(cpu, result, TLB_USER);
	uint32_t large = result->page_size > PAGE_SIZE ? SHADOW_LARGE : 0;

	if (rights.executable && (wants_execute || !rights.writable)) {
		mark_code(cpu, result->gpa);
		if (cpu->requests)
			return large;
		return large | (scan(direct, result->gpa, page->hva) == SCAN_CLEAN ? SHADOW_EXECUTE : 0);
	}
	return large | (may_write(cpu, result, page) ? SHADOW_WRITE : 0);
}

/* Where gva's page is, if ring 3 has accessed it before. */
static bool find_page(struct direct *direct, const struct direct_process *process, uint64_t gva,
		      struct paging_near *near, struct paging_result *result, struct cpu_page *page)
{
	struct cpu *cpu = direct->cpu;

	return may_place(process, gva) && paging_translate_near(cpu, gva, near, result) && result->accessed &&
	       result->user && result->page_size <= 4 << 20 && memory_page(cpu, result->gpa, page) &&
	       page->hva && is_shared(direct, page->hva);
}

/* What may be mapped at gva without a change in the guest's tables. */
static struct candidate look(struct direct *direct, const struct direct_process *process, uint64_t gva,
			     struct paging_near *near, bool wants_execute)
{
	struct candidate candidate = { 0 };
	struct paging_result result;
	struct cpu_page page;

	if (!find_page(direct, process, gva, near, &result, &page))
		return candidate;
	candidate.is_there = true;
	candidate.gpa = result.gpa & PAGE_MASK;
	candidate.offset = (uint64_t)(page.hva - direct->memory->base);
	candidate.rights = free_rights(direct, &result, &page, wants_execute);
	candidate.is_there = !direct->cpu->requests;
	return candidate;
}

/* Whether to map that besides what was asked for: it brings more than there is. */
static bool brings_more(struct shadow_space *space, uint64_t gva, const struct candidate *candidate)
{
	const struct shadow_page *page = shadow_find(space, gva);

	if (!candidate->is_there || !page)
		return candidate->is_there;
	return !(page->rights & SHADOW_WHOLE) && page->gpa == candidate->gpa &&
	       page->rights != candidate->rights && !(page->rights & ~candidate->rights);
}

static int host_rights(uint32_t rights)
{
	return PROT_READ | (rights & SHADOW_WRITE ? PROT_WRITE : 0) |
	       (rights & SHADOW_EXECUTE ? PROT_EXEC : 0);
}

/*
 * That `count` pages from gva on may be written is on record now. Code that others have announced there since that
 * was asked may have found no such record: then the page is lost at once.
 */
static void see_code(struct direct *direct, struct shadow_space *space, uint64_t gva, unsigned count)
{
	/* Pairs with code_mark's, as the one in tlb_note_writable. */
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < count; i++) {
		uint64_t page = gva + (uint64_t)i * PAGE_SIZE;
		const struct shadow_page *shadowed = shadow_find(space, page);
		uint64_t offset = shadowed ? page - shadowed->gva : 0; /* in what is whole */

		if (shadowed && memory_code_word(direct->cpu, shadowed->gpa + offset))
			shadow_lose_page(&direct->shadow, space, page);
	}
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
					candidates[k].gpa, (uint32_t)(candidates[k].offset / PAGE_SIZE),
					candidates[k].rights))
				return false;
		if (run->rights & SHADOW_COPY)
			process_map_copy(process, first + (uint64_t)i * PAGE_SIZE,
					 (uint64_t)(end - i) * PAGE_SIZE, run->offset);
		else
			process_map(process, first + (uint64_t)i * PAGE_SIZE, (uint64_t)(end - i) * PAGE_SIZE,
				    run->offset, host_rights(run->rights));
		direct->counters.pages += end - i;
		direct->counters.mappings++;
		if (run->rights & SHADOW_WRITE)
			see_code(direct, space, first + (uint64_t)i * PAGE_SIZE, end - i);
		runs++;
	}
	return true;
}

/* Make room in a space that is full. False: there is none. */
static bool make_room(struct direct *direct, struct shadow_space *space)
{
	struct direct_process *process = process_of(direct, space);

	for (unsigned runs = 0; runs < VICTIM_RUNS && process->count < DIRECT_COMMANDS / 2; runs++) {
		struct shadow_page *page = shadow_victim(space);
		uint64_t first, end;

		if (!page)
			break;
		first = page->gva;
		end = first + shadow_page_bytes(page);
		shadow_forget_page(&direct->shadow, space, page);
		direct->counters.evicted++;
		for (; (end & (AROUND * PAGE_SIZE - 1)) && (page = shadow_find_small(space, end)); end += PAGE_SIZE) {
			shadow_forget_page(&direct->shadow, space, page);
			direct->counters.evicted++;
		}
		process_unmap(process, first, end - first);
	}
	return shadow_has_room(space, AROUND);
}

/* -- copies of code -- */

/* No stub has the copy any more when guest code runs again. */
static void lose_copy(struct direct *direct, unsigned index)
{
	uint64_t gpa = direct->copies.all[index].gpa;

	shadow_lose_code(&direct->shadow, gpa, gpa);
	copies_forget(&direct->copies, index);
}

/*
 * The page is to run by a copy. Only one that is marked: stores to others nobody tells of. False: it cannot.
 */
static bool take_copy(struct direct *direct, uint64_t gpa, const uint8_t *bytes, struct candidate *wanted)
{
	struct copies *copies = &direct->copies;
	unsigned index = copies_find(copies, gpa);
	struct scan_traps traps;

	if (!is_marked(direct, gpa))
		return false;
	if (index != COPIES_NONE && !copies_is_same(copies, index, gpa, bytes, allowed(direct))) {
		lose_copy(direct, index);
		index = COPIES_NONE;
	}
	if (index == COPIES_NONE) {
		index = copies_place(copies);
		if (copies->all[index].is_used)
			lose_copy(direct, index);
		/* What was copied is looked through, whatever becomes of the page meanwhile. */
		if (!scan_find_traps(&direct->scans, direct->cpu, gpa, copies_put(copies, index, gpa, bytes),
				     allowed(direct), &traps)) {
			copies_forget(copies, index);
			return false;
		}
		copies_trap(copies, index, &traps, allowed(direct));
		direct->counters.copied++;
	}
	copies_use(copies, index);
	copies->all[index].compared = 1 + direct->cpu->code_epoch;
	wanted->rights |= SHADOW_COPY;
	wanted->offset = (uint64_t)index * PAGE_SIZE;
	return true;
}

/* Whether the copy is what its page holds now. */
static bool is_copy_true(struct direct *direct, unsigned index)
{
	uint64_t gpa = direct->copies.all[index].gpa;
	struct cpu_page page;

	return memory_page(direct->cpu, gpa, &page) && page.hva &&
	       copies_is_same(&direct->copies, index, gpa, page.hva, allowed(direct));
}

void fill_compare_copies(struct direct *direct, struct shadow_space *space)
{
	uint64_t left = space->copies, now = 1 + direct->cpu->code_epoch;

	for (; left; left &= left - 1) {
		unsigned index = (unsigned)__builtin_ctzll(left);
		struct code_copy *copy = &direct->copies.all[index];

		if (!copy->is_used || copy->compared == now)
			continue;
		if (is_copy_true(direct, index))
			copy->compared = now;
		else
			lose_copy(direct, index);
	}
}

/* -- whole large pages -- */

/* Whether all of the large page at gva is plain memory of one kind, in one piece of the file, and as it would be
 * mapped: rights as its 4 KiB would all have them. */
static bool look_at_whole(struct direct *direct, const struct paging_result *result, struct candidate *whole)
{
	struct cpu *cpu = direct->cpu;
	const struct code_run *code = code_run_find(cpu->tiers->code, result->gpa);
	uint64_t gpa = result->gpa & ~(SHADOW_WHOLE_BYTES - 1);
	const uint8_t *base = NULL;
	bool is_writable = result->dirty && paging_rights(cpu, result, TLB_USER).writable && !direct->comparison;

	if (result->page_size != SHADOW_WHOLE_BYTES || !result->accessed || !result->user)
		return false;
	for (unsigned i = 0; i < SHADOW_WHOLE_BYTES / PAGE_SIZE; i++) {
		struct cpu_page page;

		if (!memory_page(cpu, gpa + (uint64_t)i * PAGE_SIZE, &page) || !page.hva || !is_shared(direct, page.hva))
			return false;
		if (i == 0)
			base = page.hva;
		if (page.hva != base + (uint64_t)i * PAGE_SIZE)
			return false;
		is_writable = is_writable && page.writable && !page.dirty_logging;
		/* Its pages are mapped one by one. */
		if (code && atomic_load_explicit(&code->words[i], memory_order_relaxed))
			return false;
	}
	*whole = (struct candidate){ .gpa = gpa, .offset = (uint64_t)(base - direct->memory->base),
				     .rights = SHADOW_WHOLE | SHADOW_LARGE | (is_writable ? SHADOW_WRITE : 0),
				     .is_there = true };
	return true;
}

/* Map all of the large page that holds gva, if that can be, and the access is allowed by it. */
static bool fill_whole(struct direct *direct, struct shadow_space *space, uint64_t gva,
		       enum paging_access access, const struct paging_result *result)
{
	uint64_t first = gva & ~(SHADOW_WHOLE_BYTES - 1);
	struct candidate whole;

	if (result->page_size != SHADOW_WHOLE_BYTES || access == PAGING_FETCH || first >= DIRECT_SPACE_END ||
	    process_is_place(process_of(direct, space), first, SHADOW_WHOLE_BYTES) || !look_at_whole(direct, result, &whole) ||
	    (access == PAGING_WRITE && !(whole.rights & SHADOW_WRITE)) ||
	    !process_has_room(process_of(direct, space), 1) ||
	    !shadow_set(&direct->shadow, space, first, whole.gpa, (uint32_t)(whole.offset / PAGE_SIZE),
			whole.rights))
		return false;
	process_map(process_of(direct, space), first, SHADOW_WHOLE_BYTES, whole.offset,
		    host_rights(whole.rights));
	direct->counters.pages += SHADOW_WHOLE_BYTES / PAGE_SIZE;
	direct->counters.mappings++;
	direct->counters.wholes++;
	if (whole.rights & SHADOW_WRITE)
		see_code(direct, space, first, SHADOW_WHOLE_BYTES / PAGE_SIZE);
	return true;
}

/* -- doubt -- */

/* What the page tables make of a page that is mapped. */
enum still { STILL_SAME, STILL_READABLE, STILL_GONE };

static enum still compare(struct direct *direct, const struct direct_process *process,
			  const struct shadow_page *shadowed, struct paging_near *near)
{
	struct cpu *cpu = direct->cpu;
	struct paging_result result;
	struct cpu_page page;

	if (shadowed->rights & SHADOW_WHOLE) {
		struct candidate whole;

		if (!paging_translate_near(cpu, shadowed->gva, near, &result) ||
		    !look_at_whole(direct, &result, &whole) || whole.gpa != shadowed->gpa ||
		    whole.offset / PAGE_SIZE != shadowed->offset)
			return STILL_GONE;
		return shadowed->rights & ~whole.rights ? STILL_READABLE : STILL_SAME;
	}
	if (!find_page(direct, process, shadowed->gva, near, &result, &page) || (result.gpa & PAGE_MASK) != shadowed->gpa ||
	    (result.page_size > PAGE_SIZE) != ((shadowed->rights & SHADOW_LARGE) != 0))
		return STILL_GONE;
	if (shadowed->rights & SHADOW_COPY)
		return paging_rights(cpu, &result, TLB_USER).executable &&
				       copies_is_same(&direct->copies, shadowed->offset, shadowed->gpa, page.hva,
						      allowed(direct)) ?
			       STILL_SAME :
			       STILL_GONE;
	if ((uint64_t)(page.hva - direct->memory->base) / PAGE_SIZE != shadowed->offset)
		return STILL_GONE;
	if (shadowed->rights & SHADOW_EXECUTE)
		return paging_rights(cpu, &result, TLB_USER).executable &&
				       scan_seems_same(&direct->scans, cpu, shadowed->gpa, page.hva, allowed(direct)) ?
			       STILL_SAME :
			       STILL_GONE;
	return (shadowed->rights & SHADOW_WRITE) && !may_write(cpu, &result, &page) ? STILL_READABLE :
										       STILL_SAME;
}

/* A run of pages, to which the stub's mappings are to be adjusted. */
struct adjustment {
	enum still still;
	uint64_t first, end;
	uint32_t offset; /* of `first` */
};

/* False: no room. */
static bool adjust(struct direct_process *process, const struct adjustment *run)
{
	if (run->still == STILL_SAME)
		return true;
	if (process->count >= DIRECT_COMMANDS / 2)
		return false;
	if (run->still == STILL_GONE)
		process_unmap(process, run->first, run->end - run->first);
	else
		process_map(process, run->first, run->end - run->first,
			    (uint64_t)run->offset * PAGE_SIZE, PROT_READ);
	return true;
}

/* Compare all pages with the page tables. False: too much is not what it was. */
static bool compare_all(struct direct *direct, struct shadow_space *space)
{
	struct direct_process *process = process_of(direct, space);
	struct adjustment run = { .still = STILL_SAME };
	struct paging_near near = { 0 };
	uint32_t gone = 0, before = space->count;

	for (uint32_t i = 0; i < space->high; i++) {
		struct shadow_page *page = &space->pages[i];
		enum still still;

		if (!page->is_used)
			continue;
		still = compare(direct, process, page, &near);
		direct->counters.compared++;
		if (still != run.still || run.end != page->gva ||
		    (still == STILL_READABLE &&
		     run.offset + (run.end - run.first) / PAGE_SIZE != page->offset)) {
			if (!adjust(process, &run))
				return false;
			run = (struct adjustment){ still, page->gva, page->gva, page->offset };
		}
		run.end = page->gva + shadow_page_bytes(page);
		if (still == STILL_GONE) {
			shadow_forget_page(&direct->shadow, space, page);
			/* Another program's. */
			if (++gone > before / 2 + 8)
				return false;
		} else if (still == STILL_READABLE) {
			shadow_forbid_write(&direct->shadow, page);
		}
	}
	direct->counters.gone += gone;
	return adjust(process, &run);
}

/* Before anything is mapped in their place. */
static void unmap_wholes(struct direct *direct, struct shadow_space *space)
{
	struct direct_process *process = process_of(direct, space);

	while (space->whole_loss_count && process_has_room(process, 1)) {
		process_unmap(process, space->whole_losses[--space->whole_loss_count], SHADOW_WHOLE_BYTES);
		direct->counters.unmapped += SHADOW_WHOLE_BYTES / PAGE_SIZE;
	}
}

void fill_settle(struct direct *direct, struct shadow_space *space)
{
	struct direct_process *process = process_of(direct, space);

	if (space->is_in_doubt && !space->is_lost) {
		direct->counters.doubts++;
		space->is_in_doubt = false;
		if (!compare_all(direct, space))
			shadow_lose_space(&direct->shadow, space);
		/* It may be another program's, even if it has pages in common with that. */
		process_wipe(process);
		space->checked = __builtin_ia32_rdtsc();
	}
	if (!space->is_lost) {
		unmap_wholes(direct, space);
		return;
	}
	/* What was to be mapped is lost, too. */
	process->count = 0;
	process_unmap_all(process);
	process_wipe(process);
	direct->counters.dropped++;
	space->is_lost = space->is_in_doubt = false;
	space->loss_count = space->whole_loss_count = 0;
	space->checked = __builtin_ia32_rdtsc();
}

void fill_unmap_losses(struct direct *direct, struct shadow_space *space)
{
	struct direct_process *process = process_of(direct, space);
	unsigned count = space->loss_count;
	uint64_t *losses = space->losses;

	if (!process_has_room(process, count + 2) || space->whole_loss_count) {
		shadow_lose_space(&direct->shadow, space);
		fill_settle(direct, space);
		return;
	}
	for (unsigned i = 1; i < count; i++) {
		uint64_t gva = losses[i];
		unsigned k = i;

		for (; k > 0 && losses[k - 1] > gva; k--)
			losses[k] = losses[k - 1];
		losses[k] = gva;
	}
	for (unsigned i = 0, end; i < count; i = end) {
		end = i + 1;
		/* What was mapped anew is not what was there. */
		if (shadow_find_small(space, losses[i]))
			continue;
		while (end < count && losses[end] - losses[end - 1] <= PAGE_SIZE &&
		       !shadow_find_small(space, losses[end]))
			end++;
		process_unmap(process, losses[i], losses[end - 1] + PAGE_SIZE - losses[i]);
		direct->counters.unmapped += end - i;
	}
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
	struct paging_near near = { 0 };
	struct cpu_page page;
	enum scan_verdict verdict;
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
	if (!may_place(process_of(direct, space), gva) || result.page_size > 4 << 20 || !memory_page(cpu, result.gpa, &page) ||
	    !page.hva || !is_shared(direct, page.hva))
		return FILL_REFUSED;
	if (!shadow_has_room(space, AROUND) && !make_room(direct, space)) {
		shadow_lose_space(&direct->shadow, space);
		return FILL_REFUSED;
	}
	before = shadow_find_small(space, gva);
	if (before && access == PAGING_WRITE)
		direct->counters.turned_to_write += (before->rights & SHADOW_EXECUTE) != 0;
	if (before && access == PAGING_FETCH)
		direct->counters.turned_to_execute += (before->rights & SHADOW_WRITE) != 0;
	if (fill_whole(direct, space, gva, access, &result))
		return FILL_DONE;
	wanted = &candidates[index];
	*wanted = (struct candidate){ .is_there = true, .gpa = result.gpa & PAGE_MASK,
				      .offset = (uint64_t)(page.hva - direct->memory->base) };
	if (result.page_size > PAGE_SIZE)
		wanted->rights |= SHADOW_LARGE;
	switch (access) {
	case PAGING_FETCH:
		mark_code(cpu, result.gpa);
		if (cpu->requests)
			return FILL_DONE; /* the access comes again */
		verdict = scan(direct, result.gpa, page.hva);
		if (verdict == SCAN_SENSITIVE ||
		    (verdict == SCAN_TRAPS_DO && !take_copy(direct, result.gpa, page.hva, wanted)))
			return FILL_SENSITIVE;
		wanted->rights |= SHADOW_EXECUTE;
		break;
	case PAGING_WRITE:
		if (!page.writable)
			return FILL_REFUSED;
		if (memory_code_word(cpu, result.gpa) && !drop_code(cpu, result.gpa))
			return FILL_REFUSED;
		if (cpu->requests)
			return FILL_DONE;
		if (page.dirty_logging)
			memory_page_dirty(cpu, result.gpa);
		compare_note_write(direct, wanted->gpa, page.hva);
		wanted->rights |= SHADOW_WRITE;
		break;
	default:
		wanted->rights = free_rights(direct, &result, &page, false);
		if (cpu->requests)
			return FILL_DONE;
		break;
	}
	for (unsigned i = 0; i < AROUND; i++) {
		if (i == index)
			continue;
		candidates[i] = look(direct, process_of(direct, space), first + (uint64_t)i * PAGE_SIZE, &near,
				     access == PAGING_FETCH);
		candidates[i].is_there = brings_more(space, first + (uint64_t)i * PAGE_SIZE, &candidates[i]);
	}
	if (!map_runs(direct, space, first, candidates, index)) {
		shadow_lose_space(&direct->shadow, space);
		return FILL_REFUSED;
	}
	return FILL_DONE;
}

/* Map gva's page if the guest's tables have all that the access needs. Whether it was. */
static bool fill_quietly(struct direct *direct, struct shadow_space *space, uint64_t gva,
			 enum paging_access access)
{
	struct cpu *cpu = direct->cpu;
	struct paging_result result;
	struct tlb_page_rights rights;

	if (!cpu_is_canonical(gva) || !paging_translate(cpu, gva, &result) || !result.accessed)
		return false;
	rights = paging_rights(cpu, &result, TLB_USER);
	if (access == PAGING_WRITE ? !rights.writable || !result.dirty : !rights.readable)
		return false;
	return fill_page(direct, space, gva, access) == FILL_DONE;
}

void fill_ahead(struct direct *direct, struct shadow_space *space)
{
	const struct cpu *cpu = direct->cpu;

	/* Fetches are looked at before each entry. A signal's handler, and another program, do not come
	 * to the same access at once. */
	if (direct->raised.is_open && direct->raised.access != PAGING_FETCH &&
	    direct->raised.rip == cpu->rip && direct->raised.cr3 == cpu->cr3)
		direct->counters.ahead +=
			fill_quietly(direct, space, direct->raised.gva, direct->raised.access);
	direct->raised.is_open = false;
	if (!shadow_find(space, cpu->gpr[CPU_RSP]))
		direct->counters.ahead += fill_quietly(direct, space, cpu->gpr[CPU_RSP], PAGING_READ);
}
