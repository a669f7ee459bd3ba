/* From a place in translated code to the guest instruction that it is of. */
#ifndef KVIK_ENGINE_RUN_JIT_CACHE_SITE_H
#define KVIK_ENGINE_RUN_JIT_CACHE_SITE_H

#include "engine/run/jit/cache/parts.h"

/*
 * The instruction of the site that would return to `at`, with the page's address in frame.code_page.
 * NULL, with cpu->rip set to the instruction: its bytes are no longer known.
 */
const struct jit_record *jit_record_find(struct jit *jit, const uint8_t *at);

#endif
