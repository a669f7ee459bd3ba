/*
 * What the host itself takes to ring: `bench/run --only latency` compares with it. One thread waits for
 * a timerfd, as the engine's does, another spins, as a vCPU does, until it sees that it has rung.
 * Prints "ticks 50000000" (nanoseconds in 50 ms), then as bench/latency.S.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES 500

static int fd;
static atomic_bool has_rung;

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static void *wait_for_timer(void *unused)
{
	uint64_t count;

	while (read(fd, &count, sizeof(count)) == sizeof(count))
		atomic_store(&has_rung, true);
	return unused;
}

int main(void)
{
	pthread_t thread;

	fd = timerfd_create(CLOCK_MONOTONIC, 0);
	if (fd < 0 || pthread_create(&thread, NULL, wait_for_timer, NULL))
		return 1;
	printf("ticks 50000000\n> host\n");
	for (unsigned i = 0; i < SAMPLES; i++) {
		int64_t deadline_ns = now_ns() + 50000 + rand() % 200000;
		struct itimerspec when = {
			.it_value = { deadline_ns / 1000000000, deadline_ns % 1000000000 },
		};

		atomic_store(&has_rung, false);
		timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL);
		while (!atomic_load(&has_rung))
			;
		printf("= %lld\n", (long long)(now_ns() - deadline_ns));
	}
	printf("done\n");
	return 0;
}
