/* What a CPU has asked to be kept, until a batch of it is sent (kept/format.h). */
#ifndef KVIK_ENGINE_RUN_JIT_KEPT_ASKED_H
#define KVIK_ENGINE_RUN_JIT_KEPT_ASKED_H

#include <stdbool.h>

#include "engine/run/jit/kept/format.h"

struct jit_asked {
	struct kept_environment environment; /* that the batch is of */
	int number;      /* of the present one in the file that translations are taken from; -1: it is not there */
	bool is_known, was_alone, was_shared; /* what the number was found for (reuse/take.c) */
	unsigned used;   /* bytes of the batch */
	_Alignas(8) uint8_t batch[KEPT_BATCH];
};

#endif
