/*
 * The store of decoded blocks: straight runs of guest instructions, decoded once for all CPUs of a VM and kept by
 * guest-physical address and mode (enum cpu_mode, and what the CPU's CPUID makes of bytes). It is a holder of the
 * VM's code index, which says how code stays equal to the bytes that it came from (tier/code_index.h). A block lies
 * inside one page, and is compared with its bytes before a CPU runs it for the first time in an epoch or since it
 * has mapped the page (code.h). Blocks of hot pages are not marked, but are compared each time and end after each store.
 *
 * An instruction that crosses into another page is never part of a block (run_one runs it).
 *
 * Memory is bounded: blocks come from a ring of chunks, of which all CPUs fill one; when it is full, the next one is
 * emptied. A block that was removed stays where it is until then, because CPUs may be in it, or look at it.
 *
 * Who does what when:
 * - CPUs inside the guest look blocks up without a lock: what they find was published by a store of its address.
 *   Where they have found one they keep (jump_entry), and run it, as long as its gpa is there.
 * - Blocks are added and removed under `lock`. One that was removed still leads on to the next of its hash.
 *   It is removed in an exclusive section if stores have changed its code, so that no CPU goes on with it (code_index.h);
 *   at any time if it is not what memory holds for other reasons, which each CPU is to notice for itself.
 * - Chunks are emptied under `lock` in an exclusive section: no CPU looks anything up meanwhile, nor keeps what it has
 *   found across one but in jump entries, which are emptied with the chunk, and by being inside of it (`running`): a
 *   chunk that a CPU is in is passed over. Who keeps a block across something that may wait asks whether `evictions`
 *   is what it was before.
 *
 * `lock` is a leaf, below the code index's. Vector registers are free where it is taken.
 */
#ifndef KVIK_ENGINE_RUN_INTERP_STORE_H
#define KVIK_ENGINE_RUN_INTERP_STORE_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/run/interp/interp.h"
#include "engine/run/tier/code_index.h"
#include "engine/x86/cpu.h"
#include "engine/x86/decode/decode.h"
#include "engine/x86/decode/rules_copy.h"

#define BLOCK_INSNS_MAX 64
#define BLOCK_BYTES_MAX 512 /* code looked at for one block */

#define BLOCK_GPA_NONE UINT64_MAX

enum block_flag {
	BLOCK_CROSSING = 1 << 0, /* starts with an instruction that ends in the next page; empty */
	BLOCK_HOT = 1 << 1,      /* compared each time it runs */
};

/* What does not say otherwise is constant. */
struct interp_block {
	_Atomic uint64_t gpa;      /* of its first byte; becomes BLOCK_GPA_NONE when it is removed */
	_Atomic uint64_t compared; /* as the store's clock had it when a compare began that found no difference */
	uint32_t mode;             /* enum cpu_mode, and from MODE_RULES_SHIFT on the number of its CPUs' rules */
	uint16_t size;             /* bytes of guest code */
	uint8_t count;             /* instructions */
	uint8_t flags;             /* enum block_flag */
	uint32_t bytes;            /* of this struct with all that follows it */
	/* As tiers_leave_cold has it. Counted by all CPUs, without care: a run that is lost is no harm. */
	_Atomic uint8_t cold_runs;
	/* Stores to its code are noticed, and its bytes were right after that. Until then nobody runs it; not if it has flags. */
	_Atomic bool is_marked;
	/* Of the same hash. */
	struct interp_block *_Atomic next, *_Atomic *previous;
	struct interp_block *page_next, **page_previous; /* of the same page's hash; under the lock */
	struct insn insns[] __attribute__((aligned(64))); /* then their forms, then the copy of the code */
};

_Static_assert(sizeof(struct interp_block) == 64, "a cache line, and then the instructions");

#define MODE_RULES_SHIFT 8

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
#define BLOCK_HASH_BITS 15
#define BLOCK_HASHES  (1u << BLOCK_HASH_BITS)
#define SINGLE_INSNS  512u

/* An instruction that was executed alone. */
struct single_insn {
	struct insn insn;
	uint32_t mode;
	uint8_t bytes[INSN_LENGTH_MAX + 1];
};

