#include "engine/run/jit/plan/plan.h"

#include <string.h>

#include "engine/run/jit/plan/sources.h"

/* Leave a loop that begins inside the block to a block of its own, so that all of its iterations are
 * there. Whether there is one. */
static bool cut_before_loop(struct plan *plan, struct guest_code *guest)
{
	const struct jit_item *items = guest->items;

	for (unsigned start = 1; start < guest->count; start++)
		for (unsigned i = start; i < guest->count; i++)
			if (item_jumps_to(&items[i], items[start].offset) &&
			    loop_find(&plan->loop, items + start, guest->count - start,
				      items[start].offset)) {
				guest_code_cut(guest, start);
				return true;
			}
	return false;
}

void plan_make_lean(struct plan *plan, struct guest_code *guest)
{
	plan->guest = guest;
	plan->is_lean = true;
	plan->loop.end = 0;
	plan->region_count = 0;
	memset(plan->saves, 0, (guest->count + 1) * sizeof(plan->saves[0]));
	flags_liveness(guest);
	flags_find_sources(plan);
}

void plan_make(struct plan *plan, struct guest_code *guest)
{
	plan->guest = guest;
	plan->is_lean = false;
	memset(plan->sources, 0, sizeof(plan->sources));
	memset(plan->saves, 0, sizeof(plan->saves));
	flags_liveness(guest);
	if (!guest->is_32 && cut_before_loop(plan, guest))
		flags_liveness(guest);
	flags_find_sources(plan);
	if (guest->is_32 || !loop_find(&plan->loop, guest->items, guest->count, guest->start) ||
	    flags_use_memory(plan, plan->loop.end))
		plan->loop.end = 0;
	for (unsigned i = 0; i < guest->count; i++)
		plan->places[i].base = HOST_NONE;
	plan->region_count = 0;
	if (!guest->is_32)
		plan->region_count = regions_find(guest->items, plan->loop.end, guest->count,
						  plan->regions, REGIONS_MAX, plan->places);
}
