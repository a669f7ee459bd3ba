/*
 * Decoded blocks: straight runs of guest instructions, decoded once and kept by guest-physical
 * address and mode (enum cpu_mode). One cache a CPU, so that finding and running a block takes no
 * lock; it is a holder of the VM's code index, which says how code stays equal to the bytes that it
 * came from (tier/code_index.h). A block lies inside one page, and is compared with its bytes before it
 * runs for the first time in an epoch or since its page was mapped. Blocks of hot pages are not
 * marked, but are compared each time and end after each store.
 *
 * An instruction that crosses into another page is never part of a block (run_one runs it).
 * Memory is bounded: blocks come from a ring of chunks, the oldest chunk is emptied to go on.
 */
#ifndef KVIK_ENGINE_RUN_INTERP_CODE_H
#define KVIK_ENGINE_RUN_INTERP_CODE_H

#include "engine/run/tier/code_index.h"
#include "engine/x86/cpu.h"
#include "engine/x86/decode/decode.h"

#define BLOCK_INSNS_MAX  64

#define BLOCK_GPA_NONE UINT64_MAX

enum block_flag {
	BLOCK_CROSSING = 1 << 0, /* starts with an instruction that ends in the next page; empty */
	BLOCK_HOT = 1 << 1,      /* compared each time it runs */
};

struct interp_block {
	uint64_t gpa;    /* of its first byte; BLOCK_GPA_NONE once removed */
	uint64_t epoch;  /* cpu->code_epoch of the last compare */
	uint64_t mapped; /* block_cache.mapped of its page at that time */
	uint32_t mode;   /* enum cpu_mode */
	uint16_t size;   /* bytes of guest code */
	uint8_t count;   /* instructions */
	uint8_t flags;   /* enum block_flag */
	uint32_t bytes;  /* of this struct with all that follows it */
	uint8_t cold_runs; /* as tiers_leave_cold has it */
	struct interp_block *next, **previous;           /* of the same hash */
	struct interp_block *page_next, **page_previous; /* of the same page's hash */
	struct insn insns[] __attribute__((aligned(64))); /* then their forms, then the copy of the code */
};

/*
 * Where a block was found. While `key` and `tlb` are the CPU's present ones (exec.c), nothing has
 * happened that could lead gva elsewhere or ask for a comparison; afterwards the TLB decides.
 */
struct jump_entry {
	uint64_t gva; /* linear address */
	struct interp_block *block; /* perhaps removed since */
	uint64_t key;
	const struct tlb_set *tlb; /* NULL: the entry is empty, and so is `block` */
};

#define JUMP_BITS     13
#define BLOCK_HASHES  (1u << 15)
#define SINGLE_INSNS  512u

/* An instruction that was executed alone. */
struct single_insn {
	struct insn insn;
	uint32_t mode;
	uint8_t bytes[INSN_LENGTH_MAX + 1];
};

struct interp_cache {
	struct code_holder holder; /* first: code.c */
	struct cpu *cpu;
	struct jump_entry jumps[1u << JUMP_BITS];
	struct interp_block *hash[BLOCK_HASHES], *page_hash[BLOCK_HASHES];
	uint64_t mapped[BLOCK_HASHES];  /* counts block_page_mapped, by page */
	unsigned hot_runs;              /* since heat last faded */
	struct single_insn singles[SINGLE_INSNS];
	const struct interp_block *running;    /* the block under way */
	uint8_t *arena;                 /* owned */
	size_t arena_size;
	size_t position, chunk_end;     /* in the chunk being filled */
	uint32_t *chunk_used;           /* bytes filled in each chunk; owned */
	uint64_t instructions;          /* completed */
	uint64_t decoded;               /* blocks */
};

/* A cache of about `size` bytes for `cpu`, or NULL without memory. */
struct interp_cache *block_cache_create(struct cpu *cpu, size_t size);
void block_cache_destroy(struct interp_cache *cache);

static inline struct interp_cache *blocks_of(const struct cpu *cpu)
{
	return tier_state(cpu, TIER_INTERPRETER);
}

static inline struct jump_entry *jump_entry_of(struct interp_cache *cache, uint64_t gva)
{
	return &cache->jumps[(gva ^ gva >> JUMP_BITS) & ((1u << JUMP_BITS) - 1)];
}

/* What else is known of a block's instructions, in their order. */
static inline const struct insn_form *block_forms(const struct interp_block *block)
{
	return (const struct insn_form *)&block->insns[block->count];
}

/* The copy of the code that a block was decoded from. */
static inline const uint8_t *block_source(const struct interp_block *block)
{
	return (const uint8_t *)&block_forms(block)[block->count];
}

/*
 * The block at gpa for cpu->mode, decoded now if need be from `code` (the host address of gpa;
 * `available` > 0 bytes lie before the end of the page and of the code segment). Up to date with
 * its bytes. NULL when a request to the CPU came in between: look again afterwards.
 */
struct interp_block *code_block(struct cpu *cpu, uint64_t gpa, const uint8_t *code, unsigned available);

/* As struct tier's `decoded`. */
bool code_decoded(struct cpu *cpu, uint64_t gpa, const uint8_t *code, unsigned available,
		  struct tier_decoded *decoded);

/* Whether the block was compared with its code since that may have changed unseen. */
bool block_is_fresh(const struct interp_cache *cache, const struct interp_block *block);

/* gpa's page gets a translation for fetches: its blocks are compared before they run again. */
void block_page_mapped(struct interp_cache *cache, uint64_t gpa);

#endif
