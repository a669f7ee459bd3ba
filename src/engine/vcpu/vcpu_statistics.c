/*
 * Counters for `--stats`: what the CPU executed, and in which tier.
 */
#include "engine/jit/jit.h"
#include "engine/vcpu/vcpu.h"

typedef void visitor(void *context, const char *name, uint64_t value);

static void visit_translator(const struct jit *jit, visitor *visit, void *context)
{
	struct jit_statistics statistics;

	jit_get_statistics(jit, &statistics);
	visit(context, "blocks translated", statistics.blocks);
	visit(context, "guest instructions translated", statistics.guest_instructions);
	visit(context, "guest bytes translated", statistics.guest_bytes);
	visit(context, "host bytes of translations", statistics.host_bytes);
	visit(context, "entries into translated code", statistics.entries);
	visit(context, "instructions interpreted inside translated code", statistics.fallbacks);
	visit(context, "blocks run by the interpreter", statistics.interpreted_blocks);
	visit(context, "jumps linked", statistics.links);
	visit(context, "translations invalidated", statistics.invalidations);
	visit(context, "code cache flushes", statistics.flushes);
}

void vcpu_read_statistics(struct vcpu *vcpu, visitor *visit, void *context)
{
	const struct cpu *cpu = &vcpu->cpu;

	visit(context, "instructions of the interpreter", cpu->instructions);
	visit(context, "blocks decoded", cpu->blocks_decoded);
	visit(context, "TLB misses", cpu->tlb_misses);
	visit(context, "exceptions", cpu->exceptions_delivered);
	visit(context, "interrupts", cpu->interrupts_delivered);
	if (cpu->jit)
		visit_translator(cpu->jit, visit, context);
}
