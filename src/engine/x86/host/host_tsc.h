/* The host's time stamp counter and its frequency. */
#ifndef KVIK_ENGINE_X86_HOST_HOST_TSC_H
#define KVIK_ENGINE_X86_HOST_HOST_TSC_H

#include <stdint.h>

#include "engine/x86/host/host.h"

uint64_t host_clock_tsc(void); /* host_tsc where the TSC is not steady */
/* The host's time stamp counter and its frequency, measured once (takes up to 10 ms). Where it is
 * not steady (host.h), the host's clock plays it, at 1 GHz; then guests' RDTSC is intercepted. */
static inline uint64_t host_tsc(void)
{
	return __builtin_expect(host.has_steady_tsc, true) ? __builtin_ia32_rdtsc() : host_clock_tsc();
}
/* kHz of host_tsc; the first call may wait for the measurement's end. Any thread. */
uint32_t host_tsc_khz(void);
/* Take the measurement's first sample, as early as possible. */
void host_tsc_start_measurement(void);

#endif
