/*
 * Counters for `--stats`: what the CPU executed, in which tier, and how long.
 */
#include <stdio.h>

#include "engine/run/jit/jit.h"
#include "engine/vcpu/sampler.h"
#include "engine/vcpu/vcpu.h"

#define FREQUENT 12 /* mnemonics shown */

typedef void visitor(void *context, const char *name, uint64_t value);

static void visit_times(struct vcpu *vcpu, visitor *visit, void *context)
{
	static const char *const names[CPU_ACTIVITIES] = {
		[CPU_IS_OUTSIDE] = "ms outside, in user space",
		[CPU_IS_IDLE] = "ms idle",
		[CPU_DISPATCHES] = "ms in the dispatcher, for events and entries",
		[CPU_INTERPRETS] = "ms in the interpreter",
		[CPU_TRANSLATES] = "ms translating",
		[CPU_RUNS_TRANSLATION] = "ms in translated code",
		[CPU_FALLS_BACK] = "ms interpreting inside translated code",
	};
	uint64_t times_ns[CPU_ACTIVITIES];

	sampler_read(vcpu, times_ns);
	for (unsigned i = 0; i < CPU_ACTIVITIES; i++)
		if (times_ns[i])
			visit(context, names[i], times_ns[i] / 1000000);
}

static void visit_frequent(const struct jit *jit, bool slow_paths, visitor *visit, void *context)
{
	struct jit_frequency top[FREQUENT];
	unsigned count = jit_get_frequent(jit, slow_paths, top, FREQUENT);
	char name[64];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s: %s", slow_paths ? "slow paths" : "not translated",
			 top[i].mnemonic);
		visit(context, name, top[i].count);
	}
}

static void visit_rate(const char *what, uint64_t hits, uint64_t all, visitor *visit, void *context)
{
	char name[64];
	unsigned hundredths = all ? (unsigned)((double)hits * 10000 / (double)all) : 0;

	snprintf(name, sizeof(name), "%s (%u.%02u %%)", what, hundredths / 100, hundredths % 100);
	visit(context, name, hits);
}

static void visit_lookups(const struct cpu *cpu, visitor *visit, void *context)
{
	uint64_t count[JIT_COUNTS], accesses;

	for (unsigned i = 0; i < JIT_COUNTS; i++)
		count[i] = jit_get_count(cpu, (enum jit_count)i);
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

static void visit_translator(const struct jit *jit, visitor *visit, void *context)
{
	struct jit_statistics statistics;

	jit_get_statistics(jit, &statistics);
	visit(context, "blocks translated", statistics.blocks);
	visit(context, "guest instructions translated", statistics.guest_instructions);
	visit(context, "guest bytes translated", statistics.guest_bytes);
	visit(context, "host bytes of translations", statistics.host_bytes);
	visit(context, "entries into translated code", statistics.entries);
	visit(context, "blocks run by the interpreter", statistics.interpreted_blocks);
	visit(context, "jumps linked", statistics.links);
	visit(context, "translations invalidated", statistics.invalidations);
	visit(context, "code cache chunks evicted", statistics.evictions);
	visit(context, "instructions interpreted inside translated code", statistics.fallbacks);
	if (jit_lockstep_differences(jit))
		visit(context, "lockstep differences", jit_lockstep_differences(jit));
	visit_frequent(jit, false, visit, context);
	visit_frequent(jit, true, visit, context);
}

void vcpu_read_statistics(struct vcpu *vcpu, visitor *visit, void *context)
{
	const struct cpu *cpu = &vcpu->cpu;

	visit_times(vcpu, visit, context);
	visit(context, "instructions of the interpreter", cpu->instructions);
	visit(context, "blocks decoded", cpu->blocks_decoded);
	visit(context, "TLB misses", cpu->tlb_misses);
	visit(context, "exceptions", cpu->exceptions_delivered);
	visit(context, "interrupts", cpu->interrupts_delivered);
	if (cpu->jit) {
		visit_translator(cpu->jit, visit, context);
		visit_lookups(cpu, visit, context);
	}
}
