/* Shared by the translator's files: blocks, links, fallback records. */
#ifndef KVIK_ENGINE_JIT_INTERNAL_H
#define KVIK_ENGINE_JIT_INTERNAL_H

#include "engine/jit/emit.h"
#include "engine/jit/jit.h"
#include "engine/jit/reencode.h"
#include "engine/x86/cpu.h"
#include "engine/x86/insn.h"

#define JIT_BLOCK_INSNS 64 /* guest instructions in one block, at most */

/* One guest instruction that the interpreter may have to execute from inside a block. */
struct jit_record {
	struct insn insn;
	uint32_t resume;       /* where translated code goes on; 0: leave to the dispatcher */
	uint16_t offset;       /* of the instruction in its page */
	uint8_t vector_levels : 4; /* bits of enum jit_vector_level: what it needs to run as it stands */
	bool is_slow_path : 1;   /* it has a translation, which leads here now and then */
	bool changes_vector : 1; /* it may change which vector instructions may run as they stand */
	bool loads_segment : 1;  /* FS or GS */
	uint8_t segments;        /* FS and GS, as bits: what it took for flat but for the base */
};

struct jit_block;

/*
 * A direct jump out of a block. Within a page it stays linked as long as both blocks live; to another
 * page only while nothing can have changed where that is (jit_forget_jumps).
 */
struct jit_link {
	int32_t page_distance;   /* from the page that it is in to its target's */
	uint16_t offset;         /* of the target in its page */
	uint32_t patch;          /* the jump's displacement */
	uint32_t unlinked;       /* the stub that the jump goes to while it is not linked */
	struct jit_block *from;
	struct jit_block *to;    /* NULL: not linked */
	struct jit_link *next, **previous; /* in to->incoming */
	/* While linked to another page: in jit->crossing_local or _global. */
	struct jit_link *next_crossing, **previous_crossing;
};

/* Translated code depends on where it is in its page, but not on where that is mapped. */
struct jit_block {
	uint64_t gpa;
	uint32_t mode;           /* jit_mode_of */
	uint16_t guest_size;     /* bytes, all in one page */
	/* The page's granules of 64 bytes that were looked at to make it, those of the first
	 * instructions behind its jumps included. */
	uint64_t granules;
	uint16_t link_count;
	bool dead;               /* unlinked from everything; its chunk's turn frees it */
	/* `code` runs with fast.code_page set; `entry`, before it, sets that with the block's gva in
	 * R13. */
	const uint8_t *code, *entry;
	struct jit_page *page;
	struct jit_block *next_hash, *next_page, *next_in_chunk;
	struct jit_link *incoming;
	struct jit_script *script; /* lockstep.h; owned */
	struct jit_link links[];   /* then the records */
};

/* The blocks of one guest-physical page. */
struct jit_page {
	uint64_t number; /* gpa >> 12 */
	uint32_t epoch;  /* of jit->epoch: the code was last compared then */
	/* Where it is mapped, as far as jump entries and links to other pages go that lead to or from
	 * its blocks. There are none when both counts differ from those of struct jit. */
	uint64_t gva;
	bool is_global;  /* mapped so, when last looked up */
	uint64_t forgotten, forgotten_global;
	/* The bytes that blocks were made from, to notice changes by DMA; bit n of `covered` says
	 * that [64n, 64n + 64) is kept. */
	uint64_t covered;
	uint64_t copy[4096 / 8];
	struct jit_block *blocks;
	unsigned users;  /* blocks that it has, or had and whose memory is not yet used again */
	struct jit_page *next_hash;
};

#define JIT_HASH_BITS 16
#define JIT_SLOT_STUBS 8
#define JIT_STUBS_SIZE 4096 /* bytes before the first chunk */

/* A guest instruction on its way through the translator. */
struct jit_item {
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	struct insn insn;
	struct reencode_info info;
	uint16_t offset; /* in the page */
	const uint8_t *bytes;
	uint16_t flags_read, flags_killed; /* arithmetic flags, RFLAGS positions */
	uint16_t live_after;               /* flags that somebody may read after it */
	bool keeps_flags;                  /* what is inserted before it must leave flags alone */
	uint8_t kind;                      /* translate.c's */
	uint8_t vector_levels;             /* as struct jit_record's */
	bool changes_vector;               /* likewise */
	uint8_t segments;                  /* likewise */
};

struct jit {
	struct cpu *cpu;
	int memory_fd;
	uint8_t *writable, *executable; /* two mappings of the code cache */
	uint8_t *data;                  /* struct jit_block and what belongs to it */
	size_t size;                    /* of each of the three */
	struct jit_chunk {
		struct jit_block *blocks;
		uint32_t code_used, data_used; /* bytes */
	} *chunks;
	unsigned chunk_count, chunk_size;
	unsigned chunk;                 /* the one that is being filled */
	uint64_t evictions;             /* chunks that were emptied */
	/* stubs */
	void *(*enter)(const uint8_t *code); /* returns the link that was left through, or NULL */
	const uint8_t *exit, *exit_link, *fallback;
	const uint8_t *slot_fill[JIT_SLOT_STUBS]; /* slot.c */

