/*
 * Filling a stub's address space from the guest's page tables.
 *
 * The rules are the TLB's (x86/mmu/memory.c): a page comes in by a walk that has set its accessed bit;
 * it can be written when its dirty bit is set, the host's page may be written unlogged, and nobody keeps
 * code of it. Neighbours come along when the tables already say all that, so that nothing is set which
 * the guest's access alone would not set. What is in doubt later is held against the same rules (settle.c).
 *
 * A page can be written or executed here, not both: code is looked through before it runs, and written
 * to only after it has lost that right. But for those that have turned from one to the other again and again, as
 * those do that compilers at run time write to beside running code: they are both, and looked through when they are
 * filled or in doubt. Stores to a page of which another tier keeps code make all of
 * them drop it at once; a stub has no slow path for single bytes.
 */
#include <sys/mman.h>

#include "engine/run/direct/look.h"
#include "engine/run/tier/code_index.h"
#include "engine/x86/exception.h"
#include "engine/x86/host/host.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/system.h"
#include "util/page.h"

#define AROUND    16u /* pages, and a power of two: what one visit looks at */
#define RUNS_MAX  8u  /* mappings that one visit makes */

/* What is asked to give way at once: more than one visit brings. */
#define VICTIM_RUNS 24u

/* All code of the page goes: true when it may be written now. */
static bool drop_code(struct cpu *cpu, uint64_t gpa)
{
	bool began = cpu_exclusive_begin_beside(cpu);

	code_stop_apart(cpu, gpa & PAGE_MASK, gpa | ~PAGE_MASK);
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

/*
 * What a mapping may allow, without a change in the guest's tables. Code that the guest cannot write may be
 * executed whatever it was touched for, so that it is not touched twice; else it is one or the other, or restless.
 */
static uint32_t free_rights(struct direct *direct, uint64_t gva, const struct paging_result *result,
			    const struct cpu_page *page, bool wants_execute)
{
	struct cpu *cpu = direct->cpu;
	struct tlb_page_rights rights = paging_rights(cpu, result, TLB_USER);
	uint32_t large = result->page_size > PAGE_SIZE ? SHADOW_LARGE : 0;

	if (rights.executable && rights.writable && look_may_do_both(direct, gva, result, page))
		return large | SHADOW_WRITE | SHADOW_EXECUTE;
	if (rights.executable && (wants_execute || !rights.writable)) {
		mark_code(cpu, result->gpa);
		if (cpu->requests)
			return large;
		return large | (look_scan(direct, gva, result->gpa, page->hva) == SCAN_CLEAN ? SHADOW_EXECUTE : 0);
	}
	return large | (look_may_write(cpu, result, page) ? SHADOW_WRITE : 0);
}

/* What may be mapped at gva without a change in the guest's tables. */
static struct candidate look(struct direct *direct, const struct direct_process *process, uint64_t gva,
			     struct paging_near *near, bool wants_execute)
{
	struct candidate candidate = { 0 };
	struct paging_result result;
	struct cpu_page page;

	if (!look_find_page(direct, process, gva, near, &result, &page))
		return candidate;
	candidate.is_there = true;
	candidate.gpa = result.gpa & PAGE_MASK;
	candidate.offset = (uint64_t)(page.hva - direct->memory->base);
	candidate.rights = free_rights(direct, gva, &result, &page, wants_execute);
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

/*
 * Code that the page before gva's ends with goes on here, now that this may be executed, and may be other than it was
 * thought to be: when that page came in this one held other bytes, or was not there.
 */
static void see_border(struct direct *direct, struct shadow_space *space, uint64_t gva)
{
	const struct shadow_page *before = gva ? shadow_find_small(space, gva - PAGE_SIZE) : NULL;
	struct cpu_page page;

	if (before && (before->rights & SHADOW_EXECUTE) && memory_page(direct->cpu, before->gpa, &page) && page.hva &&
	    look_is_cut(direct, before->gva, page.hva) &&
	    look_scan(direct, before->gva, before->gpa, page.hva) == SCAN_SENSITIVE)
		shadow_lose_page(&direct->shadow, space, before->gva);
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
		if (run->rights & SHADOW_EXECUTE)
			see_border(direct, space, first + (uint64_t)i * PAGE_SIZE);
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

	if (!look_is_marked(direct, gpa))
		return false;
	if (index != COPIES_NONE && !copies_is_same(copies, index, gpa, bytes, look_allowed(direct))) {
		lose_copy(direct, index);
		index = COPIES_NONE;
	}
	if (index == COPIES_NONE) {
		index = copies_place(copies);
		if (copies->all[index].is_used)
			lose_copy(direct, index);
		/* What was copied is looked through, whatever becomes of the page meanwhile. */
		if (!scan_find_traps(&direct->scans, direct->cpu, gpa, copies_put(copies, index, gpa, bytes),
				     look_allowed(direct), &traps)) {
			copies_forget(copies, index);
			return false;
		}
		copies_trap(copies, index, &traps, look_allowed(direct));
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
	       copies_is_same(&direct->copies, index, gpa, page.hva, look_allowed(direct));
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
	if (!look_may_place(process_of(direct, space), gva) || result.page_size > 4 << 20 || !memory_page(cpu, result.gpa, &page) ||
	    !page.hva || !look_is_shared(direct, page.hva))
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
		if (look_may_do_both(direct, gva, &result, &page)) {
			wanted->rights |= SHADOW_WRITE | SHADOW_EXECUTE;
			direct->counters.restless++;
			break;
		}
		mark_code(cpu, result.gpa);
		if (cpu->requests)
			return FILL_DONE; /* the access comes again */
		verdict = look_scan(direct, gva, result.gpa, page.hva);
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
		if (look_may_do_both(direct, gva, &result, &page)) {
			wanted->rights |= SHADOW_EXECUTE;
			direct->counters.restless++;
		}
		break;
	default:
		wanted->rights = free_rights(direct, gva, &result, &page, false);
		if (cpu->requests)
			return FILL_DONE;
		break;
	}
	for (unsigned i = 0; i < AROUND; i++) {
		const struct shadow_page *there;

		if (i == index)
			continue;
		/* It has what it can have; to ask what else it might would take that away. */
		there = shadow_find(space, first + (uint64_t)i * PAGE_SIZE);
		if (there && (there->rights & (SHADOW_WRITE | SHADOW_EXECUTE))) {
			candidates[i].is_there = false;
			continue;
		}
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
