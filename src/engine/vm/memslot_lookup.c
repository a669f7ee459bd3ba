/*
 * Lookups in the memory slots (memslot.h). CPUs ask for pages on every TLB miss, while the guest's
 * vector state is in the host's registers: this file is built without vector instructions and
 * calls nothing.
 */
#include "engine/vm/memslot.h"
#include "util/page.h"

unsigned memslots_search(const struct memslots *slots, uint64_t gpa)
{
	unsigned low = 0, high = slots->count;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (slots->slots[middle]->gpa + slots->slots[middle]->size > gpa)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct memslot *memslots_find(const struct memslots *slots, uint64_t gpa)
{
	unsigned i = __atomic_load_n(&slots->last, __ATOMIC_RELAXED);

	if (i < slots->count && gpa - slots->slots[i]->gpa < slots->slots[i]->size)
		return slots->slots[i];
	i = memslots_search(slots, gpa);
	if (i == slots->count || slots->slots[i]->gpa > gpa)
		return NULL;
	__atomic_store_n((unsigned *)&slots->last, i, __ATOMIC_RELAXED);
	return slots->slots[i];
}

bool memslots_page(const struct memslots *slots, uint64_t gpa, struct cpu_page *page)
{
	const struct memslot *slot = memslots_find(slots, gpa);

	if (!slot)
		return false;
	page->hva = slot->hva + ((gpa - slot->gpa) & PAGE_MASK);
	page->writable = !(slot->flags & KVM_MEM_READONLY);
	page->dirty_logging = slot->dirty;
	return true;
}

static void mark_dirty(const struct memslot *slot, uint64_t gpa, struct dirty_ring *ring)
{
	uint64_t page = (gpa - slot->gpa) / PAGE_SIZE, bit = 1ull << page % 64;

	if (slot->dirty &&
	    !(__atomic_fetch_or(&slot->dirty[page / 64], bit, __ATOMIC_RELAXED) & bit) && ring)
		dirty_ring_push(ring, slot->id, page);
}

void memslots_mark_dirty(const struct memslots *slots, uint64_t gpa, struct dirty_ring *ring)
{
	const struct memslot *slot = memslots_find(slots, gpa);

	if (slot)
		mark_dirty(slot, gpa, ring);
}
