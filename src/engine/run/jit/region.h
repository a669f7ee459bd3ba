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

#include "engine/run/jit/translation.h"

/*
 * Find the regions, up to `max`, among a block's items [from, count), in order and without overlap.
 * Accesses with a place are left out, and `places` gets those in the regions. The number of regions.
 */
unsigned regions_find(const struct jit_item *items, unsigned from, unsigned count,
		      struct region *regions, unsigned max, struct host_memory *places);
/* Let R13 point to the region, or go to slow path `slow`. */
void emit_region_check(struct translation *t, const struct region *region, unsigned slow);
void emit_region(struct translation *t, unsigned number);
/* The second translation, to be put out of the way. */
void emit_region_cold(struct translation *t, unsigned number);

#endif
