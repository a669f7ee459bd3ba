/* Numbers below a limit, given out and taken back. */
#ifndef KVIK_ENGINE_RUN_JIT_CACHE_NUMBERS_H
#define KVIK_ENGINE_RUN_JIT_CACHE_NUMBERS_H

#include "engine/run/jit/cache/parts.h"

int jit_numbers_create(struct jit_numbers *numbers, unsigned limit); /* 0 or -ENOMEM */
void jit_numbers_destroy(struct jit_numbers *numbers);
bool jit_number_take(struct jit_numbers *numbers, uint32_t *number); /* false: there are no more */
void jit_number_return(struct jit_numbers *numbers, uint32_t number);

#endif
