/* Counters for `--stats`: what an x86 CPU executed, and in which tier. */
#include "engine/vcpu/x86/x86_vcpu.h"

void x86_visit_counters(const struct vcpu *common, vcpu_visitor *visit, void *context)
{
	const struct x86_vcpu *vcpu = (const struct x86_vcpu *)common;

	visit(context, "us until other CPUs stood still for exclusive sections",
	      host_tsc_khz() ? vcpu->sections_ticks * 1000 / host_tsc_khz() : 0);
	visit(context, "TLB misses", vcpu->cpu.tlb_misses);
	visit(context, "exceptions", vcpu->cpu.exceptions_delivered);
	visit(context, "interrupts", vcpu->cpu.interrupts_delivered);
	runner_visit_counters(&vcpu->runner, visit, context);
}
