/*
 * A guest instruction of a block under translation, and what is found out about it: what becomes of it
 * (classify.c), which flags it touches and which are live behind it (flags.c).
 */
#ifndef KVIK_ENGINE_RUN_JIT_ANALYSE_ITEM_H
#define KVIK_ENGINE_RUN_JIT_ANALYSE_ITEM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/run/jit/vector_level.h"
#include "engine/x86/cpu.h"
#include "engine/x86/decode/insn.h"

#define JIT_BLOCK_INSNS 64 /* guest instructions in one block, at most */

enum item_kind {
	ITEM_FALLBACK,  /* the interpreter's handler, always */
	ITEM_NOTHING,   /* no operation */
	ITEM_COPY,      /* as it stands, with registers renamed */
	ITEM_LEA,
	ITEM_DIVIDE,
	ITEM_PUSH, ITEM_PUSH_MEMORY, ITEM_PUSH_FLAGS, ITEM_POP, ITEM_POP_FLAGS, ITEM_LEAVE,
	ITEM_JUMP, ITEM_JUMP_IF, ITEM_JUMP_COUNT /* JRCXZ, LOOP */, ITEM_CALL, ITEM_RETURN,
	ITEM_JUMP_INDIRECT, ITEM_CALL_INDIRECT,
	/* what changes or reads a few fields of struct cpu */
	ITEM_CLI, ITEM_STI, ITEM_CLD, ITEM_STD, ITEM_CLAC, ITEM_STAC, ITEM_SWAPGS, ITEM_RDTSC,
	ITEM_RDTSCP, ITEM_READ_BASE, ITEM_WRITE_BASE, ITEM_READ_SELECTOR,
	ITEM_LOAD_MXCSR,
	ITEM_FENCE,     /* nothing but the order of memory accesses */
	ITEM_STRING,    /* REP MOVS, REP STOS, REPE and REPNE SCAS */
	ITEM_NEXT_PAGE, /* no instruction: whether the next page, which that behind this reaches into, is
	                 * the one that it was decoded from; if not, the last tier executes it */
};

/* A guest instruction on its way through the translator. */
struct jit_item {
	struct insn insn;
	struct insn_form form;
	uint16_t offset; /* in the page */
	const uint8_t *bytes;
	uint16_t flags_read, flags_killed; /* arithmetic flags, RFLAGS positions */
	uint16_t live_after;               /* flags that somebody may read after it */
	uint16_t live_taken;               /* of a conditional jump: at its target alone */
	bool keeps_flags;                  /* what is inserted before it must leave flags alone */
	uint8_t kind;                      /* enum item_kind */
	uint8_t vector_levels;             /* bits of enum jit_vector_level: what it needs */
	bool locks;                        /* item_locks */
	uint8_t segments; /* FS and GS, as bits: what it takes for flat but for the base */
};

/* Of 32-bit code: protected or compatibility mode. */
static inline bool item_is_32(const struct jit_item *item)
{
	return item->form.is_32;
}

/* -- classify.c -- */

/* What becomes of a decoded item. */
enum item_kind item_classify(const struct jit_item *item, bool is_user);
/* Whether control never reaches the instruction after this one inside the block. */
bool item_ends_block(const struct jit_item *item);
/* Whether it goes elsewhere or on, by flags or by RCX. */
static inline bool item_is_conditional(const struct jit_item *item)
{
	return item->kind == ITEM_JUMP_IF || item->kind == ITEM_JUMP_COUNT;
}
/* Whether it loads FS or GS. */
bool insn_loads_segment(const struct insn *insn);
bool item_needs_alignment(const struct jit_item *item);
bool item_locks(const struct jit_item *item, bool is_alone);
/* Whether its LOCK is there, as far as one can tell, to order memory accesses. */
bool item_is_fence(const struct jit_item *item);
/* The levels that a copied item needs: bits of enum jit_vector_level. */
uint8_t item_vector_levels(const struct jit_item *item);
/* BT, BTS, BTR or BTC in memory by a register: what it accesses may be far from its operand. */
bool item_is_bit_string(const struct jit_item *item);
/* Whether it is ADD, OR, AND or XOR of a register, 32 or 64 bits, to memory. */
bool item_is_update(const struct jit_item *item);
/* How many cycles it takes at worst, about, memory apart. */
unsigned item_cycles(const struct jit_item *item);
/* -- flags.c -- */

/* item->flags_read and flags_killed; with `keeps_all`, see struct jit_options. */
void flags_of(struct jit_item *item, bool keeps_all);
/* The flags that exist before an item and that it, or somebody behind it, reads. */
uint16_t flags_needed(const struct jit_item *item);
/* Where a direct jump or call goes, from the start of its page. */
int64_t item_target(const struct jit_item *item);
/* Whether it is a jump to this offset in its page. */
bool item_jumps_to(const struct jit_item *item, unsigned offset);

#endif
