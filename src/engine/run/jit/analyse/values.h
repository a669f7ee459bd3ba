/*
 * What a block's instructions do to addresses: each general register is a number that nobody knows
 * (a symbol) plus a constant. MOV copies both, ADD, SUB, INC, DEC, LEA, PUSH and POP with constants
 * change the constant only, and everything else makes a new symbol. So two accesses with the same
 * symbols are a constant distance apart.
 */
#ifndef KVIK_ENGINE_RUN_JIT_ANALYSE_VALUES_H
#define KVIK_ENGINE_RUN_JIT_ANALYSE_VALUES_H

#include "engine/run/jit/analyse/item.h"

#define VALUE_NONE 0xffff /* no register */
#define VALUE_RIP  0xfffe /* the start of the code's page */

struct value {
	uint16_t symbol;
	int32_t offset;
};

struct values {
	struct value reg[CPU_REGISTERS];
	uint16_t symbols; /* the next new one */
};

/* The bytes that one instruction accesses: base + (index << shift) + offset in a segment. */
struct span {
	bool is_known;          /* false: no access, or none that can be described so */
	uint16_t base, index;   /* symbols or VALUE_NONE */
	uint8_t shift;
	uint8_t segment;        /* CPU_FS, CPU_GS, or CPU_DS for all without a base */
	int32_t offset;
	uint8_t size;           /* bytes */
	uint8_t alignment;      /* bytes that it must be a multiple of; 1: anything goes */
	bool is_write;
};

/* The bytes of several accesses off one base. */
struct access_range {
	int32_t low, high;  /* [low, high) */
	uint8_t alignment;  /* of `low` */
	bool is_write;
};

/* At the start of a block the symbol of register n is n. */
void values_begin(struct values *values);
/* `values` before the instruction become those behind it. */
void values_step(struct values *values, const struct jit_item *item);
/* The access of an instruction, with the values before it. */
struct span item_span(const struct jit_item *item, const struct values *values);
bool item_has_access(const struct jit_item *item);
/* Whether two accesses are a constant distance apart. */
bool span_same_base(const struct span *a, const struct span *b);
struct access_range range_of(const struct span *span);
/* Let the range cover one more access; false (and unchanged) when that can't be. */
bool range_join(struct access_range *range, const struct span *span, int32_t size_max);

#endif
