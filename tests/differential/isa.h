/*
 * The differential test of the instruction set: the same instructions on the same state, by the
 * engine and by the host's own CPU, must leave the same registers, flags, memory and faults.
 *
 * A case is a few bytes of code, ended by INT3, and a complete user-mode state. generate.c makes
 * one from a seed and a number, native.c runs it in a child process (signal frames carry the state
 * in and out), engine.c in a struct cpu whose page tables show the same addresses, main.c
 * compares.
 *
 * Both see this memory and nothing else below 4 GiB:
 *
 *	ISA_READONLY  1 page, readable
 *	ISA_DATA      2 pages, readable and writable; the page behind them is not mapped
 *	ISA_CODE      2 pages, readable and executable, INT3 wherever a case put no code; the page
 *	              behind them is not mapped
 */
#ifndef KVIK_TESTS_DIFFERENTIAL_ISA_H
#define KVIK_TESTS_DIFFERENTIAL_ISA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ISA_READONLY   0x1ffff000ull
#define ISA_DATA       0x20000000ull
#define ISA_CODE       0x24000000ull /* 64 MiB on: its pages meet those of ISA_DATA in the engine's TLB */
#define ISA_PAGE       4096u
#define ISA_DATA_SIZE  (2 * ISA_PAGE)
#define ISA_CODE_SIZE  (2 * ISA_PAGE)
#define ISA_LOOP_COUNT (ISA_DATA + ISA_DATA_SIZE - 4) /* of code in the data pages */
#define ISA_LOOPS      12
#define ISA_FS_BASE    (ISA_DATA + 0x400)
#define ISA_GS_BASE    (ISA_DATA + 0xc00)
#define ISA_CODE_MAX   320  /* bytes of code in a case */
#define ISA_BATCH      32   /* cases that go to the child at a time */

/* Selectors of Linux's GDT, which the engine's guest has too. */
#define ISA_CS32 0x23
#define ISA_CS64 0x33
#define ISA_DS   0x2b
/* Entries of a local descriptor table: 16-bit segments of 64 KiB at ISA_CODE and ISA_DATA. */
#define ISA_CS16 0x07
#define ISA_DS16 0x0f
/* And 4 GiB from ISA_FS_BASE and ISA_GS_BASE on, for 32-bit code. */
#define ISA_FS32 0x17
#define ISA_GS32 0x1f

enum isa_register { ISA_RAX, ISA_RCX, ISA_RDX, ISA_RBX, ISA_RSP, ISA_RBP, ISA_RSI, ISA_RDI };

/*
 * The vector state: as XSAVE's standard form up to XMM registers and header, and from there on as
 * here on every host, so that cases do not depend on it. state.c converts from and to a host's
 * layout (CPUID leaf 0xd).
 */
enum {
	ISA_XMM = 160, ISA_XSTATE_BV = 512,
	ISA_YMM_HIGH = 576,                   /* 16 upper halves of YMM registers, 16 bytes each */
	ISA_OPMASK = ISA_YMM_HIGH + 16 * 16,  /* 8, 8 bytes each */
	ISA_ZMM_HIGH = ISA_OPMASK + 8 * 8,    /* 16 upper halves of ZMM registers, 32 bytes each */
	ISA_ZMM16 = ISA_ZMM_HIGH + 16 * 32,   /* ZMM16 to ZMM31, 64 bytes each */
	ISA_XSAVE_SIZE = ISA_ZMM16 + 16 * 64,
};

struct isa_state {
	uint64_t gpr[16]; /* encoding order */
	uint64_t rip, rflags; /* rip: an offset in the code segment */
	uint8_t xsave[ISA_XSAVE_SIZE] __attribute__((aligned(64)));
};

struct isa_case {
	struct isa_state in;
	uint8_t code[ISA_CODE_MAX];
	unsigned code_size;
	bool is_32;               /* compatibility mode */
	bool is_16;               /* and 16-bit segments */
	bool has_fs_gs;           /* in 32-bit code: ISA_FS32 and ISA_GS32 are loaded */
	uint64_t undefined_flags; /* RFLAGS bits that the manual leaves undefined */
	bool faults_freely;       /* it has several accesses, the order of their faults is open */
	bool is_large;            /* it has a memory operand of more than 8 bytes */
	bool is_mmx, is_masked_store, is_gather;
	bool is_popa;
	bool is_system;           /* XSAVE and its kin, privileged instructions */
	bool is_fpu;              /* an instruction that the engine runs on the host's FPU */
	bool is_narrow_string;    /* a repeated string instruction with 32-bit addresses */
	int shared_base;          /* the register that most of a block's accesses go through; or -1 */
	bool is_in_data;          /* the code is in the data pages, and runs several times: engine.c */
	int shared_index;         /* the index register of some of them; or -1 */
	int counter;              /* the register that counts a block's iterations; or -1 */
	bool is_cut;              /* its end lies on the page that is not mapped */
	const uint8_t *memory;    /* what the data pages hold before, ISA_DATA_SIZE bytes */
};

