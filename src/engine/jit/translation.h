/*
 * A block under translation, shared by the files that make it: classify.c decides what becomes of
 * each instruction, flags.c which flags are live, access.c, control.c and translate.c emit.
 */
#ifndef KVIK_ENGINE_JIT_TRANSLATION_H
#define KVIK_ENGINE_JIT_TRANSLATION_H

#include "engine/jit/internal.h"

/* The offset of a field from the GS base. */
#define STATE(field) ((int32_t)offsetof(struct cpu, field))

enum item_kind {
	ITEM_FALLBACK,  /* the interpreter's handler, always */
	ITEM_NOTHING,   /* no operation */
	ITEM_COPY,      /* reencode.c */
	ITEM_LEA,
	ITEM_DIVIDE,
	ITEM_PUSH, ITEM_POP, ITEM_LEAVE,
	ITEM_JUMP, ITEM_JUMP_IF, ITEM_CALL, ITEM_RETURN,
	ITEM_JUMP_INDIRECT, ITEM_CALL_INDIRECT,
};

/* A place in the block that jumps to an item's slow path, or to that of a region. */
struct slow_jump {
	size_t at;      /* position of the displacement */
	uint16_t item;  /* or JIT_BLOCK_INSNS + the region's number */
};

struct side_exit {
	size_t at;      /* position of the conditional jump's displacement */
	uint16_t item;
	int64_t target;
};

/* What earlier items have done for later ones. */
struct progress {
	bool vector_checked[JIT_VECTOR_LEVELS]; /* since the last fallback in line */
	bool segment_checked[2]; /* likewise: FS and GS of 32-bit code are flat but for the base */
	bool has_x87_page; /* fast.x87_page is stored */
};

/* A run of items whose accesses share one check: region.h. */
struct region {
	uint8_t start, end;    /* items [start, end) */
	uint8_t first;         /* the first item with an access */
	uint8_t base, index;   /* as in struct insn: what addresses the range at the start */
	int32_t displacement;  /* of its lowest byte from them; INSN_BASE_RIP: from the page */
	int32_t low, high;     /* bytes [low, high) of the accesses' common base */
	uint8_t alignment;     /* of `low` */
	uint8_t vector_levels; /* bits of enum jit_vector_level: what its items need */
	bool is_write;
	struct progress before;
};

struct translation {
	struct jit *jit;
	struct emitter e;
	bool is_32;                 /* protected or compatibility mode, flat; else 64-bit mode */
	unsigned width;             /* bytes of a stack slot and of a near pointer: 8, or 4 */
	const ZydisDecoder *decoder; /* of the guest's code */
	struct jit_block *block;
	unsigned count;             /* items */
	int32_t jumps;              /* offset of the jump table in struct cpu */
	unsigned start;             /* the block's offset in its page */
	size_t item_position[JIT_BLOCK_INSNS + 1];
	size_t resume_position[JIT_BLOCK_INSNS]; /* behind each item, where all state is the guest's */
	struct slow_jump slow[JIT_BLOCK_INSNS * 6];
	unsigned slow_count;
	struct side_exit sides[JIT_BLOCK_INSNS * 2];
	unsigned side_count;
	struct { size_t at; int64_t target; } link_jumps[JIT_BLOCK_INSNS + 2];
	unsigned link_count;
	bool failed;                /* something that has no translation after all */
	struct progress progress;
	struct region regions[JIT_BLOCK_INSNS];
	unsigned region_count;
	struct host_memory region_places[JIT_BLOCK_INSNS];
	/* Inside a region: where the items' memory operands are, proven to be accessible; base
	 * HOST_NONE: must be looked up. NULL elsewhere. */
	const struct host_memory *places;
	uint8_t scratch[2]; /* registers that emitted items may use; in a region only the first */
};

/* Where a guest register lives: a host register, or HOST_NONE for its home in struct cpu. */
static inline uint8_t host_register(unsigned guest)
{
	return guest == CPU_RSP ? HOST_R15 : guest < HOST_R13 ? guest : HOST_NONE;
}

static inline int32_t home(unsigned guest)
{
	return STATE(gpr) + (int32_t)guest * 8;
}

/* Of 32-bit code: protected or compatibility mode. */
static inline bool item_is_32(const struct jit_item *item)
{
	return item->instruction.machine_mode != ZYDIS_MACHINE_MODE_LONG_64;
}

