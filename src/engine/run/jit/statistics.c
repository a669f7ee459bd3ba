/*
 * The translator's counters, for people.
 *
 * Hits of the TLB, the page slots and the jump table happen in translated code, which says nothing of
 * them. When statistics are kept, blocks are translated with an addition at each lookup and another
 * on the way to each slow path: so the numbers are exact, and nobody else pays.
 */
#include <Zydis/Zydis.h>

#include "engine/run/jit/translation.h"

static bool counts_lookups(const struct translation *t)
{
	return t->jit->cache->options.counts_lookups;
}

void emit_count(struct translation *t, enum jit_count which)
{
	/* Neighbours have different parts. */
	unsigned part = t->slow_count % JIT_COUNT_PARTS;
	int32_t counter = STATE(fast.counts) + (int32_t)((which * JIT_COUNT_PARTS + part) * 8);

	if (!counts_lookups(t))
		return;
	emit_load_state(&t->e, HOST_R14, counter);
	emit_lea(&t->e, true, HOST_R14, HOST_R14, HOST_NONE, 0, 1);
	emit_store_state(&t->e, HOST_R14, counter);
}

void emit_slow_jump_counted(struct translation *t, size_t at, unsigned item, enum jit_count which)
{
	struct emitter *e = &t->e;
	size_t past;

	if (!counts_lookups(t)) {
		emit_slow_jump(t, at, item);
		return;
	}
	past = emit_jump(e);
	emit_patch(e, at);
	emit_count(t, which);
	emit_slow_jump(t, emit_jump(e), item);
	emit_patch(e, past);
}

uint64_t jit_get_count(const struct cpu *cpu, enum jit_count which)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < JIT_COUNT_PARTS; i++)
		sum += cpu->fast.counts[which][i];
	return sum;
}

void jit_get_statistics(const struct jit *jit, struct jit_statistics *statistics)
{
	*statistics = jit->statistics;
}

unsigned jit_get_frequent(const struct jit *jit, bool slow_paths, struct jit_frequency *top,
			  unsigned size)
{
	const uint64_t *counts = slow_paths ? jit->slow_paths : jit->fallbacks;
	unsigned used = 0;

	for (unsigned mnemonic = 0; mnemonic <= ZYDIS_MNEMONIC_MAX_VALUE; mnemonic++) {
		unsigned at = used;

		if (!counts[mnemonic])
			continue;
		while (at > 0 && top[at - 1].count < counts[mnemonic])
			at--;
		if (at == size)
			continue;
		if (used < size)
			used++;
		for (unsigned i = used - 1; i > at; i--)
			top[i] = top[i - 1];
		top[at].count = counts[mnemonic];
		/* One that crosses into another page is decoded each time. */
		top[at].mnemonic = mnemonic ? ZydisMnemonicGetString(mnemonic) : "(crosses a page)";
	}
	return used;
}
