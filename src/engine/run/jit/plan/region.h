/*
 * Regions: runs of a block's items whose memory accesses lie a constant distance apart, so that one
 * TLB check at the start proves all of them. Its accesses then go through a host pointer in R13.
 *
 * When the check fails, a second, cold translation of the same items takes over, in which each
 * access has its own check and slow path, and comes back behind the region. So faults, devices, page
 * crossings and stores to code know nothing of regions.
 *
 * A region starts where the arithmetic flags are dead, if it can: up to a few items before its first
 * access, but not in a loop that the access stands behind.
 */
#ifndef KVIK_ENGINE_RUN_JIT_PLAN_REGION_H
#define KVIK_ENGINE_RUN_JIT_PLAN_REGION_H

#include "engine/run/jit/analyse/registers.h"
#include "engine/run/jit/analyse/values.h"

#define REGIONS_MAX 32 /* in a block */

/* A run of items whose accesses share one check. */
struct region {
	uint8_t start, end;    /* items [start, end) */
	uint8_t first;         /* the first item with an access */
	uint8_t base, index;   /* as in struct insn: what addresses the range at the start */
	int32_t displacement;  /* of its lowest byte from them; INSN_BASE_RIP: from the page */
	struct access_range range;
	uint8_t vector_levels; /* bits of enum jit_vector_level: what its items need */
};

/*
 * Find the regions, up to `max`, among a block's items [from, count), in order and without overlap.
 * Accesses with a place are left out, and `places` gets those in the regions. The number of regions.
 */
unsigned regions_find(const struct jit_item *items, unsigned from, unsigned count,
		      struct region *regions, unsigned max, struct host_memory *places);
/* How far the host pointer is from the range's lowest byte. */
int32_t region_pointer_offset(const struct region *region);

#endif
