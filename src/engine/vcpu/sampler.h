/*
 * Where vCPUs spend their time, for `--stats`: a thread in each VM looks at what each of them does about a
 * thousand times a second. The CPU only stores a byte where its activity changes (activity_begins), so
 * that nothing is timed on the way. The times are those of the clock on the wall: a vCPU's thread
 * that waits for a host CPU counts as doing what it wanted to go on with.
 */
#ifndef KVIK_ENGINE_VCPU_SAMPLER_H
#define KVIK_ENGINE_VCPU_SAMPLER_H

#include <stdint.h>

#include "engine/activity.h"

struct vcpu;

/* Watch a vCPU, from its creation to its end, as group.h says; removing one that is not watched has no effect. */
void sampler_add(struct vcpu *vcpu);
void sampler_remove(struct vcpu *vcpu);

/* Nanoseconds in each activity so far; all 0 when the vCPU is not watched. Any thread. */
void sampler_read(struct vcpu *vcpu, uint64_t times_ns[ACTIVITIES_MAX]);

#endif
