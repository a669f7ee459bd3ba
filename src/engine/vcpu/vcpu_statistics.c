/*
 * Counters for `--stats`: what the CPU spent its time on, and what its architecture counts.
 */
#include "engine/vcpu/sampler.h"
#include "engine/vcpu/vcpu.h"

static void visit_times(struct vcpu *vcpu, vcpu_visitor *visit, void *context)
{
	static const char *const common[ACTIVITIES_COMMON] = {
		[ACTIVITY_OUTSIDE] = "ms outside, in user space",
		[ACTIVITY_IDLE] = "ms idle",
		[ACTIVITY_DISPATCH] = "ms in the dispatcher, for events and entries",
	};
	const struct vcpu_architecture *architecture = vcpu->architecture;
	uint64_t times_ns[ACTIVITIES_MAX];

	sampler_read(vcpu, times_ns);
	for (unsigned i = 0; i < ACTIVITIES_COMMON + architecture->activity_count; i++)
		if (times_ns[i])
			visit(context,
			      i < ACTIVITIES_COMMON ? common[i] : architecture->activities[i - ACTIVITIES_COMMON],
			      times_ns[i] / 1000000);
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
