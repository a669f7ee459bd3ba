/*
 * The translator's counters, for people. What translated code counts itself: emit/slow.c.
 */
#include <Zydis/Zydis.h>

#include "engine/run/jit/internal.h"

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