	struct jit_block *blocks[1 << JIT_HASH_BITS];
	struct jit_page *pages[1 << JIT_HASH_BITS];
	uint8_t heat[1 << JIT_HASH_BITS]; /* executions of blocks that are not translated yet */
	uint8_t warmth;                   /* how many of them make a block worth translating */
	uint32_t epoch;                   /* of cpu->code_epoch, at the last look */
	uint64_t tlb_generation, tlb_global_generation;
	/* The entries of cpu->fast.jumps that are in use, those for global pages apart: clearing
	 * costs what was entered. */
	struct jit_jump_list {
		uint32_t used[JIT_JUMP_SETS * JIT_JUMP_ENTRIES];
		bool is_used[JIT_JUMP_SETS * JIT_JUMP_ENTRIES];
		unsigned count;
	} jumps_local, jumps_global;
	/* Linked jumps to other pages, those between two global pages apart. */
	struct jit_link *crossing_local, *crossing_global;
	uint64_t forgotten, forgotten_global; /* count calls of jit_forget_jumps */
	struct jit_block *jump_blocks[JIT_JUMP_SETS * JIT_JUMP_ENTRIES];
	struct jit_statistics statistics;
	/* Fallbacks by ZydisMnemonic: those without a translation, and others' slow paths. */
	uint64_t fallbacks[ZYDIS_MNEMONIC_MAX_VALUE + 1], slow_paths[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	struct jit_lockstep *lockstep; /* NULL: not in that mode */

	/* the block under construction */
	struct jit_item items[JIT_BLOCK_INSNS * 2]; /* the second half: models, region.c */
	uint64_t snapshot[4096 / 8]; /* of its page: what everything is translated from */
};

/* stubs.c: generate the code that enters, leaves and falls back. */
void jit_build_stubs(struct jit *jit);
/* slot.c: those that fill page slots. */
void jit_build_slot_stubs(struct jit *jit, struct emitter *e);
/* run.c: called by the fallback stub. */
const uint8_t *jit_execute_fallback(struct cpu *cpu, struct jit_record *record);

/*
 * translate.c: translate the block at gpa from jit->snapshot. NULL: it cannot be translated, or the
 * cache is full (*full).
 */
struct jit_block *jit_translate(struct jit *jit, uint64_t gpa, bool *full);

/* features.c: whether the host's CPU has the instruction at all. */
bool jit_host_has(const ZydisDecodedInstruction *instruction);

/* chunk.c */
int jit_chunks_create(struct jit *jit, size_t size); /* 0, -EINVAL, -ENOMEM, or another -errno */
void jit_chunks_destroy(struct jit *jit);
/* Go on in the next chunk; what was in it goes. */
void jit_chunk_next(struct jit *jit);
/* The rest of the present chunk. */
void jit_chunk_emitter(const struct jit *jit, struct emitter *e);
/* Room for a block of `size` bytes with its links and records, which is not taken yet; or NULL. */
struct jit_block *jit_chunk_room(const struct jit *jit, size_t size);
/* Take it, and `code_size` bytes that were emitted. */
void jit_chunk_add(struct jit *jit, struct jit_block *block, size_t size, size_t code_size);

/* cache.c */
struct jit_page *jit_page_find(struct jit *jit, uint64_t gpa); /* NULL: has no blocks */
struct jit_block *jit_block_find(struct jit *jit, uint64_t gpa, uint32_t mode);
/* A block that was translated from jit->snapshot. 0, -ENOMEM, or -EAGAIN: the page has changed. */
int jit_block_insert(struct jit *jit, struct jit_block *block);
/* Compare what is kept of the page with `bytes`, its host address; blocks that differ go. */
void jit_page_verify(struct jit *jit, struct jit_page *page, const uint8_t *bytes);
void jit_page_mapped(struct cpu *cpu, uint64_t gpa);
/* Unlink the block from everything. */
void jit_block_remove(struct jit *jit, struct jit_block *block);
/* The memory of one of its blocks is about to be used again. */
void jit_page_release(struct jit *jit, struct jit_page *page);
void jit_link_to(struct jit *jit, struct jit_link *link, struct jit_block *to);
void jit_init_jumps(struct jit *jit);
/* Forget what leads by address, or from another page, to code in local pages, or in all. */
void jit_forget_jumps(struct jit *jit, bool global_too);
/* The block was found at gva: let jumps there find it, too. What was made while its page was mapped
 * elsewhere goes. */
void jit_enter_jump(struct jit *jit, struct jit_block *block, uint64_t gva, bool is_global);
/* The block that a jump to gva would find, or NULL. */
struct jit_block *jit_find_jump(struct jit *jit, unsigned set, uint64_t gva);
/* struct cpu_translator's */
void jit_invalidate(struct cpu *cpu, uint64_t gpa, uint64_t size);
void jit_invalidate_all(struct cpu *cpu);

static inline bool jit_mode_is_64(uint32_t mode)
{
	return (mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64;
}

#define JIT_MODE_USER (1u << 16)

/* What code means now, and whether it is the user's: what may be fetched depends on that. */
static inline uint32_t jit_mode_of(const struct cpu *cpu)
{
	return cpu->mode | (cpu->cpl == 3 ? JIT_MODE_USER : 0);
}

/* The jump table for a mode. */
static inline unsigned jit_jump_set(uint32_t mode)
{
	return (mode & JIT_MODE_USER ? 1 : 0) + (jit_mode_is_64(mode) ? 0 : 2);
}

/* Where an executable address is from the start of the cache; links and records have it so. */
static inline uint32_t jit_code_at(const struct jit *jit, const uint8_t *code)
{
	return code - jit->executable;
}

static inline size_t jit_hash(uint64_t value)
{
	return (value * 0x9e3779b97f4a7c15u) >> (64 - JIT_HASH_BITS);
}

#endif
