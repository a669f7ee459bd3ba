/*
 * Memory for translations: a ring of chunks. Each CPU fills one, and takes the next in the ring
 * when it is full; so room never costs more than one chunk's blocks.
 *
 * A chunk has two parts: host code, mapped twice (code_memory.h), and what is kept about each block
 * (struct jit_block with its links and sites), with an index of the blocks in the order of their code
 * that grows down from the end. A block that is removed stays where it is, because a CPU may be inside it. Chunks are emptied by a dispatcher in an
 * exclusive section, when no CPU is in translated code; where a handler that was called from it
 * waits for the section, that one's chunk is passed over. Whoever keeps addresses of code, blocks,
 * links or sites across such a section must forget them when cache->evictions changes. What is in use may stay
 * in the chunk, at another place (keep.c).
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/run/jit/cache/cache.h"
#include "engine/run/jit/cache/chunk.h"
#include "engine/run/jit/cache/jump.h"
#include "engine/run/jit/cache/keep.h"
#include "engine/run/jit/cache/page.h"
#include "engine/run/jit/emit/emitter.h"
#include "util/guarded.h"

#define CHUNK_SIZE       (256u << 10)
#define SMALL_CHUNK_SIZE (64u << 10)
#define CHUNKS_MIN       4
#define TRIAL_PART       4 /* of the ring: how long a chunk is tried before its turn */

int jit_chunks_create(struct jit_cache *cache, size_t size)
{
	int result;

	if (size < JIT_CACHE_SIZE_MIN || size > JIT_CACHE_SIZE_MAX)
		return -EINVAL;
	cache->chunk_size = size < CHUNKS_MIN * CHUNK_SIZE ? SMALL_CHUNK_SIZE : CHUNK_SIZE;
	cache->chunk_count = size / cache->chunk_size;
	cache->size = JIT_STUBS_SIZE + (size_t)cache->chunk_count * cache->chunk_size;
	cache->chunks = calloc(cache->chunk_count, sizeof(*cache->chunks));
	if (!cache->chunks)
		return -ENOMEM;
	result = code_memory_create(&cache->code, "kvik-code", cache->size);
	if (result < 0)
		return result;
	cache->data = guarded_map(cache->size, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, false);
	return cache->data ? 0 : -ENOMEM;
}

/* How soon a block that goes is to come back: when it is warm again, so that cold code does not fill the ring. One that
 * was in use is warm; and hot, where it was. */
static void set_heat(struct jit_cache *cache, const struct jit_chunk *chunk, const struct jit_block *block)
{
	if (!jit_block_was_used(chunk, block))
		cache->heat[jit_heat_number(block->gpa)] = 0;
	else if (!block->is_lean)
		for (struct jit *jit = cache->users; jit; jit = jit->next_user)
			*jit_hot_block(jit, block->gpa) = block->gpa + 1;
}

/* The block's memory is about to be used again. */
static void release(struct jit_cache *cache, const struct jit_chunk *chunk, struct jit_block *block)
{
	if (!block->dead) {
		set_heat(cache, chunk, block);
		jit_block_remove(cache, block);
	}
	if (block->page)
		jit_page_release(cache, block->page);
	if (block->partner && block->partner->page)
		jit_page_release(cache, block->partner->page);
	free(block->script);
}

/* Whoever is in there after all gets a SIGTRAP instead of running something else. Vector registers
 * may be the guest's: no memset. */
static void fill_with_traps(struct jit_cache *cache, const struct jit_chunk *chunk, uint32_t from, uint32_t to)
{
	uint8_t *code = cache->code.writable + jit_chunk_start(cache, chunk) + from;
	size_t size = to - from;
	uint32_t rights = code_memory_open();

	__asm__ volatile("rep stosb" : "+D"(code), "+c"(size) : "a"(0xcc) : "memory");
	code_memory_close(rights);
}

/* All goes but those that are to stay, which are not forgotten by anybody but jumps. */
static void release_blocks(struct jit_cache *cache, struct jit_chunk *chunk)
{
	const uint8_t *code = cache->code.executable + jit_chunk_start(cache, chunk);

	if (chunk->blocks)
		jit_jumps_forget(cache, code, code + cache->chunk_size);
	for (struct jit_block *block = chunk->blocks; block; block = block->next_in_chunk)
		if (!block->stays)
			release(cache, chunk, block);
	if (chunk->owner)
		chunk->owner->chunk = NULL;
	chunk->owner = NULL;
}

/* How many blocks have stayed. */
static unsigned chunk_empty(struct jit_cache *cache, struct jit_chunk *chunk)
{
	uint32_t used = chunk->code_used;
	unsigned stayed;

	jit_chunk_choose(cache, chunk);
	release_blocks(cache, chunk);
	stayed = jit_chunk_gather(cache, chunk);
	chunk->is_tried = false;
	fill_with_traps(cache, chunk, chunk->code_used, used);
	return stayed;
}

