/*
 * Decoded instructions.
 *
 * Zydis decodes each instruction once; decode.c turns its answer into this compact form, which
 * carries the handler that executes it. What an instruction is stands in one place, its row in an
 * `isa_*` table of the file that implements it: mnemonic, how it is bound to a handler, and what is
 * true of it (traits, class, operation). Rows are for what Zydis does not tell: flags read and
 * written and operand actions come from its own tables. Vector instructions need a row only where
 * they are unlike the others of their extension (isa_set.h).
 *
 * Interpreter and translator read the same facts, which are filled in once: what the interpreter's
 * block builder looks at is in struct insn, what only who copies an instruction asks for in struct
 * insn_form, so that the handlers' loop has less to load.
 */
#ifndef KVIK_ENGINE_X86_DECODE_INSN_H
#define KVIK_ENGINE_X86_DECODE_INSN_H

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

/*
 * What the translator makes of an instruction, where its operands and the mode allow that; where they
 * do not, its handler is called.
 */
enum insn_class {
	INSN_HANDLED,  /* the handler, always */
	INSN_NOTHING,  /* no operation, whatever the operands */
	INSN_COPIED,   /* a general instruction that the host's CPU executes as it stands */
	INSN_VECTOR,   /* likewise, where the vector state allows it (insn_form.vector_levels) */
	INSN_SELECTOR_READ, /* MOV from a segment register */
	INSN_LEA,
	INSN_DIVIDED, INSN_DIVIDED_SIGNED,
	INSN_PUSHED, INSN_FLAGS_PUSHED, INSN_POPPED, INSN_FLAGS_POPPED, INSN_LEFT,
	INSN_JUMP, INSN_JUMP_IF, INSN_JUMP_COUNT /* by RCX */, INSN_CALL, INSN_RETURN,
	INSN_STRING_COPY, INSN_STRING_FILL, INSN_STRING_SCAN,
	INSN_CLI, INSN_STI, INSN_CLD, INSN_STD, INSN_CLAC, INSN_STAC, INSN_SWAPGS,
	INSN_RDTSC, INSN_RDTSCP,
	INSN_SERIALIZE, INSN_MXCSR_LOADED,
	INSN_READ_FS_BASE, INSN_READ_GS_BASE, INSN_WRITE_FS_BASE, INSN_WRITE_GS_BASE,
};

/* What it computes, for who follows values or makes flags again. */
enum insn_operation {
	INSN_COMPUTES, /* anything else */
	INSN_MOVES, INSN_ADDS, INSN_SUBTRACTS, INSN_INCREMENTS, INSN_DECREMENTS, INSN_COMPARES,
	INSN_TESTS, INSN_AND, INSN_OR, INSN_XOR,
};

/* OF, SF, ZF, AF, PF, CF in RFLAGS. */
#define FLAGS_ARITHMETIC 0x8d5u

enum insn_trait {
	/* -- in rows -- */
	INSN_SHIFTS = 1 << 0,       /* by a count: with 0 the flags stay */
	INSN_KEEPS_RESULT = 1 << 1, /* BSF, BSR: with a source of 0, as processors have it */
	INSN_BIT_STRING = 1 << 2,   /* BT and its like: a register's offset may lead far away */
	INSN_LOADS_SEGMENT = 1 << 3, /* its first operand, which may be FS or GS */
	INSN_LOADS_FS_GS = 1 << 4,  /* always */
	INSN_SLOW = 1 << 5,         /* some 30 cycles: divisions, roots */
	INSN_UNALIGNED = 1 << 6,    /* of legacy encoding, and its operand may lie anywhere */
	INSN_ALIGNED = 1 << 7,      /* of VEX or EVEX, and it may not (SDM vol. 1 §14.9) */
	INSN_X87_CONTROL = 1 << 8,  /* does not become x87's last instruction (SDM vol. 1 §8.1.8) */
	INSN_UNMASKS = 1 << 9,      /* may unmask floating-point exceptions */
	INSN_ALL_VECTORS = 1 << 10, /* changes all vector registers that the mode has */
	INSN_W_IS_SIZE = 1 << 11,   /* W of VEX or EVEX is the size of a general operand: 64-bit mode's */
	INSN_IOPL = 1 << 12,        /* needs CPL 0, or an IOPL that allows it */
	INSN_RING0 = 1 << 13,       /* needs CPL 0 */
	INSN_LOCKS = 1 << 14,       /* with memory it is locked, with LOCK or without */
	INSN_ALL_FLAGS = 1 << 15,   /* reads or writes more of RFLAGS than FLAGS_ARITHMETIC */
	INSN_VECTOR_STATE = 1 << 16, /* of SSE's or AVX's state, though no such register is its operand; */
	INSN_MMX_STATE = 1 << 17,   /* likewise of MMX's */
	/* Of a vector instruction's memory operand: bytes of an element, or of what one bit of the opmask
	 * guards, where Zydis has something else; */
	INSN_ELEMENTS_4 = 1 << 18, INSN_ELEMENTS_8 = 1 << 19,
	INSN_PACKED = 1 << 20,      /* the active ones lie side by side; */
	INSN_READS_MASKED = 1 << 21, /* masked-out ones are read, too, though Zydis's exception class has them not; */
	INSN_NEVER_MISALIGNED = 1 << 22, /* and it must be aligned whatever MXCSR.MM says (APM vol. 1 §4.6.2) */
	/* In ring 3 of the host it would tell what is the host's, or do what the guest's kernel cannot see,
	 * without a trap (run/direct): always, or in 32-bit code alone. Those of a segment register: FS, GS. */
	INSN_TELLS_HOST = 1 << 23, INSN_TELLS_HOST_32 = 1 << 24,
	/* -- found when it is decoded -- */
	INSN_MAY_FAULT = 1 << 25,   /* or may look at all of the CPU's state */
	INSN_WRITES_MEMORY = 1 << 26,
	INSN_FAR = 1 << 27,
	INSN_BRANCHES = 1 << 28,
	INSN_PLAIN = 1 << 29,       /* goes on behind itself and touches no flags but those named here */
	INSN_FLAGLESS = 1 << 30,    /* `execute` is the form for dead flags */
};

