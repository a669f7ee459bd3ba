/*
 * Flags that can be recreated. Where the instruction that set the live flags left its sources, or a
 * result that tells them, in registers, flags may be destroyed by the code around a memory access, a
 * poll or a jump lookup, and are made again where somebody reads them: before an instruction that
 * does, before the block is left, and at the beginning of each slow path.
 *
 * What is made again is exact in all six flags: comparisons are repeated, additions and subtractions
 * are taken back and repeated, and logic operations have the flags of TEST with their result. A
 * register that tells them is copied to struct cpu before it is overwritten. Where nothing tells
 * them, they are saved there, unless it is for one lookup: that leaves them alone at a lower price.
 */
#ifndef KVIK_ENGINE_RUN_JIT_PLAN_SOURCES_H
#define KVIK_ENGINE_RUN_JIT_PLAN_SOURCES_H

#include "engine/run/jit/plan/plan.h"

/* How the flags of an instruction are made again; `a` and `b` are its operands. */
enum recipe {
	RECIPE_NONE,
	RECIPE_SAVED,    /* from struct cpu, where they were put before the first lookup */
	RECIPE_COMPARE,  /* cmp a, b */
	RECIPE_TEST,     /* test a, b */
	RECIPE_RESULT,   /* test a, a */
	RECIPE_ADD, RECIPE_SUBTRACT, /* take it back, repeat it */
	RECIPE_INCREMENT, RECIPE_DECREMENT,
};

/* In all of these `index` stands for the place before that item, the count for the block's end. */

/* What flags could be made again from, everywhere in the block; keeps_flags of all items. After
 * flags_liveness. */
void flags_find_sources(struct plan *plan);
/* Whether one of the items [0, count) puts flags, or what tells them, into struct cpu. */
bool flags_use_memory(const struct plan *plan, unsigned count);
/* Whether the flags in `live` can be made again there. */
bool flags_are_recreatable(const struct plan *plan, unsigned index, uint16_t live);
/* Whether exact flags must exist when the item's own operation begins: it touches them, or what
 * they could be made from. */
bool flags_must_be_exact(const struct plan *plan, unsigned index);
/* Whether they are made again between the item's checks and its operation, with the scratch
 * registers in use. */
bool flags_return_inside(const struct plan *plan, unsigned index);

/* The general register that an operand of an item is, or -1. */
int flag_operand(const struct jit_item *item, unsigned operand);
/* The item that set the flags; the register of its second operand, or -1. */
const struct jit_item *flag_setter(const struct plan *plan, const struct flag_source *source);
int flag_second_register(const struct jit_item *setter, enum recipe recipe);
/* Whether it bears RSP moving by a known distance. */
bool flag_source_follows_rsp(const struct plan *plan, const struct flag_source *source);
bool flag_source_needs_scratch(const struct plan *plan, const struct flag_source *source);

#endif
