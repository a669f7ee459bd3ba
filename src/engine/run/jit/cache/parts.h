/* The translations of a VM and the CPUs that use them: what all files of this room share. */
#ifndef KVIK_ENGINE_RUN_JIT_CACHE_PARTS_H
#define KVIK_ENGINE_RUN_JIT_CACHE_PARTS_H

#include "engine/run/jit/analyse/guest_code.h"
#include "engine/run/jit/cache/lock.h"
#include "engine/run/jit/cache/view.h"
#include "engine/run/jit/emit/stubs.h"
#include "engine/run/jit/frame.h"
#include "engine/run/jit/jit.h"
#include "engine/run/jit/kept/asked.h"
#include "engine/run/jit/kept/file.h"
#include "engine/run/jit/watch.h"
#include "engine/run/tier/code_index.h"
#include "engine/run/tier/tier.h"
#include "engine/x86/decode/insn.h"
#include "engine/x86/decode/rules_copy.h"
#include "engine/x86/host/code_memory.h"

/* A place in a block that calls the slow stub: one guest instruction that the interpreter may have to
 * execute from inside the block. Positions are from the block's entry. */
struct jit_site {
	uint16_t at;             /* where the call would return to */
	uint16_t resume;         /* where translated code goes on; 0: leave to the dispatcher */
	uint16_t offset;         /* of the instruction in its page */
	uint8_t vector_levels : 4; /* bits of enum jit_vector_level: what it needs to run as it stands */
	bool is_slow_path : 1;   /* it has a translation, which leads here now and then */
	bool is_hot : 1;         /* no instruction's: a lean block has run often, and is left in front of it */
	uint8_t segments;        /* FS and GS, as bits: what it took for flat but for the base */
};

/* A site that a CPU was at, with its instruction decoded. */
struct jit_record {
	const uint8_t *at;       /* where the call would return to; NULL: there is none */
	struct insn insn;
	const uint8_t *resume;   /* executable address; NULL as 0 in the site */
	struct jit_site site;
	bool changes_vector;     /* it may unmask floating-point exceptions */
	bool loads_segment;      /* FS or GS */
};

#define JIT_RECORDS 8192 /* of a CPU: a power of 2 */

struct jit_block;
struct emit_externals;

/*
 * A direct jump out of a block, linked for as long as both blocks live. Within a page it goes to the
 * other's code; to another page, to its entry, since something else may be mapped there now.
 */
struct jit_link {
	int32_t page_distance;   /* from the page that it is in to its target's; 0: within the page */
	uint16_t offset;         /* of the target in its page */
	uint32_t patch;          /* the displacement of the jump, or of its operand */
	uint32_t unlinked;       /* the stub that the jump goes to while it is not linked */
	struct jit_block *from;
	struct jit_block *to;    /* NULL: not linked */
	struct jit_link *next, **previous; /* in to->incoming */
};

/* Translated code depends on where it is in its page, but not on where that is mapped. */
struct jit_block {
	uint64_t gpa;
	uint32_t mode;           /* jit_mode_of */
	uint16_t guest_size;     /* bytes, all in one page */
	uint16_t move_count;     /* of what is behind the sites; or JIT_NO_MOVES: it cannot be moved */
	/* The page's granules of 64 bytes that were looked at to make it, those of the first
	 * instructions behind its jumps included. */
	uint64_t granules;
	uint16_t link_count, site_count;
	uint8_t entry_page_at;   /* where in its entry 8 * its page's index is */
	_Atomic bool is_marked;  /* stores to its code are noticed; until then it is not to be found */
	bool dead;               /* unlinked from everything; its chunk's turn frees it */
	/* There is to be a better one, and this one is no longer to be found: jit_block_retire. */
	_Atomic bool is_retired;
	/* `code` runs with frame.code_page set. `entry`, before it, expects an address in R13 at which the
	 * block may be: if the present view has its page there, sets frame.code_page, else leaves to the
	 * dispatcher. Of a block that was removed, it always leaves. */
	const uint8_t *code, *entry;
	struct jit_page *page;
	struct jit_block *_Atomic next_hash, *_Atomic *previous_hash;
	struct jit_block *_Atomic next_page, *_Atomic *previous_page;
	struct jit_block *next_in_chunk;
	struct jit_link *incoming;
	struct jit_script *script; /* watch.h; owned */
	/*
	 * A block of an instruction that reaches into the next page has a partner, which stands for it
	 * in that page's list of blocks, and for nothing else: who removes it there removes both.
	 */
	struct jit_block *partner;
	uint32_t next_page_at; /* where the code has that page's index; the partner: 0 */
	bool is_lean;
	bool stays;              /* when its chunk's turn comes: keep.c */
	_Atomic bool is_used;    /* a dispatcher has found it since its chunk is tried */
	/* Then the sites, in order, and the partner or, of 16 bits each, where displacements to stubs are
	 * that are neither sites' calls nor links' jumps. */
	struct jit_link links[];
};

