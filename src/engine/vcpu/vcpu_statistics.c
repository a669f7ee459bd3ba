/*
 * Counters for `--stats`: what the CPU spent its time on, and what its architecture counts.
 */
#include "engine/vcpu/sampler.h"
#include "engine/vcpu/vcpu.h"

static void visit_times(struct vcpu *vcpu, vcpu_visitor *visit, void *context)
{
	static const char *const names[CPU_ACTIVITIES] = {
		[CPU_IS_OUTSIDE] = "ms outside, in user space",
		[CPU_IS_IDLE] = "ms idle",
		[CPU_DISPATCHES] = "ms in the dispatcher, for events and entries",
		[CPU_INTERPRETS] = "ms in the interpreter",
		[CPU_TRANSLATES] = "ms translating",
		[CPU_RUNS_TRANSLATION] = "ms in translated code",
		[CPU_FALLS_BACK] = "ms interpreting inside translated code",
		[CPU_RUNS_DIRECT] = "ms in direct execution",
	};
	uint64_t times_ns[CPU_ACTIVITIES];

	sampler_read(vcpu, times_ns);
	for (unsigned i = 0; i < CPU_ACTIVITIES; i++)
		if (times_ns[i])
			visit(context, names[i], times_ns[i] / 1000000);
}

void vcpu_read_statistics(struct vcpu *vcpu, vcpu_visitor *visit, void *context)
{
	visit_times(vcpu, visit, context);
	visit(context, "exclusive sections", vcpu->sections);
	visit(context, "exclusive sections beside stubs", vcpu->sections_beside);
	visit(context, "exclusive sections beside stubs that had to be stopped", vcpu->sections_widened);
	visit(context, "stops for exclusive sections of others", vcpu->stops);
	visit(context, "sleeps", vcpu->sleeps);
	vcpu->architecture->visit_counters(vcpu, visit, context);
}
