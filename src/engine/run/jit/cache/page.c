/*
 * What is kept about guest pages with translations: the bytes that these were made from, to notice
 * changes that the engine does not see being made.
 *
 * Only the granules of 64 bytes that a block has looked at are kept, and what all pages take together
 * is bounded by the size of the code cache: who asks for more has to empty a chunk.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/run/jit/cache/numbers.h"
#include "engine/run/jit/cache/page.h"

#define GRANULE_WORDS 8
#define GRANULE_BYTES (GRANULE_WORDS * sizeof(uint64_t))

struct jit_page *jit_page_find(struct jit_cache *cache, uint64_t gpa)
{
	struct jit_page *page =
		atomic_load_explicit(&cache->pages[jit_hash(gpa >> 12)], memory_order_acquire);

	while (page && page->number != gpa >> 12)
		page = atomic_load_explicit(&page->next_hash, memory_order_acquire);
	return page;
}

/* Whether there is room for so many bytes more; then they are taken. */
static bool take_bytes(struct jit_cache *cache, size_t bytes)
{
	if (bytes > cache->page_limit - cache->page_bytes)
		return false;
	cache->page_bytes += bytes;
	return true;
}

struct jit_page *jit_page_create(struct jit_cache *cache, uint64_t gpa)
{
	struct jit_page *_Atomic *bucket = &cache->pages[jit_hash(gpa >> 12)];
	struct jit_page *page;

	if (!take_bytes(cache, sizeof(*page)))
		return NULL;
	page = calloc(1, sizeof(*page));
	if (!page || !jit_number_take(&cache->places, &page->index)) {
		cache->page_bytes -= sizeof(*page);
		free(page);
		return NULL;
	}
	for (struct jit *jit = cache->users; jit; jit = jit->next_user) {
		jit->places[page->index] = (struct jit_place){0};
		jit_views_new_page(&jit->views, page->index);
	}
	page->number = gpa >> 12;
	page->next_hash = *bucket;
	*bucket = page;
	return page;
}

void jit_page_release(struct jit_cache *cache, struct jit_page *page)
{
	struct jit_page *_Atomic *at = &cache->pages[jit_hash(page->number)];

	if (--page->users)
		return;
	while (*at != page)
		at = &atomic_load(at)->next_hash;
	*at = page->next_hash;
	jit_number_return(&cache->places, page->index);
	cache->page_bytes -= sizeof(*page) + page->copied * GRANULE_BYTES;
	free(page->copies);
	free(page);
}

static const uint64_t *granule_at(const void *page, unsigned granule)
{
	return (const uint64_t *)page + granule * GRANULE_WORDS;
}

static bool granule_equal(const uint64_t *a, const uint64_t *b)
{
	uint64_t difference = 0;

	for (unsigned i = 0; i < GRANULE_WORDS; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

/* Vector registers may be the guest's: no memcpy. */
static void granule_copy(uint64_t *to, const uint64_t *from)
{
	for (unsigned i = 0; i < GRANULE_WORDS; i++)
		to[i] = from[i];
}

/* The granules among `which` whose bytes differ from what is kept of them. */
static uint64_t differing(const struct jit_page *page, uint64_t which, const void *bytes)
{
	const uint64_t *copy = page->copies;
	uint64_t changed = 0;

	for (uint64_t left = page->covered; left; left &= left - 1, copy += GRANULE_WORDS) {
		unsigned granule = __builtin_ctzll(left);

		if ((which >> granule & 1) && !granule_equal(granule_at(bytes, granule), copy))
			changed |= 1ull << granule;
	}
	return changed;
}

int jit_page_cover(struct jit_cache *cache, struct jit_page *page, uint64_t granules,
		   const void *snapshot)
{
	uint64_t all = page->covered | granules;
	unsigned count = (unsigned)__builtin_popcountll(all);
	const uint64_t *old = page->copies;
	uint64_t *copies, *at;

	if (differing(page, granules, snapshot))
		return -EAGAIN;
	if (all == page->covered)
		return 0;
	if (!take_bytes(cache, count * GRANULE_BYTES))
		return -ENOSPC;
	copies = at = malloc(count * GRANULE_BYTES);
	if (!copies) {
		cache->page_bytes -= count * GRANULE_BYTES;
		return -ENOMEM;
	}
	for (uint64_t left = all; left; left &= left - 1, at += GRANULE_WORDS) {
		unsigned granule = __builtin_ctzll(left);
		bool is_kept = page->covered >> granule & 1;

		granule_copy(at, is_kept ? old : granule_at(snapshot, granule));
		if (is_kept)
			old += GRANULE_WORDS;
	}
	cache->page_bytes -= page->copied * GRANULE_BYTES;
	free(page->copies);
	page->copies = copies;
	page->copied = count;
	page->covered = all;
	return 0;
}

unsigned jit_page_bytes(const struct jit_page *page, unsigned offset, uint8_t *bytes, unsigned size)
{
	unsigned done = 0;

	for (; done < size && offset + done < 0x1000; done++) {
		unsigned granule = (offset + done) / GRANULE_BYTES;
		uint64_t before = page->covered & ((1ull << granule) - 1);
		const uint64_t *copy = page->copies + (unsigned)__builtin_popcountll(before) * GRANULE_WORDS;

		if (!(page->covered >> granule & 1))
			break;
		bytes[done] = ((const uint8_t *)copy)[(offset + done) % GRANULE_BYTES];
	}
	return done;
}

void jit_page_uncover(struct jit_page *page, uint64_t granules)
{
	const uint64_t *from = page->copies;
	uint64_t *to = page->copies;

	for (uint64_t left = page->covered; left; left &= left - 1, from += GRANULE_WORDS) {
		if (granules >> __builtin_ctzll(left) & 1)
			continue;
		if (to != from)
			granule_copy(to, from);
		to += GRANULE_WORDS;
	}
	page->covered &= ~granules;
}

uint64_t jit_page_compare(struct jit *jit, struct jit_page *page, const uint8_t *bytes)
{
	jit->places[page->index].compared = jit->epoch + 1;
	return differing(page, page->covered, bytes);
}
