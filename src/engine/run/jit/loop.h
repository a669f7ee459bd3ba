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
#ifndef KVIK_ENGINE_JIT_LOOP_H
#define KVIK_ENGINE_JIT_LOOP_H

#include "engine/run/jit/translation.h"

/*
 * The loop that a block's items begin with, whose first lies at `start` in its page. False: there is
 * none, or it gains nothing.
 */
bool loop_find(struct loop *loop, const struct jit_item *items, unsigned count, unsigned start);
/* The preheader and the body. */
void emit_loop(struct translation *t);
/* The ways from the body to the ordinary translation, once that is there. */
void emit_loop_exits(struct translation *t);

#endif