#define JIT_NO_MOVES UINT16_MAX
#define JIT_LINK_JUMP_AT 7u /* where the stub of a link has the displacement of its jump */

/* The blocks of one guest-physical page. */
struct jit_page {
	uint64_t number; /* gpa >> 12 */
	unsigned index;  /* of its struct jit_place */
	/* The bytes that blocks were made from, to notice changes by DMA; bit n of `covered` says
	 * that [64n, 64n + 64) is kept. `copies` has them in order; owned. */
	uint64_t covered;
	uint64_t *copies;
	unsigned copied; /* granules that there is room for in it */
	struct jit_block *_Atomic blocks;
	unsigned users;  /* blocks that it has, or had and whose memory is not yet used again */
	struct jit_page *_Atomic next_hash;
};

/* What one CPU knows of a page, besides where it is. */
struct jit_place {
	/* 1 + cpu->code_epoch when the code was last compared; 0: never. Other CPUs reset it, before
	 * they mark a block of the page. */
	_Atomic uint64_t compared;
};

#define JIT_HASH_BITS  16
#define JIT_BLOCK_BITS 18 /* of the blocks' hash: some hundred thousand are lean */
#define JIT_HOT_BLOCKS 1024
#define JIT_PAGE_PART   4   /* what is kept of pages takes up to this part of the cache's size */
#define JIT_PLACE_BYTES 256 /* bytes of the cache's size for each page with translations, at least */

/* Numbers below a limit, given out and taken back. */
struct jit_numbers {
	uint32_t *free;
	unsigned free_count, used, limit;
};

/*
 * The translations of a VM, which its CPUs share.
 *
 * What is added (blocks, pages, links) is added under `lock`, while other CPUs run translated code
 * and look for blocks and pages without the lock: they see what was published by the store of its
 * address into a list. What is taken away (blocks, and the memory of chunks) is taken under the lock
 * and inside an exclusive section: then no other CPU runs any or looks for one, though it may be in
 * a handler that was called from it. Exclusive sections begin before the lock is taken, never while
 * it is held. A block that makes room for a better one is taken from the list of those that are looked
 * for without such a section (jit_block_retire), as its memory stays.
 *
 * Each CPU's own tables (jumps, views, places) change on its thread, without the lock, or inside
 * an exclusive section; but what they have of a new page is set for every CPU, under the lock, before
 * anybody can find it.
 */
struct jit_cache {
	struct code_holder holder; /* first: cache.c */
	struct code_index *index;  /* the VM's */
	struct jit_options options;
	struct kept_file kept; /* translations that were made by others */
	struct code_memory code;
	uint8_t *data; /* struct jit_block and what belongs to it */
	size_t size;   /* of both */
	struct jit_chunk {
		struct jit_block *blocks;
		uint32_t code_used, data_used; /* bytes */
		uint32_t block_count;
		bool is_tried;                 /* keep.c */
		struct jit *owner;             /* who fills it */
	} *chunks;
	unsigned chunk_count, chunk_size;
	unsigned next_chunk;            /* the one that is filled next */
	_Atomic uint64_t evictions;     /* chunks that were emptied */
	struct jit_stubs stubs;
	_Atomic bool is_shared;      /* there is more than one user */
	_Atomic bool has_programs;   /* code of ring 3 has been translated */

	/* What every CPU writes, in other cache lines than what they all read above. */
	char read_mostly_end[64];
	struct jit_lock lock;
	_Atomic uint64_t invalidations; /* blocks that went because their code changed */
	size_t page_bytes, page_limit; /* what pages take, and may */
	struct jit_numbers places;
	/* By which all code here was decoded: those of the CPU that came first. */
	struct rules_copy rules;
	bool has_rules;
	struct jit *users;           /* the CPUs' translators */

	struct jit_block *_Atomic blocks[1 << JIT_BLOCK_BITS];
	struct jit_page *_Atomic pages[1 << JIT_HASH_BITS];
	/* Executions, by all CPUs, of blocks that are not translated yet, by jit_heat_number. Counted
	 * without care: one that is lost is no harm. */
	_Atomic uint8_t heat[JIT_HEATS];
};

