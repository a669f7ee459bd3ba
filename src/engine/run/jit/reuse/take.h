/* Translations that are taken from a code cache file. */
#ifndef KVIK_ENGINE_RUN_JIT_REUSE_TAKE_H
#define KVIK_ENGINE_RUN_JIT_REUSE_TAKE_H

#include "engine/run/jit/cache/parts.h"

/*
 * The block at gpa, whose host address is `bytes`, from those that are kept, if the page holds the bytes that
 * one was made from; copied to jit->snapshot then. NULL: there is none, or its chunk is full (*full).
 */
struct jit_block *jit_take_kept(struct jit *jit, uint64_t gpa, const uint8_t *bytes, bool is_lean, bool *full);

#endif
