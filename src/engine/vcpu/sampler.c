#include "engine/vcpu/sampler.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "engine/vcpu/vcpu.h"
#include "util/clock.h"
#include "util/thread.h"

/* No divisor or multiple of a guest's tick. */
#define PERIOD_NS 1013000

static void *sample(void *context)
{
	const struct timespec period = { .tv_nsec = PERIOD_NS };
	uint64_t before = monotonic_ns();
	struct sampler *sampler = context;
	bool goes_on = true;

	while (goes_on) {
		uint64_t now;

		nanosleep(&period, NULL);
		now = monotonic_ns();
		pthread_mutex_lock(&sampler->lock);
		for (struct vcpu *vcpu = sampler->vcpus; vcpu; vcpu = vcpu->sampled_next)
			vcpu->times_ns[activity_now(vcpu->activity)] += now - before;
		goes_on = sampler->vcpus;
		pthread_mutex_unlock(&sampler->lock);
		before = now;
	}
	return NULL;
}

void sampler_add(struct vcpu *vcpu)
{
	struct sampler *sampler = &vcpu->group->sampler;

	pthread_mutex_lock(&sampler->lock);
	vcpu->sampled_next = sampler->vcpus;
	sampler->vcpus = vcpu;
	pthread_mutex_unlock(&sampler->lock);
	sampler->is_running = sampler->is_running || thread_start(&sampler->thread, NULL, sample, sampler) == 0;
}

void sampler_remove(struct vcpu *vcpu)
{
	struct sampler *sampler = &vcpu->group->sampler;
	bool any_left;

	pthread_mutex_lock(&sampler->lock);
	for (struct vcpu **at = &sampler->vcpus; *at; at = &(*at)->sampled_next)
		if (*at == vcpu) {
			*at = vcpu->sampled_next;
			break;
		}
	any_left = sampler->vcpus;
	pthread_mutex_unlock(&sampler->lock);
	if (sampler->is_running && !any_left) {
		pthread_join(sampler->thread, NULL);
		sampler->is_running = false;
	}
}

void sampler_read(struct vcpu *vcpu, uint64_t times_ns[ACTIVITIES_MAX])
{
	struct sampler *sampler = &vcpu->group->sampler;

	pthread_mutex_lock(&sampler->lock);
	memcpy(times_ns, vcpu->times_ns, sizeof(vcpu->times_ns));
	pthread_mutex_unlock(&sampler->lock);
}