/* A CPU's translator. Its own thread's, but what an exclusive section of another may change. */
struct jit {
	struct cpu *cpu;
	struct jit_cache *cache;
	struct jit *next_user;
	struct jit_chunk *chunk;          /* that it fills; NULL: none */
	uint64_t hot_gpa[JIT_HOT_BLOCKS]; /* blocks to be translated in full: gpa + 1, by hash */
	const uint8_t *hot;               /* the site of a lean block that was left because it is hot */
	uint64_t epoch;                   /* of cpu->code_epoch, at the last look */
	uint32_t rules_changes;           /* of cpu's, at the last look */
	bool is_other;                    /* code means something else to this CPU than to those that the cache is for */
	struct jit_views views;
	/* The blocks of the frame's jumps; entries are empty, or lead to memory that is still theirs. */
	struct jit_block *jump_blocks[JIT_JUMP_SETS * JIT_JUMP_ENTRIES];
	bool jumps_used[JIT_JUMP_SETS];   /* not all of these are empty */
	unsigned misled, misled_many;     /* times that links led to other code: jit_links_renew */
	struct jit_place *places;       /* by the pages' index */
	/* Where translated code called the interpreter last: who empties chunks in an exclusive section
	 * leaves the one that this is in. */
	const uint8_t *site;
	struct jit_record records[JIT_RECORDS]; /* site.c */
	uint64_t records_evictions; /* cache->evictions when they were right */
	/* What the frame's vector_blocked was computed from, besides MXCSR and the control word. */
	struct jit_vector_control {
		bool is_live;
		uint32_t cr0, cr4, xcr0;
	} vector_control;
	struct jit_statistics statistics;
	/* Fallbacks by ZydisMnemonic: those without a translation, and others' slow paths. */
	uint64_t fallbacks[ZYDIS_MNEMONIC_MAX_VALUE + 1], slow_paths[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	struct jit_watcher *watcher; /* NULL: nobody watches; its `end` frees it */

	struct jit_asked asked; /* kept/asked.h */

	/* the block under construction */
	struct translation *translation; /* emit/translation.h; owned */
	/* What is not asked for of it: all that there is. */
	struct jit_bounds {
		uint64_t known; /* as struct guest_code has it */
		unsigned limit; /* likewise */
		struct emit_externals *externals; /* its code's; NULL: nobody wants to know */
	} bounds;
	/* Of its page, and of the beginning of what is behind that: what everything is translated from. */
	uint64_t snapshot[(4096 + GUEST_CODE_BEHIND) / 8];
	enum guest_crossing crossing;
	uint64_t next_gpa; /* of the page behind it, if that is known */
};

static inline struct jit *jit_of(const struct cpu *cpu)
{
	return tier_state(cpu, TIER_TRANSLATOR);
}

static inline bool jit_block_is_partner(const struct jit_block *block)
{
	return block->partner && !block->next_page_at;
}

/* Where an executable address is from the start of the cache; links and records have it so. */
static inline uint32_t jit_code_at(const struct jit_cache *cache, const uint8_t *code)
{
	return code - cache->code.executable;
}

static inline size_t jit_hash_bits(uint64_t value, unsigned bits)
{
	return (value * 0x9e3779b97f4a7c15u) >> (64 - bits);
}

static inline size_t jit_hash(uint64_t value)
{
	return jit_hash_bits(value, JIT_HASH_BITS);
}

/*
 * As jit_hash_bits, for tables that are asked for code: what runs together lies together, so the pieces of
 * 2^piece_bits bytes of each aligned run of 2^(piece_bits + near_bits) come one behind the other.
 */
static inline size_t jit_hash_near(uint64_t value, unsigned bits, unsigned piece_bits, unsigned near_bits)
{
	return jit_hash_bits(value >> (piece_bits + near_bits), bits - near_bits) << near_bits |
	       (value >> piece_bits & ((1u << near_bits) - 1));
}

/* Where a CPU has it that the block at gpa is to be made in full: gpa + 1. */
static inline uint64_t *jit_hot_block(struct jit *jit, uint64_t gpa)
{
	return &jit->hot_gpa[jit_hash(gpa) % JIT_HOT_BLOCKS];
}

/* Which counters of runs are a block's, which others may share: those of 128 bytes of code in a line of the
 * host's caches (in half a line, those of 8 bits). */
static inline size_t jit_heat_number(uint64_t gpa)
{
	return jit_hash_near(gpa, JIT_HEAT_BITS, 2, 5);
}

#endif
