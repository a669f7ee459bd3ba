/*
 * Decoded instructions.
 *
 * Zydis decodes each instruction once; decode.c turns its answer into this compact form, which
 * carries the handler that executes it. What an instruction is stands in one place, its row in an
 * `isa_*` table of the file that implements it: mnemonic, how it is bound to a handler. Flags read
 * and written and operand actions come from Zydis's own tables.
 */
#ifndef KVIK_ENGINE_X86_INSN_H
#define KVIK_ENGINE_X86_INSN_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/x86/decode/insn_rules.h"

struct cpu;
struct insn;

/*
 * Execute one instruction. On entry cpu->rip is the instruction's address, cpu->next_rip the next
 * one's, cpu->insn == insn. Raises by unwinding (exception.h).
 */
typedef void insn_handler(struct cpu *cpu, const struct insn *insn);

/* Indexes past the general registers in struct cpu, so that mem_offset adds without a branch. */
#define INSN_BASE_RIP      17 /* cpu->next_rip */
#define INSN_REGISTER_NONE 18 /* cpu->zero */

enum insn_operand {
	INSN_OPERAND_NONE,
	INSN_OPERAND_REGISTER,  /* general register: reg[] is its byte offset in cpu->gpr */
	INSN_OPERAND_MEMORY,    /* segment, base, index, scale, displacement */
	INSN_OPERAND_IMMEDIATE, /* immediate */
	INSN_OPERAND_RELATIVE,  /* immediate: signed displacement from next_rip */
	INSN_OPERAND_FAR,       /* immediate: offset; immediate2: selector */
	INSN_OPERAND_SEGMENT,   /* reg[]: enum cpu_segment */
	INSN_OPERAND_CONTROL,   /* reg[]: CR number */
	INSN_OPERAND_DEBUG,     /* reg[]: DR number */
	INSN_OPERAND_VECTOR,    /* reg[]: XMM/YMM/ZMM number */
	INSN_OPERAND_X87,       /* reg[]: ST(i) */
	INSN_OPERAND_MMX,
	INSN_OPERAND_MASK,      /* reg[]: k0..k7 */
};

enum insn_prefix {
	INSN_LOCK = 1 << 0,
	INSN_REP = 1 << 1,   /* F3 as REP/REPE */
	INSN_REPNE = 1 << 2, /* F2 as REPNE */
};

#define INSN_OPERANDS 4

struct insn {
	insn_handler *execute;
	insn_handler *execute_flagless; /* replaces execute where the flags written are dead; or NULL */
	int64_t immediate;     /* sign-extended as the instruction does */
	void *thunk;           /* code for the host's FPU, see thunk.h; NULL otherwise */
	int64_t displacement;  /* of the memory operand; 64 bits for MOV moffs */
	uint16_t immediate2;   /* far selector; ENTER's nesting level; second immediate byte */
	uint16_t mnemonic;     /* ZydisMnemonic */
	uint8_t length;        /* bytes */
	uint8_t operand_size;  /* bytes of the operation: 1, 2, 4, 8 (general instructions) */
	uint8_t address_size;  /* bytes: 2, 4, 8 */
	uint8_t stack_width;   /* bytes moved by one push or pop: 2, 4, 8 */
	uint8_t prefixes;      /* enum insn_prefix */
	uint8_t segment;       /* enum cpu_segment of the memory operand, override applied */
	uint8_t base, index;   /* general register number, INSN_REGISTER_NONE, INSN_BASE_RIP */
	uint8_t scale;         /* shift: 0..3 */
	uint8_t memory_size;   /* bytes of the memory operand, 0 when none or > 255 */
	uint8_t flags_live;    /* whether the arithmetic flags it writes may be read later */
	uint8_t kind[INSN_OPERANDS]; /* enum insn_operand, the visible operands in Intel order */
	uint8_t reg[INSN_OPERANDS];  /* by kind */
	uint8_t ends_block;    /* the block ends after it: branches, mode changes, serialization */
};

/* What a binder may look at besides the filled-in insn. */
struct decoded {
	const ZydisDecodedInstruction *instruction;
	const ZydisDecodedOperand *operands;
	const uint8_t *bytes; /* instruction->length of them */
	uint32_t mode;        /* enum cpu_mode */
	const struct insn_rules *rules;
};

/*
 * A row: how a mnemonic becomes a handler. `bind` picks the handler for the operands at hand (and
 * may set further fields, also ends_block), or returns NULL for #UD. Where every form has the same
 * handler, `execute` is set and bind is NULL. `argument` is the binder's own (an operation number).
 */
struct isa_row {
	uint16_t mnemonic; /* ZydisMnemonic */
	uint8_t ends_block;
	uint8_t argument;
	insn_handler *execute;
	insn_handler *(*bind)(struct insn *insn, const struct decoded *decoded,
			      const struct isa_row *row);
};

/* The tables, each in the file(s) of its chapter; joined by isa.c into one index by mnemonic. */
struct isa_table {
	const struct isa_row *rows;
	size_t count;
};
extern const struct isa_table isa_arithmetic, isa_logic, isa_shift, isa_bit, isa_move, isa_string,
	isa_branch, isa_flag, isa_stack;              /* general instructions */
extern const struct isa_table isa_far, isa_segment, isa_system, isa_io, isa_msr; /* system */
/* x87, MMX, SSE, AVX, AVX-512: everything of these ISA sets goes through thunks; XSAVE family. */
extern const struct isa_table isa_fpu;
insn_handler *fpu_bind(struct insn *insn, const struct decoded *decoded);

/* The host address of a general-register operand (little-endian, so any size reads its low bytes). */
#define INSN_GPR(cpu, insn, n) ((void *)((uint8_t *)(cpu)->gpr + (insn)->reg[n]))

/* The row of a mnemonic, or NULL. */
const struct isa_row *isa_find(uint16_t mnemonic);

/*
 * Decode the instruction at bytes[0..size) for `mode` (enum cpu_mode) and the CPU's rules. Returns
 * 0 with *insn filled (an invalid instruction gets the handler that raises #UD), -ENODATA when more
 * than `size` bytes are needed, or -E2BIG when it is longer than 15 bytes (#GP).
 */
int insn_decode(struct insn *insn, const uint8_t *bytes, size_t size, uint32_t mode,
                const struct insn_rules *rules);

#endif
