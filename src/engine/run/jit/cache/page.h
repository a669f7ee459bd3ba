/* The guest pages that blocks were made from, and what is kept of them to notice changes. */
#ifndef KVIK_ENGINE_RUN_JIT_CACHE_PAGE_H
#define KVIK_ENGINE_RUN_JIT_CACHE_PAGE_H

#include "engine/run/jit/cache/parts.h"

/* Without the lock, by a CPU that runs. */
struct jit_page *jit_page_find(struct jit_cache *cache, uint64_t gpa); /* NULL: has no blocks */
/* The others with the lock held. */
struct jit_page *jit_page_create(struct jit_cache *cache, uint64_t gpa); /* NULL: no room */
/* The memory of one of its blocks is about to be used again. */
void jit_page_release(struct jit_cache *cache, struct jit_page *page);
/* Keep these granules of the snapshot. 0; -EAGAIN: some are kept, and were others; -ENOSPC, -ENOMEM. */
int jit_page_cover(struct jit_cache *cache, struct jit_page *page, uint64_t granules,
		   const void *snapshot);
/* The bytes from `offset` on that are kept without a gap, `size` at most: how many there are. */
unsigned jit_page_bytes(const struct jit_page *page, unsigned offset, uint8_t *bytes, unsigned size);
/* Keep these no longer. */
void jit_page_uncover(struct jit_page *page, uint64_t granules);
/* Compare what is kept of the page with `bytes`, its host address: the granules that differ. What is
 * added meanwhile is seen by this, or resets the place after it. */
uint64_t jit_page_compare(struct jit *jit, struct jit_page *page, const uint8_t *bytes);

#endif
