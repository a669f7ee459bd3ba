/*
 * What a crossing costs on this host: the time from the monitor to guest code and back, which policy.h measures all else
 * with. It is 4 us on one host and 8 on another, by what the kernel's mitigations and a hypervisor below make of a
 * signal and a switch of processes.
 *
 * The shortest of many turns of a stub have next to no guest code in them, and nobody else had the processor meanwhile.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_CROSSING_H
#define KVIK_ENGINE_RUN_DIRECT_CROSSING_H

#include <stdint.h>

#define CROSSING_TURNS 64u /* of which one is looked for */

/* As ticks of the host's TSC. */
struct crossing {
	uint64_t ticks;       /* one takes */
	uint64_t least;       /* of the present turns */
	uint64_t floor, most; /* what is believed */
	unsigned turns;
};

void crossing_init(struct crossing *crossing, uint32_t tsc_khz);

/* A stub's turn has taken so long, with the guest code in it. */
void crossing_note(struct crossing *crossing, uint64_t ticks);

#endif