struct isa_outcome {
	struct isa_state out;
	uint32_t vector, error; /* how it ended; vector 3 is the INT3 behind the code */
	uint64_t cr2;           /* with vector 14 */
	uint8_t memory[ISA_DATA_SIZE];
};

/* Where in the code pages the case's code is. */
static inline unsigned isa_code_offset(const struct isa_case *test)
{
	return test->in.rip - (test->is_16 ? 0 : ISA_CODE);
}

#define ISA_VECTOR_HANG   254 /* did not end in a second */
#define ISA_VECTOR_BROKEN 255 /* ended some other way; `error` tells */

enum isa_class {
	ISA_GENERAL, ISA_X87, ISA_MMX, ISA_SSE, ISA_AVX, ISA_AVX512, ISA_SYSTEM, ISA_COMPAT,
	ISA_COMPAT16, ISA_BLOCKS, ISA_BLOCKS32,
	ISA_REWRITTEN, /* blocks that store into their own pages: only the engine's ways are compared */
	ISA_CLASSES,
};

extern const char *const isa_class_names[ISA_CLASSES];

/* -- state.c -- */

/* A state to and from XSAVE's standard form on this host. What is not in the state stays: components
 * that cases do not have, and bytes 416 to 512, which are the kernel's in signal frames. */
void isa_state_to_host(uint8_t *area, const uint8_t *xsave);
void isa_state_from_host(uint8_t *xsave, const uint8_t *area);

/* -- native.c -- */

/* Start the child. 0 or -errno. */
int native_start(void);
void native_stop(void);
/* Run cases [0, count), count at most ISA_BATCH. 0, or -ECHILD when the child died (it is started
 * again at the next call): `outcomes` then tell which cases were done (*done). */
int native_run(const struct isa_case *cases, unsigned count, struct isa_outcome *outcomes,
	       unsigned *done);
/* State components of an XSAVE image that the host and the engine both have. */
extern uint64_t native_components;
/* Whether the kernel gives the child a local descriptor table. */
extern bool native_has_ldt;
/* Whether this host can be the judge of a case: kernels that run in user mode themselves, below a hypervisor of their
 * own kind, may have no compatibility mode, and raise #GP for a stack pointer that is not canonical. */
bool native_can_judge(const struct isa_case *test);

/* -- engine.c -- */

/* The ways in which the engine runs a case. */
enum isa_engine {
	ISA_INTERPRETER,
	ISA_TRANSLATOR,       /* with its blocks made on the way, the vector state live at once */
	ISA_TRANSLATOR_AGAIN, /* right after that: with blocks that are linked and found by jumps */
	ISA_ENGINES,
};

extern const char *const isa_engine_names[ISA_ENGINES];

/* `dump_fd` as struct jit_options has it. 0 or negative. */
int engine_start(int dump_fd);
void engine_stop(void);
bool engine_has_translator(void);
/* Have the translator keep flags that nothing reads, from the next case on, or no more. */
void engine_set_exact_flags(bool exact);
void engine_run(const struct isa_case *test, enum isa_engine engine, struct isa_outcome *outcome);

/* -- generate.c -- */

/* Make case `index` of `class` for `seed`. */
void generate(struct isa_case *test, enum isa_class class, uint64_t seed, uint64_t index);

/* -- inspect.c -- */

/* The arithmetic flags that nothing reads before they are overwritten, from address `rip` of the
 * case's code on. */
uint64_t dead_flags(const struct isa_case *test, uint64_t rip);
/* Whether the instruction at state->rip is one of x87, MMX, SSE or AVX. */
bool is_fpu_at(const struct isa_case *test, const struct isa_state *state);
/* Whether the engine does not have the instruction there because a test hides it from the engine. */
bool is_hidden_at(const struct isa_case *test, const struct isa_state *state);
/* The length of the INT1 at state->rip, 0 if it is something else. */
unsigned int1_length_at(const struct isa_case *test, const struct isa_state *state);
/* Whether an instruction without operands ends in front of it that may be POPF: what that sets TF for is the next. */
bool is_behind_popf(const struct isa_case *test, const struct isa_state *state);
/* Whether the instruction at state->rip reaches beyond offset 4 GiB in FS or GS. */
bool wraps_in_segment(const struct isa_case *test, const struct isa_state *state);
/* The text of the case's instructions, one a line. */
void describe(const struct isa_case *test, char *text, size_t size);

#endif