#define INSN_TRAITS_OF_ROWS 0x1ffffffu

_Static_assert(!(INSN_TRAITS_OF_ROWS & INSN_MAY_FAULT), "what is found is no row's");

#define INSN_OPERANDS 4

struct insn {
	insn_handler *execute;
	int64_t immediate;     /* sign-extended as the instruction does */
	void *thunk;           /* code for the host's FPU, see thunk.h; NULL otherwise */
	int64_t displacement;  /* of the memory operand; 64 bits for MOV moffs */
	uint16_t immediate2;   /* far selector; ENTER's nesting level; second immediate byte */
	uint16_t mnemonic;     /* ZydisMnemonic */
	uint32_t traits;       /* enum insn_trait */
	uint16_t flags_read;   /* arithmetic flags, RFLAGS positions: what it looks at, */
	uint16_t flags_written; /* and what it changes, leaves undefined, or may */
	uint8_t length;        /* bytes */
	uint8_t operand_size;  /* bytes of the operation: 1, 2, 4, 8 (general instructions) */
	uint8_t address_size;  /* bytes: 2, 4, 8 */
	uint8_t stack_width;   /* bytes moved by one push or pop: 2, 4, 8 */
	uint8_t prefixes;      /* enum insn_prefix */
	uint8_t segment;       /* enum cpu_segment of the memory operand, override applied */
	uint8_t base, index;   /* general register number, INSN_REGISTER_NONE, INSN_BASE_RIP */
	uint8_t scale;         /* shift: 0..3 */
	uint8_t memory_size;   /* bytes of the memory operand, 0 when none or > 255 */
	uint8_t kind[INSN_OPERANDS]; /* enum insn_operand, the visible operands in Intel order */
	uint8_t reg[INSN_OPERANDS];  /* by kind */
	bool ends_block;       /* the block ends after it: branches, mode changes, serialization */
};

_Static_assert(sizeof(struct insn) == 64, "a cache line each");

enum insn_encoding { INSN_LEGACY, INSN_VEX, INSN_EVEX, INSN_ENCODING_OTHER };

/*
 * What else there is to know of an instruction, for who copies it, or follows what it does to
 * registers and flags. "Explicit" operands are those that its encoding names.
 */
struct insn_form {
	/* The handler that `execute` is not: that for dead flags, NULL if there is none; or with
	 * INSN_FLAGLESS that which writes them. */
	insn_handler *other;
	uint16_t flags_undefined; /* those of flags_written whose value nobody may rely on */
	/* General registers as bits: named in any way, addresses and hidden operands included; written;
	 * explicit operands read, and written. Those written in part count as read. */
	uint16_t gpr_named, gpr_written, copy_read, copy_written;
	/* Those that it means without a field of its encoding that could name others. */
	uint16_t gpr_implicit;
	uint8_t class;         /* enum insn_class */
	uint8_t operation;     /* enum insn_operation */
	uint8_t vector_level;  /* enum insn_vector_level */
	uint8_t vector_levels; /* 1 << (level - 1) for all that it needs; INSN_VECTOR only */
	uint8_t encoding : 4;  /* enum insn_encoding */
	uint8_t map : 4;       /* ZydisOpcodeMap */
	uint8_t opcode;        /* the byte */
	uint8_t prefixes;      /* bytes before the opcode's escape, VEX or EVEX; REX is the last of them */
	uint8_t rex;           /* that, or 0 */
	uint8_t modrm, immediate; /* offsets; 0: none */
	bool is_copyable : 1;  /* a host instruction can do the same with other registers for those that its
				* encoding names */
	bool has_memory : 1;   /* an explicit memory operand: by ModRM, or `is_moffs` */
	bool memory_read : 1, memory_written : 1;
	bool reg_is_gpr : 1, rm_is_gpr : 1, vvvv_is_gpr : 1, opcode_is_gpr : 1;
	bool high_byte : 1;    /* names AH, CH, DH or BH: no REX prefix possible */
	bool is_moffs : 1;     /* MOV with an address in place of ModRM: 32-bit code only */
	bool is_aligned : 1;   /* the memory operand must be, to its size */
	bool is_x87 : 1;       /* of x87 proper, neither MMX nor control */
	bool is_32 : 1;        /* not 64-bit code */
	bool is_sized : 1;     /* has a prefix 66 */
	bool host_has_it : 1;  /* the host's CPU knows the instruction */
};

