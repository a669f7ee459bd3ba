/* Blocks: found, published, and dropped when their code changes. */
#ifndef KVIK_ENGINE_RUN_JIT_CACHE_CACHE_H
#define KVIK_ENGINE_RUN_JIT_CACHE_CACHE_H

#include "engine/run/jit/cache/parts.h"

/* Without the lock, by a CPU that runs. */
struct jit_block *jit_block_find(struct jit_cache *cache, uint64_t gpa, uint32_t mode);
/* The others with the lock held, unless they say otherwise. */
/* A block that was translated from jit->snapshot: it goes with its code from now on. 0, -EEXIST, or
 * an error of jit_page_cover. */
int jit_block_insert(struct jit *jit, struct jit_block *block);
/* Stores to the block's code are noticed from now on; those before show when its page is compared. */
void jit_block_marked(struct jit_cache *cache, struct jit_block *block);
/* Drop what was made from these granules of gpa's page. Without the lock; begins an exclusive
 * section: addresses of code and guest memory may be others afterwards. */
void jit_page_drop(struct jit *jit, uint64_t gpa, uint64_t granules);
/* Unlink the block from everything, in an exclusive section. */
void jit_block_remove(struct jit_cache *cache, struct jit_block *block);
/*
 * Another block is to take this one's place, which is right, and which CPUs may execute at this moment: no
 * exclusive section. It is no longer found nor linked to, and removed when its code changes or its chunk's
 * turn comes. Until then CPUs come to it by their own tables of jumps.
 */
void jit_block_retire(struct jit_cache *cache, struct jit_block *block);
/* All other CPUs leave the code that they are in. In an exclusive section. */
void jit_stop_blocks(struct jit_cache *cache);
/* struct code_holder's, without the lock. */
bool jit_drop(struct code_holder *holder, uint64_t gpa, uint64_t last);

#endif
