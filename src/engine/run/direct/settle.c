/*
 * What is mapped in a stub, after what its guest's tables have lost: pages that are in doubt are held against the rules
 * by which they came in, and stay while they give as much; what was lost is unmapped.
 */
#include <sys/mman.h>

#include "engine/run/direct/look.h"
#include "util/page.h"

/* What the page tables make of a page that is mapped. */
enum still { STILL_SAME, STILL_READABLE, STILL_GONE };

/* Tables that a comparison of all pages keeps at hand: they come in the order in which they were mapped. */
#define NEAR_TABLES 16u

/* What is the same for all pages of a comparison. */
struct settling {
	struct paging_near near[NEAR_TABLES];
	unsigned allowed;
};

/*
 * By the tables alone, for certain: 4 KiB where memory is what it was (doubts_memory). Most are such. Who comes to keep
 * code of a page that is written takes it away by itself, as does who writes to one with code; but for those that are
 * not marked.
 */
static bool is_plainly_same(struct direct *direct, const struct shadow_page *shadowed, struct settling *settling)
{
	struct paging_near *near = &settling->near[shadowed->gva >> 21 & (NEAR_TABLES - 1)];
	enum paging_access access = shadowed->rights & SHADOW_EXECUTE ? PAGING_FETCH :
				    shadowed->rights & SHADOW_WRITE ? PAGING_WRITE : PAGING_READ;

	if ((shadowed->rights & ~(SHADOW_WRITE | SHADOW_EXECUTE)) ||
	    shadowed->rights == (SHADOW_WRITE | SHADOW_EXECUTE) ||
	    !paging_is_user_page(direct->cpu, shadowed->gva, shadowed->gpa, access, near))
		return false;
	return access != PAGING_FETCH ||
	       scan_seems_same(&direct->scans, direct->cpu, shadowed->gpa,
			       direct->memory->base + (uint64_t)shadowed->offset * PAGE_SIZE, settling->allowed);
}

static enum still compare(struct direct *direct, const struct direct_process *process,
			  const struct shadow_page *shadowed, struct settling *settling)
{
	struct paging_near *near = &settling->near[shadowed->gva >> 21 & (NEAR_TABLES - 1)];
	unsigned allowed = settling->allowed;
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
	if (!look_find_page(direct, process, shadowed->gva, near, &result, &page) || (result.gpa & PAGE_MASK) != shadowed->gpa ||
	    (result.page_size > PAGE_SIZE) != ((shadowed->rights & SHADOW_LARGE) != 0))
		return STILL_GONE;
	if (shadowed->rights & SHADOW_COPY)
		return paging_rights(cpu, &result, TLB_USER).executable &&
				       copies_is_same(&direct->copies, shadowed->offset, shadowed->gpa, page.hva,
						      allowed) ?
			       STILL_SAME :
			       STILL_GONE;
	if ((uint64_t)(page.hva - direct->memory->base) / PAGE_SIZE != shadowed->offset)
		return STILL_GONE;
	if ((shadowed->rights & SHADOW_EXECUTE) && (shadowed->rights & SHADOW_WRITE))
		return look_may_do_both(direct, shadowed->gva, &result, &page) ? STILL_SAME : STILL_GONE;
	if (shadowed->rights & SHADOW_EXECUTE)
		return paging_rights(cpu, &result, TLB_USER).executable &&
				       scan_seems_same(&direct->scans, cpu, shadowed->gpa, page.hva, allowed) ?
			       STILL_SAME :
			       STILL_GONE;
	return (shadowed->rights & SHADOW_WRITE) && !look_may_write(cpu, &result, &page) ? STILL_READABLE :
										       STILL_SAME;
}

/* -- what a comparison has found, by address: in the low bits of a page's gva -- */

#define CHANGE_READABLE 1u /* it can only be read; else it is gone, */
#define CHANGE_WHOLE	2u /* all 2 MiB of it */
#define GAP_MOST	32u /* pages without a mapping that are unmapped along with those around them */

