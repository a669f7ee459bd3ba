/* Shared by the translator's files: blocks, links, sites. */
#ifndef KVIK_ENGINE_RUN_JIT_INTERNAL_H
#define KVIK_ENGINE_RUN_JIT_INTERNAL_H

#include "engine/run/jit/analyse/guest_code.h"
#include "engine/run/jit/cache/lock.h"
#include "engine/run/jit/cache/view.h"
#include "engine/run/jit/emit/stubs.h"
#include "engine/run/jit/jit.h"
#include "engine/run/jit/kept/asked.h"
#include "engine/run/jit/kept/file.h"
#include "engine/run/jit/frame.h"
#include "engine/run/jit/mode.h"
#include "engine/run/jit/watch.h"
#include "engine/run/tier/code_index.h"
#include "engine/run/tier/tier.h"
#include "engine/x86/decode/insn.h"
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
struct emitter;
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
#define JIT_PAIRS_SIZE (16 << 10) /* bytes of the thread's stack for pairs: return.c */

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

	/* What every CPU writes, in other cache lines than what they all read above. */
	char read_mostly_end[64];
	struct jit_lock lock;
	_Atomic uint64_t invalidations; /* blocks that went because their code changed */
	size_t page_bytes, page_limit; /* what pages take, and may */
	struct jit_numbers places;
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

/* run.c: struct tier's, and what the fallback stub calls. */
void jit_enter(struct cpu *cpu);
enum tier_stop jit_run(struct cpu *cpu);
jit_fallback jit_execute_fallback;

/* observe.c: struct tier's. */
void jit_slots_init(struct cpu *cpu);
void jit_tlb_changed(struct cpu *cpu, enum tlb_change change, uint64_t where);
void jit_access_changed(struct cpu *cpu);
void jit_fetch_mapped(struct cpu *cpu, uint64_t gpa);

struct jit_item;

/* script.c: for a watched block; NULL when there is nothing to keep, or no memory. For free(). */
struct jit_script *jit_script_create(const struct jit_item *items, unsigned count);

/* counters.c: struct tier's. */
void jit_visit_counters(const struct cpu *cpu, tier_visitor *visit, void *context);

/* Where a CPU has it that the block at gpa is to be made in full: gpa + 1. */
static inline uint64_t *jit_hot_block(struct jit *jit, uint64_t gpa);

/* translate.c: room for one block under construction, for free(); NULL without memory. */
struct translation *jit_translation_create(void);
/*
 * translate.c: translate the block at gpa from jit->snapshot, with little effort if it is to be lean. NULL:
 * it cannot be translated, or its chunk is full (*full).
 */
struct jit_block *jit_translate(struct jit *jit, uint64_t gpa, bool is_lean, bool *full);

/* kept/take.c */
/*
 * The block at gpa, whose host address is `bytes`, from those that are kept, if the page holds the bytes that
 * one was made from; copied to jit->snapshot then. NULL: there is none, or its chunk is full (*full).
 */
struct jit_block *jit_take_kept(struct jit *jit, uint64_t gpa, const uint8_t *bytes, bool is_lean, bool *full);

/* kept/ask.c */
/* Ask for the block that was just translated to be kept. */
void jit_ask(struct jit *jit, const struct jit_block *block, bool is_lean);
/* Say that the record that a bucket of the file names was good. */
void jit_ask_used(struct jit *jit, uint32_t bucket);
/* Send what was asked for. */
void jit_ask_flush(struct jit *jit);
/* Whether the VM is one whose translations are kept: they are alike in all but a struct kept_environment. */
static inline bool jit_is_keeping(const struct jit *jit)
{
	const struct jit_options *options = &jit->cache->options;

	return (jit->cache->kept.bytes || options->kept_requests_fd >= 0) && !jit->watcher &&
	       !options->keeps_all_flags && options->promotion == JIT_PROMOTION;
}
/* The environment of this CPU's translations, as it is now. */
void jit_environment(const struct jit *jit, struct kept_environment *environment);

/* dump.c: write a finished block to options.dump_fd: guest and host instructions. */
void jit_dump_block(const struct jit *jit, const struct translation *t);

/* numbers.c */
int jit_numbers_create(struct jit_numbers *numbers, unsigned limit); /* 0 or -ENOMEM */
void jit_numbers_destroy(struct jit_numbers *numbers);
bool jit_number_take(struct jit_numbers *numbers, uint32_t *number); /* false: there are no more */
void jit_number_return(struct jit_numbers *numbers, uint32_t number);

