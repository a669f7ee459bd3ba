/*
 * Regions: runs of a block's items whose memory accesses lie a constant distance apart, so that one
 * TLB check at the start proves all of them. Its accesses then go through a host pointer in R13.
 *
 * When the check fails, a second, cold translation of the same items takes over, in which each
 * access has its own check and slow path, and comes back behind the region. So faults, devices, page
 * crossings and stores to code know nothing of regions.
 *
 * A region starts where the arithmetic flags are dead, if it can: up to a few items before its first
 * access.
 */
#ifndef KVIK_ENGINE_JIT_REGION_H
#define KVIK_ENGINE_JIT_REGION_H

#include "engine/jit/translation.h"

/*
 * Find the regions among a block's items [from, count), in order and without overlap; `places` is
 * filled for all of these. The number of regions.
 */
unsigned regions_find(const struct jit_item *items, unsigned from, unsigned count,
		      struct region *regions, struct host_memory *places);
void emit_region(struct translation *t, unsigned number);
/* The second translation, to be put out of the way. */
void emit_region_cold(struct translation *t, unsigned number);

#endif
