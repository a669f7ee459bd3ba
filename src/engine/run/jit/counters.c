/*
 * The translator's counters, for people (`--stats`).
 */
#include <Zydis/Zydis.h>
#include <stdio.h>

#include "engine/run/jit/internal.h"
#include "engine/run/jit/reuse/ask.h"

#define FREQUENT 12 /* mnemonics shown */

void jit_get_statistics(const struct cpu *cpu, struct jit_statistics *statistics)
{
	*statistics = jit_of(cpu)->statistics;
}

struct frequency {
	const char *mnemonic;
	uint64_t count;
};

/*
 * The most frequent of the instructions that the interpreter executed inside translated code, most
 * frequent first: those that have no translation, or the slow paths of those that have one. How many
 * are filled.
 */
static unsigned find_frequent(const uint64_t *counts, struct frequency top[FREQUENT])
{
	unsigned used = 0;

	for (unsigned mnemonic = 0; mnemonic <= ZYDIS_MNEMONIC_MAX_VALUE; mnemonic++) {
		unsigned at = used;

		if (!counts[mnemonic])
			continue;
		while (at > 0 && top[at - 1].count < counts[mnemonic])
			at--;
		if (at == FREQUENT)
			continue;
		if (used < FREQUENT)
			used++;
		for (unsigned i = used - 1; i > at; i--)
			top[i] = top[i - 1];
		top[at].count = counts[mnemonic];
		/* One that crosses into another page is decoded each time. */
		top[at].mnemonic = mnemonic ? ZydisMnemonicGetString(mnemonic) : "(crosses a page)";
	}
	return used;
}

static void visit_frequent(const char *what, const uint64_t *counts, tier_visitor *visit,
			   void *context)
{
	struct frequency top[FREQUENT];
	unsigned used = find_frequent(counts, top);
	char name[64];

	for (unsigned i = 0; i < used; i++) {
		snprintf(name, sizeof(name), "%s: %s", what, top[i].mnemonic);
		visit(context, name, top[i].count);
	}
}

/* How often, in the CPU's translated code; 0 unless the options ask for it. */
static uint64_t get_count(const struct cpu *cpu, enum jit_count which)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < JIT_COUNT_PARTS; i++)
		sum += jit_frame(cpu)->counts[which][i];
	return sum;
}

static void visit_rate(const char *what, uint64_t hits, uint64_t all, tier_visitor *visit,
		       void *context)
{
	char name[64];
	unsigned hundredths = all ? (unsigned)((unsigned __int128)hits * 10000 / all) : 0;

	snprintf(name, sizeof(name), "%s (%u.%02u %%)", what, hundredths / 100, hundredths % 100);
	visit(context, name, hits);
}

static void visit_lookups(const struct cpu *cpu, tier_visitor *visit, void *context)
{
	uint64_t count[JIT_COUNTS], accesses;

	for (unsigned i = 0; i < JIT_COUNTS; i++)
		count[i] = get_count(cpu, (enum jit_count)i);
	accesses = count[JIT_COUNT_SLOT] + count[JIT_COUNT_TLB];
	if (accesses) {
		visit(context, "accesses looked up", accesses);
		visit_rate("hits of the TLB and its page slots", accesses - count[JIT_COUNT_TLB_MISS],
			   accesses, visit, context);
		visit(context, "accesses looked up in page slots", count[JIT_COUNT_SLOT]);
		visit_rate("hits of page slots", count[JIT_COUNT_SLOT] - count[JIT_COUNT_SLOT_MISS],
			   count[JIT_COUNT_SLOT], visit, context);
	}
	if (count[JIT_COUNT_RETURN]) {
		visit(context, "returns paired", count[JIT_COUNT_RETURN]);
		visit_rate("returns behind the last call",
			   count[JIT_COUNT_RETURN] - count[JIT_COUNT_RETURN_MISS],
			   count[JIT_COUNT_RETURN], visit, context);
	}
	if (count[JIT_COUNT_JUMP]) {
		visit(context, "indirect jumps looked up", count[JIT_COUNT_JUMP]);
		visit_rate("hits of the jump table", count[JIT_COUNT_JUMP] - count[JIT_COUNT_JUMP_MISS],
			   count[JIT_COUNT_JUMP], visit, context);
	}
}

/* Host bytes are in tenths for each of the guest's. */
static void visit_form(const char *name, const struct jit_form_statistics *form, tier_visitor *visit, void *context)
{
	unsigned tenths = form->guest_bytes ? (unsigned)(form->host_bytes * 10 / form->guest_bytes) : 0;
	unsigned kept = form->guest_bytes ? (unsigned)(form->kept_bytes * 10 / form->guest_bytes) : 0;
	char row[96];

	if (!form->blocks)
		return;
	snprintf(row, sizeof(row), "%s: guest instructions", name);
	visit(context, row, form->guest_instructions);
	snprintf(row, sizeof(row), "%s: guest bytes", name);
	visit(context, row, form->guest_bytes);
	snprintf(row, sizeof(row), "%s: host bytes (%u.%u for each of the guest's)", name, tenths / 10, tenths % 10);
	visit(context, row, form->host_bytes);
	snprintf(row, sizeof(row), "%s: bytes kept about them (%u.%u)", name, kept / 10, kept % 10);
	visit(context, row, form->kept_bytes);
	if (!form->ns)
		return;
	snprintf(row, sizeof(row), "%s: us to translate (%u ns an instruction)", name,
		 (unsigned)(form->ns / form->guest_instructions));
	visit(context, row, form->ns / 1000);
}

void jit_visit_counters(const struct cpu *cpu, tier_visitor *visit, void *context)
{
	const struct jit *jit = jit_of(cpu);
	struct jit_statistics statistics;
	const struct jit_form_statistics *full = &statistics.forms[0], *lean = &statistics.forms[1];

	jit_get_statistics(cpu, &statistics);
	if (jit->watcher)
		visit(context, "lockstep differences", jit->watcher->differences);
	visit(context, "blocks translated", statistics.blocks);
	if (jit_is_keeping(jit))
		visit(context, "blocks taken from those that are kept", statistics.kept_blocks);
	visit(context, "of these, lean", lean->blocks);
	visit(context, "of these, hot later", statistics.promotions);
	visit(context, "guest bytes translated", full->guest_bytes + lean->guest_bytes);
	visit(context, "host bytes of translations", full->host_bytes + lean->host_bytes);
	visit_form("lean", lean, visit, context);
	visit_form("in full", full, visit, context);
	visit(context, "entries into translated code", statistics.entries);
	visit(context, "blocks run by the interpreter", statistics.interpreted_blocks);
	visit(context, "jumps linked", statistics.links);
	visit(context, "translations invalidated, in the VM", jit->cache->invalidations);
	visit(context, "code cache chunks evicted", statistics.evictions);
	visit(context, "blocks that were in use and stayed in them", statistics.stayed_blocks);
	visit(context, "instructions interpreted inside translated code", statistics.fallbacks);
	visit_frequent("not translated", jit->fallbacks, visit, context);
	visit_frequent("slow paths", jit->slow_paths, visit, context);
	visit_lookups(cpu, visit, context);
}
