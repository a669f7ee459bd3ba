/*
 * The code cache of a VM: blocks by address, and their removal.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/run/jit/internal.h"

static struct jit_block *_Atomic *block_bucket(struct jit_cache *cache, uint64_t gpa, uint32_t mode)
{
	return &cache->blocks[jit_hash(gpa ^ (uint64_t)mode << 32)];
}

struct jit_block *jit_block_find(struct jit_cache *cache, uint64_t gpa, uint32_t mode)
{
	struct jit_block *block =
		atomic_load_explicit(block_bucket(cache, gpa, mode), memory_order_acquire);

	while (block && (block->gpa != gpa || block->mode != mode))
		block = atomic_load_explicit(&block->next_hash, memory_order_acquire);
	return block;
}

/* The granules of 64 bytes that hold [gpa, gpa + size), inside one page. */
static uint64_t granules(uint64_t gpa, uint64_t size)
{
	unsigned first = (gpa & 0xfff) / 64, last = ((gpa & 0xfff) + size - 1) / 64;

	return (UINT64_MAX << first) & (UINT64_MAX >> (63 - (last > 63 ? 63 : last)));
}

/* Whether any block had looked at the granules. */
static bool kill_granules(struct jit_cache *cache, struct jit_page *page, uint64_t granules,
			  struct jit_statistics *statistics)
{
	struct jit_block *block, *next;
	bool any = false;

	for (block = page->blocks; block; block = next) {
		next = block->next_page;
		if (!(block->granules & granules))
			continue;
		jit_block_remove(cache, block);
		statistics->invalidations++;
		any = true;
	}
	jit_page_uncover(page, granules);
	return any;
}

void jit_page_drop(struct jit *jit, uint64_t gpa, uint64_t granules)
{
	struct jit_cache *cache = jit->cache;
	bool began = cpu_exclusive_begin(jit->cpu);
	struct jit_page *page;

	jit_lock_take(&cache->lock);
	page = jit_page_find(cache, gpa);
	if (page && kill_granules(cache, page, granules, &jit->statistics))
		jit_stop_blocks(cache);
	jit_lock_release(&cache->lock);
	if (began)
		cpu_exclusive_end(jit->cpu);
}

int jit_block_insert(struct jit *jit, struct jit_block *block)
{
	struct jit_cache *cache = jit->cache;
	struct jit_block *_Atomic *bucket = block_bucket(cache, block->gpa, block->mode);
	struct jit_block *next;
	struct jit_page *page = jit_page_find(cache, block->gpa);
	int result;

	/* Another CPU may have been quicker. */
	if (jit_block_find(cache, block->gpa, block->mode))
		return -EEXIST;
	if (!page)
		page = jit_page_create(cache, block->gpa);
	if (!page)
		return -ENOSPC;
	block->page = page;
	page->users++;
	result = jit_page_cover(cache, page, block->granules, jit->snapshot);
	if (result < 0)
		return result;
	block->next_page = next = page->blocks;
	block->previous_page = &page->blocks;
	if (next)
		next->previous_page = &block->next_page;
	page->blocks = block;
	block->next_hash = next = *bucket;
	block->previous_hash = bucket;
	if (next)
		next->previous_hash = &block->next_hash;
	*bucket = block;
	return 0;
}

void jit_block_marked(struct jit_cache *cache, struct jit_block *block)
{
	for (struct jit *jit = cache->users; jit; jit = jit->next_user)
		jit->places[block->page->index].compared = 0;
	/* Who sees this compares the page before the block runs. */
	block->is_marked = true;
}

void jit_block_remove(struct jit_cache *cache, struct jit_block *block)
{
	struct jit_block *next = block->next_hash;

	*block->previous_hash = next;
	if (next)
		next->previous_hash = block->previous_hash;
	next = block->next_page;
	*block->previous_page = next;
	if (next)
		next->previous_page = block->previous_page;
	jit_block_unlink(cache, block);
	block->dead = true;
}

void jit_stop_blocks(struct jit_cache *cache)
{
	for (struct jit *jit = cache->users; jit; jit = jit->next_user)
		cpu_request(jit->cpu, CPU_REQUEST_STOP_BLOCK);
}

void jit_page_mapped(struct cpu *cpu, uint64_t gpa)
{
	struct jit_page *page = jit_page_find(cpu->jit->cache, gpa);

	if (page)
		atomic_store_explicit(&cpu->jit->places[page->index].compared, 0,
				      memory_order_relaxed);
}

void jit_invalidate(struct cpu *cpu, uint64_t gpa, uint64_t size)
{
	struct jit_cache *cache = cpu->jit->cache;
	bool any = false;

	jit_lock_take(&cache->lock);
	while (size) {
		uint64_t part = 0x1000 - (gpa & 0xfff);
		struct jit_page *page = jit_page_find(cache, gpa);

		if (part > size)
			part = size;
		if (page)
			any |= kill_granules(cache, page, granules(gpa, part), &cpu->jit->statistics);
		gpa += part;
		size -= part;
	}
	/* One of them may be under way, on any CPU: it ends after its present instruction. */
	if (any)
		jit_stop_blocks(cache);
	jit_lock_release(&cache->lock);
}

void jit_invalidate_all(struct cpu *cpu)
{
	struct jit_cache *cache = cpu->jit->cache;

	jit_lock_take(&cache->lock);
	for (size_t i = 0; i < 1u << JIT_HASH_BITS; i++)
		while (cache->blocks[i])
			jit_block_remove(cache, cache->blocks[i]);
	jit_stop_blocks(cache);
	jit_lock_release(&cache->lock);
}
