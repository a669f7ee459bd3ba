#include "engine/run/direct/shadow.h"

#include <stddef.h>

#include "util/page.h"

#define LARGE_PAGES 512u

#define WHOLE_MASK  (~(SHADOW_WHOLE_BYTES - 1))

static uint32_t *bucket_of(struct shadow_space *space, uint64_t gva, uint32_t rights)
{
	uint64_t page = gva >> 12;

	if (rights & SHADOW_WHOLE)
		return &space->wholes[(gva >> 21 ^ gva >> 30) & (SHADOW_WHOLES - 1)];
	return &space->buckets[(page ^ page >> 13) & (SHADOW_BUCKETS - 1)];
}

static uint32_t *frame_of(struct shadow *shadow, uint64_t gpa, uint32_t rights)
{
	if (rights & SHADOW_WHOLE)
		return &shadow->whole_frames[gpa >> 21 & (SHADOW_WHOLES - 1)];
	return &shadow->frames[gpa >> 12 & (SHADOW_FRAMES - 1)];
}

static uint64_t large_bit(uint64_t gva)
{
	return 1ull << (gva >> 21 & 63);
}

static struct shadow_page *page_of(struct shadow *shadow, uint32_t reference)
{
	return &shadow->spaces[(reference - 1) / SHADOW_PAGES].pages[(reference - 1) % SHADOW_PAGES];
}

static uint32_t reference_of(const struct shadow *shadow, const struct shadow_space *space,
			     uint32_t index)
{
	return (uint32_t)(space - shadow->spaces) * SHADOW_PAGES + index + 1;
}

static struct shadow_page *find(struct shadow_space *space, uint64_t gva, uint32_t rights)
{
	for (uint32_t at = *bucket_of(space, gva, rights); at; at = space->pages[at - 1].next)
		if (space->pages[at - 1].gva == gva)
			return &space->pages[at - 1];
	return NULL;
}

static struct shadow_page *find_whole(struct shadow_space *space, uint64_t gva)
{
	return space->whole_count ? find(space, gva & WHOLE_MASK, SHADOW_WHOLE) : NULL;
}

struct shadow_page *shadow_find_small(struct shadow_space *space, uint64_t gva)
{
	return find(space, gva & PAGE_MASK, 0);
}

struct shadow_page *shadow_find(struct shadow_space *space, uint64_t gva)
{
	struct shadow_page *page = shadow_find_small(space, gva);

	return page ? page : find_whole(space, gva);
}

static const _Atomic uint32_t *writers_of(const struct shadow *shadow, uint64_t gpa, uint32_t rights)
{
	return rights & SHADOW_WHOLE ? &shadow->whole_writers[gpa >> 21 & (SHADOW_WHOLES - 1)] :
				       &shadow->writers[gpa >> 12 & (SHADOW_WRITERS - 1)];
}

static void count_writer(struct shadow *shadow, const struct shadow_page *page, uint32_t by)
{
	_Atomic uint32_t *writers = (_Atomic uint32_t *)writers_of(shadow, page->gpa, page->rights);

	/* There is but one thread at a time that writes. */
	if (page->rights & SHADOW_WRITE)
		atomic_store_explicit(writers, atomic_load_explicit(writers, memory_order_relaxed) + by,
				      memory_order_release);
}

bool shadow_may_write(const struct shadow *shadow, uint64_t gpa)
{
	return atomic_load_explicit(writers_of(shadow, gpa, 0), memory_order_acquire) ||
	       atomic_load_explicit(writers_of(shadow, gpa, SHADOW_WHOLE), memory_order_acquire);
}

static bool writes(const struct shadow *shadow, uint32_t at, uint64_t gpa)
{
	while (at) {
		const struct shadow_page *page = &shadow->spaces[(at - 1) / SHADOW_PAGES].pages[(at - 1) % SHADOW_PAGES];

		if (page->gpa == gpa && (page->rights & SHADOW_WRITE))
			return true;
		at = page->next_of_frame;
	}
	return false;
}

bool shadow_writes(const struct shadow *shadow, uint64_t gpa)
{
	return writes(shadow, shadow->frames[gpa >> 12 & (SHADOW_FRAMES - 1)], gpa & PAGE_MASK) ||
	       writes(shadow, shadow->whole_frames[gpa >> 21 & (SHADOW_WHOLES - 1)], gpa & WHOLE_MASK);
}

void shadow_forbid_write(struct shadow *shadow, struct shadow_page *page)
{
	count_writer(shadow, page, UINT32_MAX);
	page->rights &= (uint8_t)~SHADOW_WRITE;
}

static void frame_add(struct shadow *shadow, struct shadow_page *page, uint32_t reference)
{
	uint32_t *head = frame_of(shadow, page->gpa, page->rights);

	count_writer(shadow, page, 1);
	page->previous_of_frame = 0;
	page->next_of_frame = *head;
	if (*head)
		page_of(shadow, *head)->previous_of_frame = reference;
	*head = reference;
}

