/*
 * What chunk.c and keep.c know of a chunk: where it is, the index of its blocks, and which of them are to stay.
 */
#ifndef KVIK_ENGINE_RUN_JIT_CACHE_KEEP_H
#define KVIK_ENGINE_RUN_JIT_CACHE_KEEP_H

#include "engine/run/jit/cache/parts.h"

/* An entry of the index, in offsets from the chunk's starts. */
struct jit_chunk_entry {
	uint32_t code, data;
};

/* Where it starts, in the code and in what is kept about it. */
static inline size_t jit_chunk_start(const struct jit_cache *cache, const struct jit_chunk *chunk)
{
	return JIT_STUBS_SIZE + (size_t)(chunk - cache->chunks) * cache->chunk_size;
}

/* The entry of block n. */
static inline struct jit_chunk_entry *jit_chunk_entry(const struct jit_cache *cache, const struct jit_chunk *chunk,
						      unsigned n)
{
	uint8_t *end = cache->data + jit_chunk_start(cache, chunk) + cache->chunk_size;

	return (struct jit_chunk_entry *)end - (n + 1);
}

/* Block n. */
static inline struct jit_block *jit_chunk_block(const struct jit_cache *cache, const struct jit_chunk *chunk,
						unsigned n)
{
	return (struct jit_block *)(cache->data + jit_chunk_start(cache, chunk) +
				    jit_chunk_entry(cache, chunk, n)->data);
}

/* With the lock held, in an exclusive section behind which no CPU is in a block that it was in. */

/* Begin to find out which of the chunk's blocks are in use. */
void jit_chunk_try(struct jit_cache *cache, struct jit_chunk *chunk);
/* The chunk's turn has come: mark the blocks that are to stay in it (`stays`). */
void jit_chunk_choose(struct jit_cache *cache, struct jit_chunk *chunk);
/* Whether the block was in use, as far as that is known. */
bool jit_block_was_used(const struct jit_chunk *chunk, const struct jit_block *block);
/* The others are gone: bring those together at the chunk's start. How many there are. */
unsigned jit_chunk_gather(struct jit_cache *cache, struct jit_chunk *chunk);

#endif