static uint64_t change_end(uint64_t change)
{
	return (change & PAGE_MASK) + (change & CHANGE_WHOLE ? SHADOW_WHOLE_BYTES : PAGE_SIZE);
}

/* In place: what sorts in C's library may not run here. */
static void sort_changes(uint64_t *changes, uint32_t count)
{
	for (uint32_t gap = count / 2; gap; gap /= 2) {
		for (uint32_t i = gap; i < count; i++) {
			uint64_t change = changes[i];
			uint32_t k = i;

			for (; k >= gap && changes[k - gap] > change; k -= gap)
				changes[k] = changes[k - gap];
			changes[k] = change;
		}
	}
}

/* Whether the guest has nothing in [from, to) that is mapped, nor the stub. */
static bool is_gap(const struct direct_process *process, struct shadow_space *space, uint64_t from, uint64_t to)
{
	if (to - from > GAP_MOST * PAGE_SIZE || (to > from && process_is_place(process, from, to - from)))
		return false;
	for (; from < to; from += PAGE_SIZE)
		if (shadow_find(space, from))
			return false;
	return true;
}

/* Have the stub's mappings follow. False: no room for so many commands. */
static bool follow_changes(struct direct *direct, struct shadow_space *space)
{
	struct direct_process *process = process_of(direct, space);
	const uint64_t *changes = direct->changes;

	sort_changes(direct->changes, direct->change_count);
	for (uint32_t i = 0, next; i < direct->change_count; i = next) {
		uint64_t first = changes[i] & PAGE_MASK, end = change_end(changes[i]);
		const struct shadow_page *page;

		if (process->count >= DIRECT_COMMANDS / 2)
			return false;
		next = i + 1;
		if (!(changes[i] & CHANGE_READABLE)) {
			for (; next < direct->change_count && !(changes[next] & CHANGE_READABLE) &&
			       (changes[next] & PAGE_MASK) >= end && is_gap(process, space, end, changes[next] & PAGE_MASK);
			     next++)
				end = change_end(changes[next]);
			process_unmap(process, first, end - first);
			continue;
		}
		page = shadow_find(space, first);
		for (; next < direct->change_count && changes[next] == (end | CHANGE_READABLE); next++) {
			const struct shadow_page *other = shadow_find_small(space, end);

			if (!other || other->offset != page->offset + (end - first) / PAGE_SIZE)
				break;
			end += PAGE_SIZE;
		}
		process_map(process, first, end - first, (uint64_t)page->offset * PAGE_SIZE, PROT_READ);
	}
	return true;
}

/* Compare all pages with the page tables. False: too much is not what it was. */
static bool compare_all(struct direct *direct, struct shadow_space *space)
{
	struct settling settling = { .allowed = look_allowed(direct) };
	uint32_t gone = 0, before = space->count;

	direct->change_count = 0;
	for (uint32_t i = 0; i < space->high; i++) {
		struct shadow_page *page = &space->pages[i];
		enum still still;

		if (!page->is_used)
			continue;
		direct->counters.compared++;
		if (!space->doubts_memory && is_plainly_same(direct, page, &settling))
			continue;
		still = compare(direct, process_of(direct, space), page, &settling);
		if (still == STILL_SAME)
			continue;
		if (direct->change_count == DIRECT_CHANGES)
			return false;
		direct->changes[direct->change_count++] =
			page->gva | (still == STILL_READABLE ? CHANGE_READABLE : 0) |
			(page->rights & SHADOW_WHOLE ? CHANGE_WHOLE : 0);
		if (still == STILL_READABLE) {
			shadow_forbid_write(&direct->shadow, page);
			continue;
		}
		shadow_forget_page(&direct->shadow, space, page);
		/* Another program's. */
		if (++gone > before / 2 + 8)
			return false;
	}
	direct->counters.gone += gone;
	return follow_changes(direct, space);
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
		space->doubts_memory = false;
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
