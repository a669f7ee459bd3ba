/*
 * What programs have cost on a CPU, by their names.
 *
 * A program is known by the path that Linux gives it with its arguments (AT_EXECFN, getauxval(3)), which is the guest's word
 * and counts for nothing but its own speed. Guests that give none have one program.
 */
#ifndef KVIK_ENGINE_RUN_DIRECT_PROGRAM_H
#define KVIK_ENGINE_RUN_DIRECT_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/run/tier/tier.h"

#define PROGRAMS     128u
#define PROGRAM_NAME 48u /* bytes of a path's end, with its NUL */

struct program {
	uint64_t hash; /* of its path; 0: not known, or free */
	char name[PROGRAM_NAME]; /* printable */
	uint64_t starts, crossings;
	uint64_t direct, translated; /* ticks in ring 3, with what the border cost */
};

/* The first one has what is not known, and what others that are forgotten have cost. */
struct programs {
	struct program all[PROGRAMS];
};

/* A program is about to execute its first instruction in ring 3, with Linux's stack. */
struct program *program_find(struct programs *programs, struct cpu *cpu);

/* One that has begun on another CPU; what is not known here is the first one. */
struct program *program_of(struct programs *programs, uint64_t hash);

/* Show what the costliest ones have cost. Any thread. */
void programs_visit(const struct programs *programs, uint64_t ticks_of_ms, tier_visitor *visit, void *context);

#endif
