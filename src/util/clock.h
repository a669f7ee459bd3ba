/* The host's clock that deadlines are on. */
#ifndef KVIK_UTIL_CLOCK_H
#define KVIK_UTIL_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_SECOND 1000000000ull

/* CLOCK_MONOTONIC. Any thread, signal handlers too. */
static inline uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

/* CLOCK_THREAD_CPUTIME_ID: what the calling thread has used of processors. A system call. */
static inline uint64_t thread_cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * NS_PER_SECOND + used.tv_nsec;
}

#endif
