/*
 * Loops: a block that jumps to its own start, with its lookups hoisted out.
 *
 * An access whose address changes by a constant each time around stays in one page for a number of
 * iterations that can be told beforehand. So a loop gets a second translation, which is entered first:
 * a preheader looks each address up, keeps the distance to host memory in a register that the loop
 * leaves alone, and computes how often the body may run; then the body runs that often with neither
 * lookups nor polls. Guest registers in struct cpu have host registers meanwhile, if any are left.
 *
 * Whatever the body cannot do itself (a lookup that misses, a way out, the end of a page) gives the
 * borrowed registers back and goes on in the block's ordinary translation, at the same instruction.
 */
#ifndef KVIK_ENGINE_RUN_JIT_PLAN_LOOP_H
#define KVIK_ENGINE_RUN_JIT_PLAN_LOOP_H

#include "engine/run/jit/plan/region.h"

#define LOOP_KEYS_MAX    8
#define LOOP_REGIONS_MAX 8

/* Accesses of a loop that lie in one page together. */
struct loop_key {
	struct span span;   /* of the first */
	struct access_range range;
	int32_t stride;     /* bytes that the addresses grow by in each iteration */
	uint8_t variant;    /* the guest register that makes them grow, or INSN_REGISTER_NONE */
	uint8_t shift;      /* of that */
	uint8_t accesses;
	uint8_t host;       /* the register that has it; HOST_NONE: looked up each time */
};

struct loop {
	unsigned end;       /* items [0, end); 0: there is no loop */
	struct loop_key keys[LOOP_KEYS_MAX + 1]; /* one more than are used */
	unsigned key_count;
	struct host_memory places[JIT_BLOCK_INSNS];
	/* Of accesses that cannot be hoisted. */
	struct region regions[LOOP_REGIONS_MAX];
	unsigned region_count;
	uint8_t map[CPU_REGISTERS]; /* where guest registers are in the body */
	uint8_t counter;    /* host register: iterations left */
	uint16_t borrowed;  /* guest registers that are in struct cpu meanwhile */
	uint16_t homes;     /* guest registers that are not, for once */
	uint16_t written;   /* guest registers that the loop changes */
	uint8_t vector_levels;
};

/*
 * The loop that a block's items begin with, whose first lies at `start` in its page. False: there is
 * none, or it gains nothing.
 */
bool loop_find(struct loop *loop, const struct jit_item *items, unsigned count, unsigned start);

#endif
