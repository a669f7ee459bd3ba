#include "engine/run/direct/crossing.h"

/* Microseconds: until it is measured, and the bounds of what is believed. */
#define PRESUMED_US 4u
#define LEAST_US    2u
#define MOST_US	    16u

void crossing_init(struct crossing *crossing, uint32_t tsc_khz)
{
	crossing->ticks = (uint64_t)tsc_khz * PRESUMED_US / 1000;
	crossing->floor = (uint64_t)tsc_khz * LEAST_US / 1000;
	crossing->most = (uint64_t)tsc_khz * MOST_US / 1000;
	crossing->least = UINT64_MAX;
	crossing->turns = 0;
}

void crossing_note(struct crossing *crossing, uint64_t ticks)
{
	if (ticks < crossing->least)
		crossing->least = ticks;
	if (++crossing->turns < CROSSING_TURNS)
		return;
	if (crossing->least < crossing->floor)
		crossing->least = crossing->floor;
	if (crossing->least > crossing->most)
		crossing->least = crossing->most;
	/* The host's other programs come and go. */
	crossing->ticks = (crossing->ticks * 3 + crossing->least) / 4;
	crossing->least = UINT64_MAX;
	crossing->turns = 0;
}
