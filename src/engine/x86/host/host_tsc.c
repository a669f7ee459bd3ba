/* The host's TSC and its frequency: see host_tsc.h. */
#include "engine/x86/host/host_tsc.h"

#include <pthread.h>
#include <time.h>

#include "util/clock.h"

#define NS_PER_MS     UINT64_C(1000000)

/* Long enough that the error of a sample (some 50 ns) stays below 10 ppm. */
#define MEASUREMENT_NS (10 * NS_PER_MS)

struct sample {
	uint64_t tsc, ns;
};

static struct sample first_sample;
static uint32_t measured_khz;

uint64_t host_clock_tsc(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* TSC and time at the same moment: of a few tries, the one whose bracket is tightest. */
static struct sample take_sample(void)
{
	struct sample best = { 0 };
	uint64_t best_width = UINT64_MAX;
	int i;

	for (i = 0; i < 16; i++) {
		uint64_t before = host_tsc();
		uint64_t ns = host_clock_tsc();
		uint64_t width = host_tsc() - before;

		if (width < best_width) {
			best_width = width;
			best.tsc = before + width / 2;
			best.ns = ns;
		}
	}
	return best;
}

static void take_first_sample(void)
{
	first_sample = take_sample();
}

void host_tsc_start_measurement(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, take_first_sample);
}

static void measure(void)
{
	struct sample last;
	uint64_t elapsed;

	host_tsc_start_measurement();
	for (;;) {
		struct timespec rest = { 0 };

		last = take_sample();
		elapsed = last.ns - first_sample.ns;
		if (elapsed >= MEASUREMENT_NS)
			break;
		rest.tv_nsec = MEASUREMENT_NS - elapsed;
		nanosleep(&rest, NULL);
	}
	measured_khz = (unsigned __int128)(last.tsc - first_sample.tsc) * NS_PER_MS / elapsed;
}

uint32_t host_tsc_khz(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (!host.has_steady_tsc)
		return NS_PER_SECOND / 1000;
	pthread_once(&once, measure);
	return measured_khz;
}
