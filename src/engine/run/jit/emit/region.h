/* The code of regions (plan/region.h). */
#ifndef KVIK_ENGINE_RUN_JIT_EMIT_REGION_H
#define KVIK_ENGINE_RUN_JIT_EMIT_REGION_H

#include "engine/run/jit/emit/translation.h"

/* Let R13 point to the region, or go to slow path `slow`. */
void emit_region_check(struct translation *t, const struct region *region, unsigned slow);
void emit_region(struct translation *t, unsigned number);
/* The second translation, to be put out of the way. */
void emit_region_cold(struct translation *t, unsigned number);

#endif