_Static_assert(sizeof(struct insn_form) == 32, "two in a cache line");

/* What floating-point and vector instructions need before the host's CPU may execute them. */
enum insn_vector_level {
	INSN_LEVEL_NONE, INSN_LEVEL_X87, INSN_LEVEL_SSE, INSN_LEVEL_AVX, INSN_LEVEL_AVX512,
};

/* What a binder may look at besides the filled-in insn. */
struct decoded {
	const ZydisDecodedInstruction *instruction;
	const ZydisDecodedOperand *operands;
	const uint8_t *bytes; /* instruction->length of them */
	uint32_t mode;        /* enum cpu_mode */
	const struct insn_rules *rules;
	insn_handler **flagless; /* out: what replaces the handler where the flags written are dead */
};

/* Whether the block ends after an instruction. */
enum isa_ending {
	ISA_GOES_ON, ISA_ENDS,
	/* Its first operand is a segment register, and has a part in CPU_MODE_FLAT and CPU_MODE_STACK32:
	 * CS, DS, ES, SS. */
	ISA_ENDS_BY_SEGMENT,
	ISA_ENDS_IF_REPEATED, /* with REP or its like */
};

/* Forms of mnemonics whose other forms are another chapter's, with rows of their own: by the first or
 * second operand's register, or by where they lead. */
enum isa_form {
	ISA_ANY_FORM,
	ISA_SEGMENT_FIRST, ISA_SEGMENT_SECOND, ISA_CONTROL_FIRST, ISA_CONTROL_SECOND,
	ISA_DEBUG_FIRST, ISA_DEBUG_SECOND,
	ISA_FAR,
};

/*
 * A row: how a mnemonic becomes a handler. `bind` picks the handler for the operands at hand (and
 * may set further fields), or returns NULL for #UD. Where every form has the same
 * handler, `execute` is set and bind is NULL. `argument` is the binder's own (an operation number).
 * Rows with neither are of vector instructions, which fpu_bind takes like those without a row; it is their
 * binder.
 */
struct isa_row {
	uint16_t mnemonic; /* ZydisMnemonic */
	uint8_t ends_block; /* enum isa_ending */
	uint8_t argument;
	insn_handler *execute;
	insn_handler *(*bind)(struct insn *insn, const struct decoded *decoded,
			      const struct isa_row *row);
	uint8_t class;     /* enum insn_class */
	uint8_t operation; /* enum insn_operation */
	uint16_t feature;  /* ISA_FEATURE() of isa_set.h, where its set has no feature of its own */
	uint32_t traits;   /* enum insn_trait, of INSN_TRAITS_OF_ROWS */
	uint8_t form;      /* enum isa_form */
};

/* Whether the memory operand of a vector instruction, or one of 16 bytes, must be aligned to its size (SDM vol. 1 §14.9). */
static inline bool insn_must_be_aligned(const struct insn *insn, bool is_legacy)
{
	if (!is_legacy)
		return insn->traits & INSN_ALIGNED;
	return insn->memory_size == 16 && !(insn->traits & INSN_UNALIGNED);
}

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
insn_handler *fpu_bind(struct insn *insn, const struct decoded *decoded, const struct isa_row *row);

/* The host address of a general-register operand (little-endian, so any size reads its low bytes). */
#define INSN_GPR(cpu, insn, n) ((void *)((uint8_t *)(cpu)->gpr + (insn)->reg[n]))

/* The row of a mnemonic, or NULL; and that of a form of it, which may be for all its forms. */
const struct isa_row *isa_find(uint16_t mnemonic);
const struct isa_row *isa_find_form(uint16_t mnemonic, enum isa_form form);

/* Whether a row, or that there is none, leaves an instruction to fpu_bind. */
static inline bool isa_is_thunk(const struct isa_row *row)
{
	return !row || (!row->execute && !row->bind);
}

/*
 * The handler of an instruction, which its row names; all that is no general or system instruction's is
 * the FPU's. NULL: #UD. Sets the fields of *insn that the handler's binder knows.
 */
insn_handler *isa_bind(struct insn *insn, const struct decoded *decoded, const struct isa_row *row);

/*
 * Decode the instruction at bytes[0..size) for `mode` (enum cpu_mode) and the CPU's rules. Returns
 * 0 with *insn filled (an invalid instruction gets the handler that raises #UD), -ENODATA when more
 * than `size` bytes are needed, or -E2BIG when it is longer than 15 bytes (#GP).
 */
int insn_decode(struct insn *insn, const uint8_t *bytes, size_t size, uint32_t mode,
                const struct insn_rules *rules);
/* The same, and what else there is to know. */
int insn_decode_form(struct insn *insn, struct insn_form *form, const uint8_t *bytes, size_t size,
                     uint32_t mode, const struct insn_rules *rules);

#endif
