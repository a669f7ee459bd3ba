/*
 * The guest code of a block under translation: its instructions, and what of their page was looked
 * at to make them.
 */
#ifndef KVIK_ENGINE_RUN_JIT_ANALYSE_GUEST_CODE_H
#define KVIK_ENGINE_RUN_JIT_ANALYSE_GUEST_CODE_H

#include "engine/run/jit/analyse/item.h"
#include "engine/x86/decode/insn_rules.h"

/* What is to become of an instruction that reaches into the next page. */
enum guest_crossing {
	CROSSING_ELSEWHERE, /* the last tier looks at that page each time */
	CROSSING_LATER,     /* what is there is not known now: nothing */
	CROSSING_KNOWN,     /* it is a block of its own, which is good while the same page is there */
};

#define GUEST_CODE_BEHIND 64 /* bytes of the next page */
#define GUEST_CODE_LOOKS  6

/* Bytes of the page that were looked at. */
struct guest_look {
	uint16_t offset, size;
};

struct guest_code {
	/* Given: */
	struct cpu *cpu;      /* who knows what it has decoded already; not asked for its state */
	const uint8_t *page;  /* a copy of its page; where the next one is known, with its first bytes behind it */
	enum guest_crossing crossing;
	uint64_t page_gpa;
	uint64_t page_gva;    /* where that is mapped this time; nothing but the mode's edge depends on it */
	unsigned start;       /* its offset in the page */
	uint32_t mode;        /* jit_mode_of */
	const struct insn_rules *rules;
	bool is_alone;        /* the CPU is the VM's only one, and devices need no LOCK */
	bool is_one_pass;     /* nothing is linked or paired: watch.h */
	bool keeps_all_flags; /* as struct jit_options' */
	bool is_lean;         /* no further than the last tier has come, if that has been here at all */
	uint64_t known;       /* granules of the page whose bytes are known: others are not looked at */
	unsigned limit;       /* items, JIT_BLOCK_INSNS at most */
	/* Found: */
	bool is_32;           /* protected or compatibility mode, flat; else 64-bit mode */
	bool is_user;         /* code of CPL 3 */
	bool is_guided;       /* lean, and the last tier has been here: what it has not decoded is cold */
	bool ends_unguided;   /* ends because what is behind it is cold */
	unsigned width;       /* bytes of a stack slot and of a near pointer: 8, or 4 */
	unsigned count;       /* items */
	unsigned size;        /* bytes */
	uint64_t granules;    /* of 64 bytes, of the page: what the block depends on */
	struct guest_look looks[GUEST_CODE_LOOKS]; /* the same to the byte, but for the next page */
	unsigned look_count;  /* more than GUEST_CODE_LOOKS: not all are there */
	/* Room for two blocks; the second half is for models of accesses (emit/). Behind `count` they
	 * are anything. */
	struct jit_item *items;
};

/* decode.c: decode and classify; false: there is no instruction that can be. */
bool guest_code_decode(struct guest_code *code);
/* Leave off the items from `count` on. */
void guest_code_cut(struct guest_code *code, unsigned count);
/* Whether `size` bytes at this offset are known. */
bool guest_code_knows(const struct guest_code *code, unsigned offset, unsigned size);
/* The block depends on `size` bytes at this offset in the page. */
void guest_code_look(struct guest_code *code, unsigned offset, unsigned size);
/* flags.c: live_after of all items. */
void flags_liveness(struct guest_code *code);

#endif