/* What one CPU has of its own. Its own thread's, but for what an exclusive section of another changes, or looks at. */
struct interp_cpu {
	struct cpu *cpu;
	struct interp_store *store;
	struct interp_cpu *next_user;   /* of the store; under its lock */
	struct jump_entry jumps[1u << JUMP_BITS] __attribute__((aligned(64))); /* two in a cache line */
	bool has_jumps;                 /* not all of these are empty */
	/* A compare that has begun before the store's clock was this may have missed what the CPU is to see: of any block,
	 * since `epoch` began, and of the blocks of a page, since that was mapped for fetches (by hash). */
	uint64_t epoch, epoch_clock;
	uint64_t mapped_clock[BLOCK_HASHES];
	uint32_t rules;                 /* the number of the CPU's rules, as blocks' modes have it */
	uint32_t rules_changes;         /* cpu->rules_changes when it was found */
	unsigned hot_runs;              /* since heat last faded */
	struct single_insn singles[SINGLE_INSNS];
	/* The block under way, or that an exception has unwound from: its memory is not used again. */
	const struct interp_block *running;
	uint64_t instructions;          /* completed */
	uint64_t decoded;               /* blocks */
};

#define STORE_RULES 8u /* that are told from one another; further CPUs share their blocks with nobody */

struct interp_store {
	struct code_holder holder; /* first: store.c */
	struct code_index *index;  /* the VM's */
	uint8_t *arena;            /* owned; `chunk_most` chunks, of which `chunk_count` are in the ring */
	uint32_t *chunk_used;      /* bytes filled in each chunk; owned; under the lock */
	size_t chunk_size;
	unsigned chunk_count, chunk_most, chunk; /* `chunk` is filled; under the lock */
	struct interp_cpu *users;  /* under the lock */
	unsigned user_count;
	/* The rules of those that were told from one another, and how many numbers were given. Under the lock. */
	struct rules_copy rules[STORE_RULES];
	uint32_t rules_count;
	_Atomic uint64_t evictions; /* chunks that were emptied; changes in exclusive sections */
	pthread_mutex_t lock;
	/* Counts what puts blocks in doubt: code.c. */
	_Atomic uint64_t clock __attribute__((aligned(64)));
	struct interp_block *_Atomic hash[BLOCK_HASHES] __attribute__((aligned(64)));
	struct interp_block *page_hash[BLOCK_HASHES]; /* under the lock */
};

/* A block to be: what the decoder has made. */
struct block_draft {
	uint64_t gpa;
	uint64_t compared; /* as in the block */
	uint32_t mode;
	uint8_t flags;
	unsigned count, size;
	struct insn insns[BLOCK_INSNS_MAX];
	struct insn_form forms[BLOCK_INSNS_MAX];
	uint8_t source[BLOCK_BYTES_MAX];
};

static inline struct interp_cpu *interp_of(const struct cpu *cpu)
{
	return tier_state(cpu, TIER_INTERPRETER);
}

/* The mode that the CPU's blocks have now. */
static inline uint32_t block_mode(const struct interp_cpu *interp)
{
	return interp->cpu->mode | interp->rules << MODE_RULES_SHIFT;
}

static inline uint64_t block_gpa(const struct interp_block *block)
{
	return atomic_load_explicit(&block->gpa, memory_order_relaxed);
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

static inline unsigned store_hash(uint64_t key)
{
	return (unsigned)(key * 0x9e3779b97f4a7c15ull >> (64 - BLOCK_HASH_BITS));
}

/* The CPU's part of the VM's store, or NULL without memory. */
struct interp_cpu *interp_cpu_create(struct cpu *cpu, struct interp_store *store);
void interp_cpu_destroy(struct interp_cpu *interp);

/* Take the CPU's present rules (x86/decode/insn_rules.h). Its own thread. */
void store_take_rules(struct interp_cpu *interp);

/* -- by a CPU that runs -- */

/* The block of this gpa and mode (block_mode), or NULL. */
struct interp_block *store_find(struct interp_store *store, uint64_t gpa, uint32_t mode);

/*
 * The block that was drafted, or one like it that another CPU has added meanwhile; not marked, unless that
 * is. NULL: the store is full (store_make_room). Vector registers free.
 */
struct interp_block *store_add(struct interp_cpu *interp, const struct block_draft *draft);

/* Remove a block that is not what memory holds. It may be removed already. Vector registers free. */
void store_remove(struct interp_store *store, struct interp_block *block);

/*
 * Empty a chunk, unless another CPU has since `evictions` was what it is. The CPU waits: blocks and host addresses are
 * others afterwards. False: CPUs are inside of all of them. Vector registers free.
 */
bool store_make_room(struct interp_cpu *interp, uint64_t evictions);

#endif
