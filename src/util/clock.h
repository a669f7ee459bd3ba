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

#endif
