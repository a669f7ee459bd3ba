/* The code of loops (plan/loop.h). */
#ifndef KVIK_ENGINE_RUN_JIT_EMIT_LOOP_H
#define KVIK_ENGINE_RUN_JIT_EMIT_LOOP_H

#include "engine/run/jit/emit/translation.h"

/* The preheader and the body. */
void emit_loop(struct translation *t);
/* The ways from the body to the ordinary translation, once that is there. */
void emit_loop_exits(struct translation *t);

#endif
