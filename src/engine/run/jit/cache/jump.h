/* Links from block to block, and the tables by which indirect jumps find theirs. */
#ifndef KVIK_ENGINE_RUN_JIT_CACHE_JUMP_H
#define KVIK_ENGINE_RUN_JIT_CACHE_JUMP_H

#include "engine/run/jit/cache/parts.h"

void jit_jumps_init(struct jit *jit);
/* Link a jump that was just left through to the block that was found. Whether it could be. */
bool jit_link_to(struct jit *jit, struct jit_link *link, struct jit_block *to);
/* A jump to gva, where `to` is and is known to be, led to another block. When that has come to cost
 * something, links that do so are broken. */
void jit_links_renew(struct jit *jit, const struct jit_block *to, uint64_t gva);
/* With the lock held: undo the links that lead to a block. */
void jit_links_avoid(struct jit_cache *cache, struct jit_block *block);
/* Likewise, and those that lead from it. */
void jit_links_break(struct jit_cache *cache, struct jit_block *block);
/* With the lock held, in an exclusive section: undo what leads to a block, or from it. */
void jit_block_unlink(struct jit_cache *cache, struct jit_block *block);
/* Likewise: [from, to) of the code is about to be used again. */
void jit_jumps_forget(struct jit_cache *cache, const uint8_t *from, const uint8_t *to);
/* The block was found at gva: let jumps there find it, too. */
void jit_enter_jump(struct jit *jit, struct jit_block *block, uint64_t gva, bool is_global);
/* The block that a jump to gva would find, or NULL. */
struct jit_block *jit_find_jump(struct jit *jit, unsigned set, uint64_t gva);
/* The entry that it would try. */
const uint8_t *jit_find_entry(const struct jit *jit, unsigned set, uint64_t gva);

#endif
