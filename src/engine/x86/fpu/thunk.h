/*
 * Thunks: guest vector and floating-point instructions made runnable on the host's own FPU.
 *
 * A thunk is a short host function that holds the guest's instruction itself, rewritten so that a
 * memory operand is at (%rsi) and general-register operands are in rax, rcx or rdx, loaded from and
 * stored to struct cpu at (%rdi). Thunks are process-wide, made once for each distinct combination
 * of code and traits and kept for the life of the process: their number is bounded by the number of
 * instruction forms in use, and capped. Beyond the cap thunk_find refuses, and the instruction runs
 * from the CPU's own slot, rewritten at each execution.
 *
 * The memory of the thunks is mapped twice, once writable and once executable.
 *
 * A thunk's instruction may fault: an unmasked floating-point exception or an instruction that
 * this host lacks. The kernel's SIGFPE or SIGILL then makes the thunk return what happened; nothing
 * of the guest's state has changed but the exception flags, as in hardware. Threads that run CPUs
 * must therefore not block these signals.
 */
#ifndef KVIK_ENGINE_X86_FPU_THUNK_H
#define KVIK_ENGINE_X86_FPU_THUNK_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu;
struct decoded;
struct insn;

/* What the main function of a thunk returns. */
enum thunk_result {
	THUNK_DONE = 0,
	THUNK_X87_EXCEPTION, /* #MF */
	THUNK_SIMD_EXCEPTION, /* #XM */
	THUNK_INVALID, /* #UD */
};

typedef uint64_t thunk_function(struct cpu *cpu, void *memory);

/* Which enable bits an instruction obeys (Intel SDM vol. 3 §2.5, table 13-1 ff.). */
enum thunk_gate {
	THUNK_GATE_X87, /* #NM: CR0.EM, CR0.TS */
	THUNK_GATE_MMX, /* #UD: CR0.EM; #NM: CR0.TS */
	THUNK_GATE_SSE, /* and #UD: CR4.OSFXSR = 0 */
	THUNK_GATE_AVX, /* #UD: CR4.OSXSAVE = 0, XCR0 lacks a component; #NM: CR0.TS */
};

/* How bits of the mask are bound to the memory operand of a masked instruction. */
enum thunk_mask {
	THUNK_MASK_NONE,
	THUNK_MASK_ELEMENTS, /* bit i guards element i */
	THUNK_MASK_PACKED,   /* as many elements as bits set, from the first on */
	THUNK_MASK_FOLDED,   /* bit i guards element i modulo their number (broadcasts) */
};

/* All that the handlers know of an instruction besides its code. No padding: compared bytewise. */
struct thunk_traits {
	uint32_t cr0_forbidden, cr4_required, xcr0_required; /* the gate's bits, all tested at once */
	uint16_t size;          /* bytes of the memory operand */
	uint16_t alignment;     /* required alignment of the memory operand, less 1 */
	uint8_t gate;           /* enum thunk_gate */
	uint8_t mask;           /* enum thunk_mask */
	uint8_t element_size;   /* bytes of an element in memory */
	uint8_t elements;       /* bits of the mask that count */
	uint8_t index_size;     /* gather and scatter: bytes of an index element */
	uint8_t flags;          /* enum thunk_flag */
	uint8_t reserved[2];
};

enum thunk_flag {
	THUNK_X87_CONTROL = 1 << 0, /* leaves the last-instruction pointers alone */
	THUNK_X87_INIT = 1 << 1,    /* clears them */
	THUNK_FULL_CHECK = 1 << 2,  /* masked store that faults for masked-out elements, too */
	THUNK_MAY_MISALIGN = 1 << 3, /* its alignment is not asked for under MXCSR.MM; */
	THUNK_AMD_UNALIGNED = 1 << 4, /* never on AMD's processors */
};

struct thunk {
	thunk_function *run;    /* returns enum thunk_result */
	thunk_function *second; /* returns the active elements' mask; gather: see there; or NULL */
	struct thunk_traits traits;
	uint32_t hash, next; /* chain of the table; index + 1 */
	uint16_t code_size;  /* bytes of both functions, from the lower one */
	uint16_t unused;
};

/* The code of a thunk under construction. */
#define THUNK_CODE_SIZE 192
struct thunk_code {
	uint8_t bytes[THUNK_CODE_SIZE];
	unsigned length;
	unsigned second; /* where the second function starts; 0: none */
};

/* Set up the memory, once in a process. 0 or -errno. */
int thunk_initialize(void);
/* Where a thread whose thunk faults at `pc` goes on, so that the thunk returns `result`; 0 when there
 * is no thunk. In signal handlers. */
uintptr_t thunk_escape(uintptr_t pc, enum thunk_result result);

/* -- thunk_signal.c -- */

/* Install the handlers again, where something else in the process may have replaced them; it then
 * gets what is not a thunk's. */
int thunk_claim_signals(void);
/* See engine_chain_signal. */
bool thunk_chain_signal(int number, const struct sigaction *action, struct sigaction *previous);

/* The thunk of this code and these traits; NULL when there is no more room. Any thread. */
const struct thunk *thunk_find(const struct thunk_code *code, const struct thunk_traits *traits);

/*
 * A slot for one thunk that is rewritten in place; its owner executes it. NULL without memory.
 * thunk_slot_set makes it the thunk of `code` and `traits`.
 */
struct thunk *thunk_slot_create(void);
void thunk_slot_destroy(struct thunk *slot);
void thunk_slot_set(struct thunk *slot, const struct thunk_code *code,
		    const struct thunk_traits *traits);

/* -- thunk_encode.c: composing code -- */

void thunk_emit(struct thunk_code *code, const void *bytes, unsigned length);
/* The function that executes the decoded instruction, of which `insn` has the traits. 0, or -ENOTSUP for a
 * form it cannot take. */
int thunk_emit_instruction(struct thunk_code *code, const struct insn *insn,
			   const struct decoded *decoded);
/* End a function, returning THUNK_DONE, or whatever is in rax. */
void thunk_emit_return_done(struct thunk_code *code);
void thunk_emit_return(struct thunk_code *code);
/* Start the second function. */
void thunk_emit_second(struct thunk_code *code);

/* rax = the opmask register k, 64 bits (16 on hosts without AVX512BW). */
void thunk_emit_read_opmask(struct thunk_code *code, unsigned k);
void thunk_emit_clear_opmask(struct thunk_code *code, unsigned k);
/* eax = the sign bits of the elements (4 or 8 bytes) of XMM n or YMM n. */
void thunk_emit_read_signs(struct thunk_code *code, unsigned n, unsigned element_size, bool is_256);
/* All of vector register n to or from (%rsi + offset): 64 bytes when is_512, otherwise 32. */
void thunk_emit_move_vector(struct thunk_code *code, unsigned n, bool is_512, bool is_store,
			    uint32_t offset);
/* YMM n = 0, all of it. */
void thunk_emit_clear_vector(struct thunk_code *code, unsigned n);

#endif