static void frame_remove(struct shadow *shadow, struct shadow_page *page)
{
	count_writer(shadow, page, UINT32_MAX);
	if (page->previous_of_frame)
		page_of(shadow, page->previous_of_frame)->next_of_frame = page->next_of_frame;
	else
		*frame_of(shadow, page->gpa, page->rights) = page->next_of_frame;
	if (page->next_of_frame)
		page_of(shadow, page->next_of_frame)->previous_of_frame = page->previous_of_frame;
}

/* A whole page comes, and its mapping with it. */
static void forget_under(struct shadow *shadow, struct shadow_space *space, uint64_t gva)
{
	if (space->count == space->whole_count)
		return;
	for (unsigned i = 0; i < LARGE_PAGES; i++) {
		struct shadow_page *page = shadow_find_small(space, gva + ((uint64_t)i << 12));

		if (page)
			shadow_forget_page(shadow, space, page);
	}
}

bool shadow_set(struct shadow *shadow, struct shadow_space *space, uint64_t gva, uint64_t gpa,
		uint32_t offset, uint32_t rights)
{
	bool is_whole = rights & SHADOW_WHOLE;
	uint64_t mask = is_whole ? WHOLE_MASK : PAGE_MASK;
	struct shadow_page *page = find(space, gva & mask, rights);
	uint32_t index, *bucket = bucket_of(space, gva, rights);

	if (is_whole)
		forget_under(shadow, space, gva & mask);
	if (page) {
		index = (uint32_t)(page - space->pages);
		frame_remove(shadow, page);
	} else {
		if (space->free) {
			index = space->free - 1;
			space->free = space->pages[index].next;
		} else if (space->high < SHADOW_PAGES) {
			index = space->high++;
		} else {
			return false;
		}
		page = &space->pages[index];
		page->gva = gva & mask;
		page->next = *bucket;
		*bucket = index + 1;
		page->is_used = true;
		space->count++;
		space->whole_count += is_whole;
	}
	page->gpa = gpa & mask;
	page->offset = offset;
	page->rights = (uint8_t)rights;
	if ((rights & (SHADOW_LARGE | SHADOW_WHOLE)) == SHADOW_LARGE)
		space->large |= large_bit(gva);
	if (rights & SHADOW_COPY)
		space->copies |= 1ull << (offset & 63);
	frame_add(shadow, page, reference_of(shadow, space, index));
	return true;
}

struct shadow_page *shadow_victim(struct shadow_space *space)
{
	for (uint32_t i = 0; i < space->high; i++) {
		struct shadow_page *page;

		if (space->hand >= space->high)
			space->hand = 0;
		page = &space->pages[space->hand++];
		if (page->is_used)
			return page;
	}
	return NULL;
}

void shadow_forget_page(struct shadow *shadow, struct shadow_space *space, struct shadow_page *page)
{
	uint32_t index = (uint32_t)(page - space->pages);
	uint32_t *link = bucket_of(space, page->gva, page->rights);

	while (*link != index + 1)
		link = &space->pages[*link - 1].next;
	*link = page->next;
	frame_remove(shadow, page);
	page->is_used = false;
	page->next = space->free;
	space->free = index + 1;
	space->count--;
	space->whole_count -= (page->rights & SHADOW_WHOLE) != 0;
}

static void lose(struct shadow *shadow, struct shadow_space *space, struct shadow_page *page)
{
	bool is_whole = page->rights & SHADOW_WHOLE;

	if (is_whole ? space->whole_loss_count == SHADOW_WHOLE_LOSSES : space->loss_count == SHADOW_LOSSES) {
		space->is_in_doubt = space->doubts_memory = true;
		return;
	}
	if (is_whole)
		space->whole_losses[space->whole_loss_count++] = page->gva;
	else
		space->losses[space->loss_count++] = page->gva;
	shadow_forget_page(shadow, space, page);
}

/* 4 KiB of what is whole: the rest stays. */
static void lose_part(struct shadow_space *space, uint64_t gva)
{
	if (space->loss_count == SHADOW_LOSSES)
		space->is_in_doubt = space->doubts_memory = true;
	else
		space->losses[space->loss_count++] = gva;
}

void shadow_lose_page(struct shadow *shadow, struct shadow_space *space, uint64_t gva)
{
	struct shadow_page *page = shadow_find_small(space, gva);
	uint64_t large = gva & WHOLE_MASK;

	if (page)
		lose(shadow, space, page);
	page = find_whole(space, gva);
	if (page)
		lose(shadow, space, page);
	if (!(space->large & large_bit(gva)))
		return;
	/* The pages of 4 KiB that a large one came in. */
	for (unsigned i = 0; i < LARGE_PAGES; i++) {
		page = shadow_find_small(space, large + ((uint64_t)i << 12));
		if (page && (page->rights & SHADOW_LARGE))
			lose(shadow, space, page);
	}
}

