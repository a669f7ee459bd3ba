/*
 * The interpreter as a tier: it executes everything, by decoded blocks (code.h). All other tiers' slow
 * paths end in the same handlers.
 */
#ifndef KVIK_ENGINE_RUN_INTERP_INTERP_H
#define KVIK_ENGINE_RUN_INTERP_INTERP_H

#include <stddef.h>

#include "engine/run/tier/tier.h"

/* Bytes for decoded blocks: of a VM's first CPU, and of each further one, among which programs spread. */
#define INTERP_CACHE_SIZE      (6u << 20)
#define INTERP_CACHE_SIZE_MORE (3u << 20)

/* Give `cpu` the interpreter as its last tier, with about so many bytes for decoded blocks. 0 or -ENOMEM. */
int interp_attach(struct cpu *cpu, size_t cache_size);

struct interp_statistics {
	uint64_t instructions; /* completed */
	uint64_t blocks;       /* decoded */
};
struct interp_statistics interp_get_statistics(const struct cpu *cpu);

#endif
