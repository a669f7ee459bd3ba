/*
 * Decoded blocks: straight runs of guest instructions, decoded once and kept by guest-physical
 * address and mode (enum cpu_mode). One cache a CPU, so that finding and running a block takes no
 * lock.
 *
 * A block lies inside one page. How it stays equal to the bytes it came from:
 *
 * - Stores by guest CPUs. The platform keeps a word a page (cpu_platform.code_bitmap) whose bits
 *   say which 64-byte granules hold decoded code of any CPU. A page's first code is announced
 *   inside an exclusive section, where every CPU drops its write translations of the page
 *   (code_page_protected), so that stores to it take memory.c's slow path from then on. A store
 *   that meets a marked granule has code_invalidate called for every CPU
 *   (cpu_platform.code_written). Afterwards no CPU has blocks in the granules of the store, and
 *   their bits may be cleared.
 * - Anything else (devices in other processes, user space). Each block keeps a copy of its bytes
 *   and compares it before it runs for the first time in each cpu->code_epoch. The run loop
 *   counts code_epoch up wherever such a write becomes visible to the guest: when KVM_RUN is
 *   entered, and with an interrupt from outside the engine. A guest that learns of the write by
 *   looking at memory still has to map the page before it runs what is new there, so a page's
 *   blocks are compared, too, when its translation for fetches is made (code_page_mapped).
 * - Pages whose code is written again and again are `hot`: their blocks are not announced, but are
 *   compared each time and end after each store, so that stores to the page stay cheap.
 *
 * An instruction that crosses into another page is never part of a block (exec_one runs it).
 * Memory is bounded: blocks come from a ring of chunks, the oldest chunk is emptied to go on.
 */
#ifndef KVIK_ENGINE_X86_CODE_H
#define KVIK_ENGINE_X86_CODE_H

#include "engine/x86/cpu.h"
#include "engine/x86/decode/decode.h"

#define BLOCK_INSNS_MAX  64
#define BLOCK_CACHE_SIZE (16u << 20) /* bytes a CPU, by default */

#define BLOCK_GPA_NONE UINT64_MAX

enum block_flag {
	BLOCK_CROSSING = 1 << 0, /* starts with an instruction that ends in the next page; empty */
	BLOCK_HOT = 1 << 1,      /* compared each time it runs */
};

struct block {
	uint64_t gpa;    /* of its first byte; BLOCK_GPA_NONE once removed */
	uint64_t epoch;  /* cpu->code_epoch of the last compare */
	uint64_t mapped; /* block_cache.mapped of its page at that time */
	uint32_t mode;   /* enum cpu_mode */
	uint16_t size;   /* bytes of guest code */
	uint8_t count;   /* instructions */
	uint8_t flags;   /* enum block_flag */
	uint32_t bytes;  /* of this struct with all that follows it */
	struct block *next, **previous;           /* of the same hash */
	struct block *page_next, **page_previous; /* of the same page's hash */
	struct insn insns[] __attribute__((aligned(64))); /* then the copy of the code */
};

/*
 * Where a block was found. While `key` and `tlb` are the CPU's present ones (exec.c), nothing has
 * happened that could lead gva elsewhere or ask for a comparison; afterwards the TLB decides.
 */
struct jump_entry {
	uint64_t gva; /* linear address */
	struct block *block; /* perhaps removed since */
	uint64_t key;
	const struct tlb_set *tlb; /* NULL: the entry is empty, and so is `block` */
};

#define JUMP_BITS     13
#define BLOCK_HASHES  (1u << 15)
#define HEAT_PAGES    4096u
#define SINGLE_INSNS  512u

/* An instruction that was executed alone. */
struct single_insn {
	struct insn insn;
	uint32_t mode;
	uint8_t bytes[INSN_LENGTH_MAX + 1];
};

struct block_cache {
	struct jump_entry jumps[1u << JUMP_BITS];
	struct block *hash[BLOCK_HASHES], *page_hash[BLOCK_HASHES];
	uint64_t mapped[BLOCK_HASHES];  /* counts code_page_mapped, by page */
	uint8_t heat[HEAT_PAGES];       /* recent invalidations, by page */
	unsigned hot_runs;              /* since heat was last halved */
	struct single_insn singles[SINGLE_INSNS];
	const struct block *running;    /* the block under way */
	uint8_t *arena;                 /* owned */
	size_t arena_size;
	size_t position, chunk_end;     /* in the chunk being filled */
	uint32_t *chunk_used;           /* bytes filled in each chunk; owned */
};

/* A cache of about `size` bytes, or NULL without memory. */
struct block_cache *block_cache_create(size_t size);
void block_cache_destroy(struct block_cache *cache);

static inline struct jump_entry *jump_entry_of(struct block_cache *cache, uint64_t gva)
{
	return &cache->jumps[(gva ^ gva >> JUMP_BITS) & ((1u << JUMP_BITS) - 1)];
}

/* The copy of the code that a block was decoded from. */
static inline const uint8_t *block_source(const struct block *block)
{
	return (const uint8_t *)&block->insns[block->count];
}

/*
 * The block at gpa for cpu->mode, decoded now if need be from `code` (the host address of gpa;
 * `available` > 0 bytes lie before the end of the page and of the code segment). Up to date with
 * its bytes. NULL when a request to the CPU came in between: look again afterwards.
 */
struct block *code_block(struct cpu *cpu, uint64_t gpa, const uint8_t *code, unsigned available);

/* Whether the block was compared with its code since that may have changed unseen. */
bool block_is_fresh(const struct cpu *cpu, const struct block *block);

/*
 * Drop every block of `cpu` in the 64-byte granules that [gpa, gpa + size) touches. A block that is
 * under way stops after its present instruction. The CPU's own thread, or an exclusive section.
 */
void code_invalidate(struct cpu *cpu, uint64_t gpa, unsigned size);
/* Drop all blocks of `cpu`: memory slots changed. As code_invalidate. */
void code_invalidate_all(struct cpu *cpu);
/*
 * Announce decoded or translated code in [gpa, gpa + size), inside one page: stores to it are seen
 * from then on. The host address of the code may have changed afterwards, and its bytes too: they
 * are read, or compared, after this.
 */
void code_mark(struct cpu *cpu, uint64_t gpa, unsigned size);
/* Whether the code of gpa's page changes so often that it is not announced. */
bool code_is_hot(const struct cpu *cpu, uint64_t gpa);
/* gpa's page gets a translation for fetches: its blocks are compared before they run again. */
void code_page_mapped(struct cpu *cpu, uint64_t gpa);
/* Drop the write translations of gpa's page from the CPU's TLB. As code_invalidate. */
void code_page_protected(struct cpu *cpu, uint64_t gpa);

#endif
