/*
 * What a vCPU spends its time on, for `--stats`: whoever changes it stores one byte, and others look at that
 * byte now and then (vcpu/sampler.h). The first few are those of any vCPU, the others belong to what
 * executes it (run/tier/activity.h).
 */
#ifndef KVIK_ENGINE_ACTIVITY_H
#define KVIK_ENGINE_ACTIVITY_H

#include <stdatomic.h>
#include <stdint.h>

enum {
	ACTIVITY_OUTSIDE,  /* user space has it */
	ACTIVITY_IDLE,     /* waits for an event, in HLT or before it was started */
	ACTIVITY_DISPATCH, /* events, requests, finding what to run next */
	ACTIVITIES_COMMON,
};
#define ACTIVITIES_MAX 16

struct activity {
	_Atomic uint8_t now; /* below ACTIVITIES_MAX */
};

/* The CPU's own thread. */
static inline void activity_begins(struct activity *activity, uint8_t now)
{
	atomic_store_explicit(&activity->now, now, memory_order_relaxed);
}

/* Any thread. */
static inline uint8_t activity_now(const struct activity *activity)
{
	return atomic_load_explicit(&activity->now, memory_order_relaxed);
}

#endif
