/* Chunks of the code cache, which CPUs fill one at a time: room for blocks, and whose turn it is to be emptied. */
#ifndef KVIK_ENGINE_RUN_JIT_CACHE_CHUNK_H
#define KVIK_ENGINE_RUN_JIT_CACHE_CHUNK_H

#include "engine/run/jit/cache/parts.h"

struct emitter;

int jit_chunks_create(struct jit_cache *cache, size_t size); /* 0, -EINVAL, -ENOMEM, or another -errno */
void jit_chunks_destroy(struct jit_cache *cache);
/* Go on in another chunk; what was in it goes. jit->chunk, NULL when there is none to be had now. */
void jit_chunk_next(struct jit *jit);
/* The rest of jit->chunk. */
void jit_chunk_emitter(const struct jit *jit, struct emitter *e);
/* Room for a block of `size` bytes with its links and records, which is not taken yet; or NULL. */
struct jit_block *jit_chunk_room(const struct jit *jit, size_t size);
/* Take it, and `code_size` bytes that were emitted. */
void jit_chunk_add(struct jit *jit, struct jit_block *block, size_t size, size_t code_size);
/* With the lock held: the block, dead or not, that has the code at this executable address; NULL: none. */
struct jit_block *jit_block_at(struct jit_cache *cache, const uint8_t *code);

#endif
