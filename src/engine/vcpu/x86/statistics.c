/* Counters for `--stats`: what an x86 CPU executed, and in which tier. */
#include "engine/vcpu/x86/x86_vcpu.h"

const char *const x86_activities[X86_ACTIVITIES] = {
	[CPU_INTERPRETS - ACTIVITIES_COMMON] = "ms in the interpreter",
	[CPU_TRANSLATES - ACTIVITIES_COMMON] = "ms translating",
	[CPU_RUNS_TRANSLATION - ACTIVITIES_COMMON] = "ms in translated code",
	[CPU_FALLS_BACK - ACTIVITIES_COMMON] = "ms interpreting inside translated code",
	[CPU_RUNS_DIRECT - ACTIVITIES_COMMON] = "ms in direct execution",
};

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