/* -- classify.c -- */

/* What becomes of a decoded item; fills item->info for ITEM_COPY. */
enum item_kind item_classify(struct jit_item *item);
/* Whether control never reaches the instruction after this one inside the block. */
bool item_ends_block(const struct jit_item *item);
/* A general instruction that is copied; all other copied ones have a vector level. */
bool item_is_general(ZydisMnemonic mnemonic);
/* The level that a vector instruction needs, or -1 when it is none or must not be copied. */
int item_vector_level(const ZydisDecodedInstruction *instruction);
bool item_changes_vector(const struct jit_item *item);
/* Whether it loads FS or GS. */
bool item_loads_segment(const struct jit_item *item);
bool item_mixes_mmx(const struct jit_item *item);
/* Whether it becomes x87's last instruction (SDM vol. 1 §8.1.8). */
bool item_moves_x87_pointer(const struct jit_item *item);
bool item_needs_alignment(const struct jit_item *item);
/* Whether its LOCK is there, as far as one can tell, to order memory accesses. */
bool item_is_fence(const struct jit_item *item);
bool item_is_variable_shift(const struct jit_item *item);
/* How many of a set of guest registers live in struct cpu. */
unsigned guest_home_count(uint16_t registers);

/* -- flags.c -- */

/* item->flags_read and flags_killed. */
void flags_of(struct jit_item *item);
/* live_after of all items; `page_bytes` is the page's snapshot. */
void flags_liveness(struct translation *t, const uint8_t *page_bytes);
/* Whether flags that somebody reads exist while the item runs: its code must keep them. */
bool flags_cross(const struct jit_item *item);
/* The block depends on `size` bytes at this offset in the page. */
void translation_look(struct translation *t, unsigned offset, unsigned size);
/* Where a direct jump or call goes, from the start of its page. */
int64_t item_target(const struct jit_item *item);

/* -- access.c; R13 and R14 are scratch in all of these -- */

/* The jump at position `at` goes to the item's slow path. */
void emit_slow_jump(struct translation *t, size_t at, unsigned item);
/* reg = guest register, wherever it lives; its lower half in 32-bit code. */
void emit_load_guest(struct translation *t, unsigned reg, unsigned guest);
/* reg = the guest address `distance` bytes from the start of the block's page. 32 bits unless
 * `wide`. */
void emit_code_address(struct emitter *e, unsigned reg, bool wide, int64_t distance);
/* reg = effective address; with the segment's base unless `plain`. May jump to the slow path. */
void emit_address(struct translation *t, const struct jit_item *item, unsigned reg, bool plain);
/*
 * Check an access against the TLB; jumps to the item's slow path where it misses. The result is where
 * the operand is in host memory: base is R13 (then the linear address, displacement 0) or the
 * guest's base register, index R14. Flags survive where the item's are live.
 */
struct host_memory emit_operand_access(struct translation *t, unsigned index, unsigned size,
				       bool is_write, bool aligned);
/* The same for a stack slot at [base + displacement], base a host register that holds a guest's. */
struct host_memory emit_stack_access(struct translation *t, unsigned index, unsigned base,
				     int32_t displacement, bool is_write);
/* Move the guest's stack pointer. */
void emit_stack_move(struct translation *t, int32_t bytes);

/* -- translate.c -- */

/* Take the slow path unless vector instructions of this level may run. R13 is scratch. */
void emit_vector_check(struct translation *t, unsigned slow, unsigned level);
void emit_item(struct translation *t, unsigned index);

/* -- dump.c -- */

bool jit_is_dumped(void);
/* Write a finished block to the dump: guest and host instructions. */
void jit_dump_block(const struct translation *t);

/* -- control.c -- */

/* Push a guest register, or with `guest` CPU_REGISTERS the constant; commits RSP. */
void emit_push_value(struct translation *t, unsigned index, unsigned guest, uint64_t constant);
/* Jump to `target` from the instruction at `from`; both from the start of the page. */
void emit_goto(struct translation *t, unsigned from, int64_t target, bool keep_flags);
/* What stands before a block for those who come with its gva in R13: sets fast.code_page. */
void emit_entry(struct translation *t);
void emit_call(struct translation *t, unsigned index);
void emit_return(struct translation *t, unsigned index);
void emit_indirect(struct translation *t, unsigned index); /* jump or call */

#endif