void jit_chunks_destroy(struct jit_cache *cache)
{
	for (unsigned i = 0; cache->chunks && i < cache->chunk_count; i++)
		release_blocks(cache, &cache->chunks[i]);
	code_memory_destroy(&cache->code);
	guarded_unmap(cache->data, cache->size);
	free(cache->chunks);
}

/* The next one in the ring becomes the CPU's. */
static void take_next(struct jit *jit)
{
	struct jit_cache *cache = jit->cache;

	if (jit->chunk)
		jit->chunk->owner = NULL;
	jit->chunk = &cache->chunks[cache->next_chunk];
	jit->chunk->owner = jit;
	cache->next_chunk = (cache->next_chunk + 1) % cache->chunk_count;
}

/* Whether a CPU is in a handler that was called from the chunk's code. */
static bool is_inside(const struct jit_cache *cache, const struct jit_chunk *chunk)
{
	const uint8_t *start = cache->code.executable + jit_chunk_start(cache, chunk);

	/* A site is where its call returns to, which is the chunk's end for the last. */
	for (const struct jit *jit = cache->users; jit; jit = jit->next_user)
		if (jit->site > start && jit->site <= start + cache->chunk_size)
			return true;
	return false;
}

/* Empty the next chunk that can be, and try one whose turn comes later; false: none can. */
static bool empty_next(struct jit_cache *cache, uint64_t *stayed)
{
	for (unsigned tries = 0; tries < cache->chunk_count; tries++) {
		struct jit_chunk *chunk = &cache->chunks[cache->next_chunk];

		if (!is_inside(cache, chunk)) {
			*stayed += chunk_empty(cache, chunk);
			jit_chunk_try(cache, &cache->chunks[(cache->next_chunk + cache->chunk_count / TRIAL_PART) %
							    cache->chunk_count]);
			atomic_fetch_add(&cache->evictions, 1);
			jit_stop_blocks(cache);
			return true;
		}
		cache->next_chunk = (cache->next_chunk + 1) % cache->chunk_count;
	}
	return false;
}

void jit_chunk_next(struct jit *jit)
{
	struct jit_cache *cache = jit->cache;
	bool is_empty, began;

	jit_lock_take(&cache->lock);
	is_empty = !cache->chunks[cache->next_chunk].owner && !cache->chunks[cache->next_chunk].blocks;
	if (is_empty)
		take_next(jit);
	jit_lock_release(&cache->lock);
	if (is_empty)
		return;
	began = cpu_exclusive_begin_beside(jit->cpu);
	jit_lock_take(&cache->lock);
	if (empty_next(cache, &jit->statistics.stayed_blocks)) {
		take_next(jit);
		jit->statistics.evictions++;
	}
	jit_lock_release(&cache->lock);
	if (began)
		cpu_exclusive_end(jit->cpu);
}

void jit_chunk_emitter(const struct jit *jit, struct emitter *e)
{
	const struct jit_cache *cache = jit->cache;
	size_t at = jit_chunk_start(cache, jit->chunk) + jit->chunk->code_used;

	*e = (struct emitter){ .base = cache->code.writable + at, .code = cache->code.executable + at,
			       .size = cache->chunk_size - jit->chunk->code_used };
}

struct jit_block *jit_chunk_room(const struct jit *jit, size_t size)
{
	const struct jit_cache *cache = jit->cache;
	size_t taken = jit->chunk->data_used + (jit->chunk->block_count + 1) * sizeof(struct jit_chunk_entry);

	if (size + 15 > cache->chunk_size - taken)
		return NULL;
	return (struct jit_block *)(cache->data + jit_chunk_start(cache, jit->chunk) + jit->chunk->data_used);
}

void jit_chunk_add(struct jit *jit, struct jit_block *block, size_t size, size_t code_size)
{
	struct jit_chunk *chunk = jit->chunk;

	*jit_chunk_entry(jit->cache, chunk, chunk->block_count++) =
		(struct jit_chunk_entry){ chunk->code_used, chunk->data_used };
	chunk->data_used += (size + 15) & ~(size_t)15;
	chunk->code_used += (code_size + 15) & ~(size_t)15;
	block->next_in_chunk = chunk->blocks;
	chunk->blocks = block;
}

struct jit_block *jit_block_at(struct jit_cache *cache, const uint8_t *code)
{
	size_t offset = jit_code_at(cache, code) - JIT_STUBS_SIZE;
	const struct jit_chunk *chunk = &cache->chunks[offset / cache->chunk_size];
	unsigned low = 0, high = chunk->block_count;

	offset %= cache->chunk_size;
	while (high - low > 1) {
		unsigned middle = (low + high) / 2;

		if (jit_chunk_entry(cache, chunk, middle)->code <= offset)
			low = middle;
		else
			high = middle;
	}
	if (low == high)
		return NULL;
	return jit_chunk_block(cache, chunk, low);
}
