/*
 * The interpreter as a tier: it executes everything, by decoded blocks (code.h). All other tiers' slow
 * paths end in the same handlers.
 */
#ifndef KVIK_ENGINE_RUN_INTERP_INTERP_H
#define KVIK_ENGINE_RUN_INTERP_INTERP_H

#include <stddef.h>

#include "engine/run/tier/tier.h"

struct code_index;

/* Bytes for decoded blocks: of a VM with one CPU; more for each further one, among which programs spread; and at most. */
#define INTERP_STORE_SIZE      (6u << 20)
#define INTERP_STORE_SIZE_MORE (1u << 20)
#define INTERP_STORE_SIZE_MOST (16u << 20)

/*
 * The decoded blocks of a VM, for all its CPUs: about `size` bytes, and INTERP_STORE_SIZE_MORE for each CPU but the
 * first, up to `size_most`. 0 or -ENOMEM. It is destroyed when its CPUs have ended.
 */
struct interp_store;
int interp_store_create(struct code_index *index, size_t size, size_t size_most, struct interp_store **created);
void interp_store_destroy(struct interp_store *store); /* NULL: none */

/* Give `cpu` the interpreter as its last tier, with the blocks of its VM. 0 or -ENOMEM. */
int interp_attach(struct cpu *cpu, struct interp_store *store);

struct interp_statistics {
	uint64_t instructions; /* completed */
	uint64_t blocks;       /* decoded */
};
struct interp_statistics interp_get_statistics(const struct cpu *cpu);

#endif