/* chunk.c */
int jit_chunks_create(struct jit_cache *cache, size_t size); /* 0, -EINVAL, -ENOMEM, or another -errno */
void jit_chunks_destroy(struct jit_cache *cache);
/* Go on in another chunk; what was in it goes. jit->chunk, NULL when there is none to be had now. */
void jit_chunk_next(struct jit *jit);
/* The rest of jit->chunk. */
void jit_chunk_emitter(const struct jit *jit, struct emitter *e);
/* Room for a block of `size` bytes with its links and records, which is not taken yet; or NULL. */
struct jit_block *jit_chunk_room(const struct jit *jit, size_t size);
/* Take it, and `code_size` bytes that were emitted. */
void jit_chunk_add(struct jit *jit, struct jit_block *block, size_t size, size_t code_size);
/* With the lock held: the block, dead or not, that has the code at this executable address; NULL: none. */
struct jit_block *jit_block_at(struct jit_cache *cache, const uint8_t *code);

/* site.c */
/*
 * The instruction of the site that would return to `at`, with the page's address in frame.code_page.
 * NULL, with cpu->rip set to the instruction: its bytes are no longer known.
 */
const struct jit_record *jit_record_find(struct jit *jit, const uint8_t *at);

/* page.c; without the lock, by a CPU that runs */
struct jit_page *jit_page_find(struct jit_cache *cache, uint64_t gpa); /* NULL: has no blocks */
/* The others with the lock held. */
struct jit_page *jit_page_create(struct jit_cache *cache, uint64_t gpa); /* NULL: no room */
/* The memory of one of its blocks is about to be used again. */
void jit_page_release(struct jit_cache *cache, struct jit_page *page);
/* Keep these granules of the snapshot. 0; -EAGAIN: some are kept, and were others; -ENOSPC, -ENOMEM. */
int jit_page_cover(struct jit_cache *cache, struct jit_page *page, uint64_t granules,
		   const void *snapshot);
/* The bytes from `offset` on that are kept without a gap, `size` at most: how many there are. */
unsigned jit_page_bytes(const struct jit_page *page, unsigned offset, uint8_t *bytes, unsigned size);
/* Keep these no longer. */
void jit_page_uncover(struct jit_page *page, uint64_t granules);
/* Compare what is kept of the page with `bytes`, its host address: the granules that differ. What is
 * added meanwhile is seen by this, or resets the place after it. */
uint64_t jit_page_compare(struct jit *jit, struct jit_page *page, const uint8_t *bytes);

/* cache.c; without the lock, by a CPU that runs */
struct jit_block *jit_block_find(struct jit_cache *cache, uint64_t gpa, uint32_t mode);
/* The others with the lock held, unless they say otherwise. */
/* A block that was translated from jit->snapshot: it goes with its code from now on. 0, -EEXIST, or
 * an error of jit_page_cover. */
int jit_block_insert(struct jit *jit, struct jit_block *block);
/* Stores to the block's code are noticed from now on; those before show when its page is compared. */
void jit_block_marked(struct jit_cache *cache, struct jit_block *block);
/* Drop what was made from these granules of gpa's page. Without the lock; begins an exclusive
 * section: addresses of code and guest memory may be others afterwards. */
void jit_page_drop(struct jit *jit, uint64_t gpa, uint64_t granules);
/* Unlink the block from everything, in an exclusive section. */
void jit_block_remove(struct jit_cache *cache, struct jit_block *block);
/*
 * Another block is to take this one's place, which is right, and which CPUs may execute at this moment: no
 * exclusive section. It is no longer found nor linked to, and removed when its code changes or its chunk's
 * turn comes. Until then CPUs come to it by their own tables of jumps.
 */
void jit_block_retire(struct jit_cache *cache, struct jit_block *block);
/* All other CPUs leave the code that they are in. In an exclusive section. */
void jit_stop_blocks(struct jit_cache *cache);
/* struct code_holder's; without the lock */
bool jit_drop(struct code_holder *holder, uint64_t gpa, uint64_t last);

/* jump.c */
void jit_jumps_init(struct jit *jit);
/* Link a jump that was just left through to the block that was found. Whether it could be. */
bool jit_link_to(struct jit *jit, struct jit_link *link, struct jit_block *to);
/* A jump to gva, where `to` is and is known to be, led to another block. When that has come to cost
 * something, links that do so are broken. */
void jit_links_renew(struct jit *jit, const struct jit_block *to, uint64_t gva);
/* With the lock held: undo the links that lead to a block. */
void jit_links_avoid(struct jit_cache *cache, struct jit_block *block);
/* Likewise, and those that lead from it. */
void jit_links_break(struct jit_cache *cache, struct jit_block *block);
/* With the lock held, in an exclusive section: undo what leads to a block, or from it. */
void jit_block_unlink(struct jit_cache *cache, struct jit_block *block);
/* Likewise: [from, to) of the code is about to be used again. */
void jit_jumps_forget(struct jit_cache *cache, const uint8_t *from, const uint8_t *to);
/* The block was found at gva: let jumps there find it, too. */
void jit_enter_jump(struct jit *jit, struct jit_block *block, uint64_t gva, bool is_global);
/* The block that a jump to gva would find, or NULL. */
struct jit_block *jit_find_jump(struct jit *jit, unsigned set, uint64_t gva);
/* The entry that it would try. */
const uint8_t *jit_find_entry(const struct jit *jit, unsigned set, uint64_t gva);

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
