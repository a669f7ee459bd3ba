/* From guest code to a block: the order of the passes. */
#ifndef KVIK_ENGINE_RUN_JIT_TRANSLATE_H
#define KVIK_ENGINE_RUN_JIT_TRANSLATE_H

#include "engine/run/jit/cache/parts.h"

struct translation;

/* Room for one block under construction, for free(); NULL without memory. */
struct translation *jit_translation_create(void);
/*
 * Translate the block at gpa from jit->snapshot, with little effort if it is to be lean. NULL:
 * it cannot be translated, or its chunk is full (*full).
 */
struct jit_block *jit_translate(struct jit *jit, uint64_t gpa, bool is_lean, bool *full);

#endif