void shadow_lose_space(struct shadow *shadow, struct shadow_space *space)
{
	if (!space->high)
		return;
	for (uint32_t i = 0; i < space->high; i++) {
		struct shadow_page *page = &space->pages[i];

		if (!page->is_used)
			continue;
		frame_remove(shadow, page);
		*bucket_of(space, page->gva, page->rights) = 0;
		page->is_used = false;
	}
	space->high = space->free = space->count = space->whole_count = 0;
	space->loss_count = space->whole_loss_count = 0;
	space->large = space->copies = 0;
	space->is_in_doubt = space->doubts_memory = false;
	space->is_lost = true;
}

static void lose_all(struct shadow *shadow)
{
	for (unsigned i = 0; i < SHADOW_SPACES; i++)
		shadow_lose_space(shadow, &shadow->spaces[i]);
}

void shadow_doubt_all(struct shadow *shadow, bool doubts_memory)
{
	for (unsigned i = 0; i < SHADOW_SPACES; i++) {
		shadow->spaces[i].is_in_doubt = true;
		shadow->spaces[i].doubts_memory |= doubts_memory;
	}
}

void shadow_doubt_pcid(struct shadow *shadow, uint16_t pcid)
{
	for (unsigned i = 0; i < SHADOW_SPACES; i++)
		if (shadow->spaces[i].pcid == pcid)
			shadow->spaces[i].is_in_doubt = true;
}

void shadow_lose_writes(struct shadow *shadow, uint64_t gpa)
{
	uint32_t at = *frame_of(shadow, gpa, 0), next;

	for (; at; at = next) {
		struct shadow_page *page = page_of(shadow, at);

		next = page->next_of_frame;
		if (page->gpa == (gpa & PAGE_MASK) && (page->rights & SHADOW_WRITE))
			lose(shadow, &shadow->spaces[(at - 1) / SHADOW_PAGES], page);
	}
	for (at = *frame_of(shadow, gpa, SHADOW_WHOLE); at; at = next) {
		struct shadow_page *page = page_of(shadow, at);

		next = page->next_of_frame;
		if (page->gpa == (gpa & WHOLE_MASK) && (page->rights & SHADOW_WRITE))
			lose_part(&shadow->spaces[(at - 1) / SHADOW_PAGES],
				  page->gva + (gpa & ~WHOLE_MASK & PAGE_MASK));
	}
}

/* Whether the page may be executed anywhere. */
static bool lose_code_of(struct shadow *shadow, uint64_t gpa)
{
	uint32_t at = *frame_of(shadow, gpa, 0);
	bool any = false;

	while (at) {
		struct shadow_page *page = page_of(shadow, at);
		struct shadow_space *space = &shadow->spaces[(at - 1) / SHADOW_PAGES];

		at = page->next_of_frame;
		if (page->gpa != (gpa & PAGE_MASK) || !(page->rights & SHADOW_EXECUTE))
			continue;
		any = true;
		lose(shadow, space, page);
		/* Doubt compares some of its bytes only. */
		if (page->is_used)
			shadow_lose_space(shadow, space);
		/* By which the list may have become another. */
		at = *frame_of(shadow, gpa, 0);
	}
	return any;
}

bool shadow_lose_code(struct shadow *shadow, uint64_t gpa, uint64_t last)
{
	uint64_t first = gpa >> 12, pages = (last >> 12) - first;
	bool any = false;

	/* A slot that goes away. */
	if (pages >= SHADOW_FRAMES) {
		lose_all(shadow);
		return true;
	}
	for (uint64_t i = 0; i <= pages; i++)
		any |= lose_code_of(shadow, (first + i) << 12);
	return any;
}

struct shadow_space *shadow_space_find(struct shadow *shadow, uint64_t root)
{
	for (unsigned i = 0; i < SHADOW_SPACES; i++)
		if (shadow->spaces[i].is_valid && shadow->spaces[i].root == root)
			return &shadow->spaces[i];
	return NULL;
}

struct shadow_space *shadow_space_take(struct shadow *shadow, uint64_t root, uint16_t pcid)
{
	struct shadow_space *oldest = &shadow->spaces[0];

	for (unsigned i = 0; i < SHADOW_SPACES; i++) {
		struct shadow_space *space = &shadow->spaces[i];

		if (!space->is_valid) {
			oldest = space;
			break;
		}
		if ((int32_t)(space->last_used - oldest->last_used) < 0)
			oldest = space;
	}
	shadow_lose_space(shadow, oldest);
	oldest->is_valid = true;
	oldest->root = root;
	oldest->pcid = pcid;
	return oldest;
}
