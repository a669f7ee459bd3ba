#include "engine/vcpu/sampler.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "engine/vcpu/vcpu.h"
#include "util/clock.h"
#include "util/thread.h"

/* No divisor or multiple of a guest's tick. */
#define PERIOD_NS 1013000

/* Held while the thread starts or ends; taken before `lock`. */
static pthread_mutex_t control = PTHREAD_MUTEX_INITIALIZER;
static pthread_t thread;
static bool is_running;
/* Guards the list and each vCPU's sampled_next and times_ns. The thread ends when nobody is in it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vcpu *watched;

static void *sample(void *unused)
{
	const struct timespec period = { .tv_nsec = PERIOD_NS };
	uint64_t before = monotonic_ns();
	bool goes_on = true;

	(void)unused;
	while (goes_on) {
		uint64_t now;

		nanosleep(&period, NULL);
		now = monotonic_ns();
		pthread_mutex_lock(&lock);
		for (struct vcpu *vcpu = watched; vcpu; vcpu = vcpu->sampled_next)
			vcpu->times_ns[activity_now(vcpu->activity)] += now - before;
		goes_on = watched;
		pthread_mutex_unlock(&lock);
		before = now;
	}
	return NULL;
}

void sampler_add(struct vcpu *vcpu)
{
	pthread_mutex_lock(&control);
	pthread_mutex_lock(&lock);
	vcpu->sampled_next = watched;
	watched = vcpu;
	pthread_mutex_unlock(&lock);
	is_running = is_running || thread_start(&thread, NULL, sample, NULL) == 0;
	pthread_mutex_unlock(&control);
}

void sampler_remove(struct vcpu *vcpu)
{
	bool any_left;

	pthread_mutex_lock(&control);
	pthread_mutex_lock(&lock);
	for (struct vcpu **at = &watched; *at; at = &(*at)->sampled_next)
		if (*at == vcpu) {
			*at = vcpu->sampled_next;
			break;
		}
	any_left = watched;
	pthread_mutex_unlock(&lock);
	if (is_running && !any_left) {
		pthread_join(thread, NULL);
		is_running = false;
	}
	pthread_mutex_unlock(&control);
}

void sampler_read(struct vcpu *vcpu, uint64_t times_ns[ACTIVITIES_MAX])
{
	pthread_mutex_lock(&lock);
	memcpy(times_ns, vcpu->times_ns, sizeof(vcpu->times_ns));
	pthread_mutex_unlock(&lock);
}
