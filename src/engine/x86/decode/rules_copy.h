/*
 * A CPU's rules (insn_rules.h) to keep and compare: whoever has what was made of code for several CPUs goes by them.
 */
#ifndef KVIK_ENGINE_X86_DECODE_RULES_COPY_H
#define KVIK_ENGINE_X86_DECODE_RULES_COPY_H

#include "engine/x86/cpu.h"

struct rules_copy {
	uint32_t features[CPU_FEATURE_WORDS];
	bool has_features, has_lzcnt, has_tzcnt, is_amd;
};

void rules_copy_take(struct rules_copy *copy, const struct insn_rules *rules);

/* Whether bytes mean the same by both. */
bool rules_copy_is(const struct rules_copy *a, const struct rules_copy *b);

#endif
