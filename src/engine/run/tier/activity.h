/*
 * What a CPU spends its time on, for `--stats`: whoever changes it stores one byte, and others look at that
 * byte now and then (vcpu/sampler.h).
 */
#ifndef KVIK_ENGINE_RUN_TIER_ACTIVITY_H
#define KVIK_ENGINE_RUN_TIER_ACTIVITY_H

#include <stdatomic.h>
#include <stdint.h>

enum cpu_activity {
	CPU_IS_OUTSIDE,      /* user space has it */
	CPU_IS_IDLE,         /* waits for an event, in HLT or before it was started */
	CPU_DISPATCHES,      /* events, requests, finding what to run next */
	CPU_INTERPRETS,
	CPU_TRANSLATES,
	CPU_RUNS_TRANSLATION,
	CPU_FALLS_BACK,      /* an instruction of translated code, interpreted */
	CPU_RUNS_DIRECT,     /* its stub has the processor */
	CPU_ACTIVITIES,
};

struct activity {
	_Atomic uint8_t now; /* enum cpu_activity */
};

/* The CPU's own thread. */
static inline void activity_begins(struct activity *activity, enum cpu_activity now)
{
	atomic_store_explicit(&activity->now, now, memory_order_relaxed);
}

/* Any thread. */
static inline enum cpu_activity activity_now(const struct activity *activity)
{
	return atomic_load_explicit(&activity->now, memory_order_relaxed);
}

#endif
