/*
 * The code cache of a VM: blocks by address, and their removal.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/run/jit/cache/cache.h"
#include "engine/run/jit/cache/jump.h"
#include "engine/run/jit/cache/page.h"
#include "engine/x86/bytes.h"

#define PAGES_SEARCHED 64 /* a range of more pages is looked for in the whole cache */

static struct jit_block *_Atomic *block_bucket(struct jit_cache *cache, uint64_t gpa, uint32_t mode)
{
	/* A line of the host's caches for 128 bytes of code. */
	return &cache->blocks[jit_hash_near(gpa ^ (uint64_t)mode << 32, JIT_BLOCK_BITS, 4, 3)];
}

struct jit_block *jit_block_find(struct jit_cache *cache, uint64_t gpa, uint32_t mode)
{
	struct jit_block *block =
		atomic_load_explicit(block_bucket(cache, gpa, mode), memory_order_acquire);

	while (block && (block->gpa != gpa || block->mode != mode))
		block = atomic_load_explicit(&block->next_hash, memory_order_acquire);
	return block;
}

/* Whether any block had looked at the granules. */
static bool kill_granules(struct jit_cache *cache, struct jit_page *page, uint64_t granules)
{
	struct jit_block *block, *next;
	bool any = false;

	for (block = page->blocks; block; block = next) {
		next = block->next_page;
		if (!(block->granules & granules))
			continue;
		jit_block_remove(cache, block);
		cache->invalidations++;
		any = true;
	}
	jit_page_uncover(page, granules);
	return any;
}

void jit_page_drop(struct jit *jit, uint64_t gpa, uint64_t granules)
{
	struct jit_cache *cache = jit->cache;
	bool began = cpu_exclusive_begin_beside(jit->cpu);
	struct jit_page *page;

	jit_lock_take(&cache->lock);
	page = jit_page_find(cache, gpa);
	if (page && kill_granules(cache, page, granules))
		jit_stop_blocks(cache);
	jit_lock_release(&cache->lock);
	if (began)
		cpu_exclusive_end(jit->cpu);
}

/* Only now has a page an index. */
static void set_index(struct jit_cache *cache, uint32_t code_at, const struct jit_page *page)
{
	uint32_t rights = code_memory_open();

	bytes_store32(cache->code.writable + code_at, page->index * (uint32_t)sizeof(uint64_t));
	code_memory_close(rights);
}

/* The block's page, with what the block has looked at there, which is at `bytes`. 0, or an error of
 * jit_page_cover. */
static int take_page(struct jit_cache *cache, struct jit_block *block, const void *bytes)
{
	struct jit_page *page = jit_page_find(cache, block->gpa);

	if (!page)
		page = jit_page_create(cache, block->gpa);
	if (!page)
		return -ENOSPC;
	block->page = page;
	page->users++;
	return jit_page_cover(cache, page, block->granules, bytes);
}

static void enter_page(struct jit_block *block)
{
	struct jit_page *page = block->page;
	struct jit_block *next = page->blocks;

	block->next_page = next;
	block->previous_page = &page->blocks;
	if (next)
		next->previous_page = &block->next_page;
	page->blocks = block;
}

static void leave_page(struct jit_block *block)
{
	struct jit_block *next = block->next_page;

	*block->previous_page = next;
	if (next)
		next->previous_page = block->previous_page;
}

int jit_block_insert(struct jit *jit, struct jit_block *block)
{
	struct jit_cache *cache = jit->cache;
	struct jit_block *_Atomic *bucket = block_bucket(cache, block->gpa, block->mode);
	struct jit_block *next;
	int result;

	/* Another CPU may have been quicker. */
	if (jit_block_find(cache, block->gpa, block->mode))
		return -EEXIST;
	result = take_page(cache, block, jit->snapshot);
	if (result == 0 && block->partner)
		result = take_page(cache, block->partner, (const uint8_t *)jit->snapshot + 4096);
	if (result < 0)
		return result;
	set_index(cache, jit_code_at(cache, block->entry) + block->entry_page_at, block->page);
	enter_page(block);
	if (block->partner) {
		set_index(cache, block->next_page_at, block->partner->page);
		enter_page(block->partner);
	}
	block->next_hash = next = *bucket;
	block->previous_hash = bucket;
	if (next)
		next->previous_hash = &block->next_hash;
	*bucket = block;
	return 0;
}

void jit_block_marked(struct jit_cache *cache, struct jit_block *block)
{
	for (struct jit *jit = cache->users; jit; jit = jit->next_user) {
		jit->places[block->page->index].compared = 0;
		if (block->partner)
			jit->places[block->partner->page->index].compared = 0;
	}
	/* Who sees this compares the page before the block runs. */
	block->is_marked = true;
}

/* Who looks at the block at this moment still gets on to the next one. */
static void leave_hash(struct jit_block *block)
{
	struct jit_block *next = block->next_hash;

	*block->previous_hash = next;
	if (next)
		next->previous_hash = block->previous_hash;
}

void jit_block_retire(struct jit_cache *cache, struct jit_block *block)
{
	leave_hash(block);
	jit_links_avoid(cache, block);
	block->is_retired = true;
}

void jit_block_remove(struct jit_cache *cache, struct jit_block *block)
{
	if (jit_block_is_partner(block))
		block = block->partner;
	if (!block->is_retired)
		leave_hash(block);
	leave_page(block);
	if (block->partner)
		leave_page(block->partner);
	jit_block_unlink(cache, block);
	block->dead = true;
}

void jit_stop_blocks(struct jit_cache *cache)
{
	for (struct jit *jit = cache->users; jit; jit = jit->next_user)
		cpu_request(jit->cpu, CPU_REQUEST_STOP_BLOCK);
}

/* Drop what lies in [gpa, last] of a page. */
static bool drop_in_page(struct jit_cache *cache, struct jit_page *page, uint64_t gpa, uint64_t last)
{
	uint64_t start = page->number << 12, end = start | 0xfff;

	if (gpa > end || last < start)
		return false;
	if (gpa < start)
		gpa = start;
	if (last > end)
		last = end;
	return kill_granules(cache, page, code_granules(gpa, last - gpa + 1));
}

bool jit_drop(struct code_holder *holder, uint64_t gpa, uint64_t last)
{
	struct jit_cache *cache = (struct jit_cache *)holder;
	bool any = false;

	jit_lock_take(&cache->lock);
	if ((last >> 12) - (gpa >> 12) >= PAGES_SEARCHED) {
		for (size_t i = 0; i < 1u << JIT_HASH_BITS; i++)
			for (struct jit_page *page = cache->pages[i]; page; page = page->next_hash)
				any |= drop_in_page(cache, page, gpa, last);
	} else {
		for (uint64_t number = gpa >> 12; number <= last >> 12; number++) {
			struct jit_page *page = jit_page_find(cache, number << 12);

			if (page)
				any |= drop_in_page(cache, page, gpa, last);
		}
	}
	/* One of them may be under way, on any CPU: it ends after its present instruction. */
	if (any)
		jit_stop_blocks(cache);
	jit_lock_release(&cache->lock);
	return any;
}
