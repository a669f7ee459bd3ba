/*
 * What is decided about a block before any of its code is emitted: where flags that are lost come
 * from again (sources.h), which accesses share a check (region.h), and whether it is a loop whose
 * lookups are hoisted (loop.h).
 */
#ifndef KVIK_ENGINE_RUN_JIT_PLAN_PLAN_H
#define KVIK_ENGINE_RUN_JIT_PLAN_PLAN_H

#include "engine/run/jit/analyse/guest_code.h"
#include "engine/run/jit/plan/loop.h"
#include "engine/run/jit/plan/region.h"

/* Where flags come from (sources.h). */
struct flag_source {
	uint8_t recipe;  /* enum recipe; 0: they can't be made again */
	uint8_t setter;  /* the item that set them */
	bool is_copied;  /* its first operand is in frame.flag_register */
	int32_t rsp_moved; /* since then */
};

struct plan {
	const struct guest_code *guest;
	bool is_lean; /* neither loops nor regions, and accesses keep flags where they are live */
	/* Before each item, and at the block's end. */
	struct flag_source sources[JIT_BLOCK_INSNS + 1];
	bool saves[JIT_BLOCK_INSNS + 1]; /* flags are saved before the item */
	struct loop loop;
	struct region regions[REGIONS_MAX];
	unsigned region_count;
	struct host_memory places[JIT_BLOCK_INSNS]; /* in the regions */
};

/*
 * Decide. May leave off items of the code behind the start of a loop, so that all of its iterations
 * are in a block of their own.
 */
void plan_make(struct plan *plan, struct guest_code *guest);
/* The same for lean code. */
void plan_make_lean(struct plan *plan, struct guest_code *guest);

#endif
