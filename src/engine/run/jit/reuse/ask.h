/* What a VM asks of who keeps translations. */
#ifndef KVIK_ENGINE_RUN_JIT_REUSE_ASK_H
#define KVIK_ENGINE_RUN_JIT_REUSE_ASK_H

#include "engine/run/jit/cache/parts.h"

/* Ask for the block that was just translated to be kept. */
void jit_ask(struct jit *jit, const struct jit_block *block, bool is_lean);
/* Say that the record that a bucket of the file names was good. */
void jit_ask_used(struct jit *jit, uint32_t bucket);
/* Send what was asked for. */
void jit_ask_flush(struct jit *jit);
/* Whether the VM is one whose translations are kept: they are alike in all but a struct kept_environment. */
static inline bool jit_is_keeping(const struct jit *jit)
{
	const struct jit_options *options = &jit->cache->options;

	return (jit->cache->kept.bytes || options->kept_requests_fd >= 0) && !jit->watcher &&
	       !options->keeps_all_flags && options->promotion == JIT_PROMOTION;
}
/* The environment of this CPU's translations, as it is now. */
void jit_environment(const struct jit *jit, struct kept_environment *environment);

#endif
