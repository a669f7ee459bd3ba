/*
 * The translator's frame: what translated code addresses besides the CPU's state. It lies behind the
 * struct cpu at a fixed distance, so that both are reached through the GS base.
 */
#ifndef KVIK_ENGINE_RUN_JIT_FRAME_H
#define KVIK_ENGINE_RUN_JIT_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "engine/run/jit/vector_level.h"
#include "engine/x86/cpu.h"
#include "engine/x86/system/system_call.h"

#define JIT_JUMP_BITS    15
#define JIT_JUMP_ROTATE  9
#define JIT_JUMP_ENTRIES (1u << JIT_JUMP_BITS)
#define JIT_JUMP_SETS    4 /* user code and the rest, 64-bit and 32-bit code apart */

#define JIT_HEAT_BITS 18
#define JIT_HEATS (1u << JIT_HEAT_BITS) /* lean blocks' counters, by their addresses' hash */

#define JIT_X87_MOVED (1u << 31)

/*
 * A page that the TLB held with the right to read (or write), for accesses that mostly stay there.
 * Whatever takes a translation or a right from the TLB empties all of them (observe.c).
 */
struct jit_slot {
	uint64_t tag;   /* gva of the page */
	uint64_t delta; /* host address minus guest address */
};

#define JIT_SLOTS     2
#define JIT_SLOT_SETS 2 /* user code's, and the others' */

/* What translated code counts while statistics are kept. */
enum jit_count {
	JIT_COUNT_SLOT,      /* accesses that look at a page slot first */
	JIT_COUNT_SLOT_MISS, /* which then looked at the TLB */
	JIT_COUNT_TLB,       /* accesses that look at the TLB at once */
	JIT_COUNT_TLB_MISS,  /* of either kind: the slow path */
	JIT_COUNT_RETURN,    /* returns that look at the last pair */
	JIT_COUNT_RETURN_MISS, /* which then looked at the jump table */
	JIT_COUNT_JUMP,      /* indirect jumps, calls and returns that look at the jump table */
	JIT_COUNT_JUMP_MISS,
	JIT_COUNTS,
};

/* Each is kept in parts, so that one addition need not wait for the one before. */
#define JIT_COUNT_PARTS 8

/* What SYSCALL and SYSRET of 64-bit code load, where these MSRs hold what they were made from. EFER 0: not made. */
struct jit_system_call {
	uint64_t star, fmask, efer;
	struct system_call_segments entered, returned;
};

/* Constants and all else that translated code and its stubs use and that is not the CPU's state. */
struct jit_frame {
	uint64_t spill[4];
	uint64_t loop_spill[2];
	uint64_t bits_spill[2];
	uint64_t lean_spill[2];
	/* The gva of the page that the running block's code is from: blocks hold no address. */
	uint64_t code_page;
	uint64_t flags_saved;     /* by translated code that destroys them, as in `flags` */
	uint64_t flag_register;   /* a register that tells flags and was overwritten */
	uint64_t flags;           /* AH = SF ZF AF PF CF as LAHF gives them, AL = OF */
	uint64_t self;            /* the struct cpu */
	uint64_t tlb_index_mask;  /* PEXT masks: the page bits that index the TLB */
	uint64_t page_mask;       /* bits 12..63 */
	uint64_t aligned_mask[6]; /* the same with the low 1 to 6 bits */
	uint64_t jump_mask;       /* the address bits that index `jumps` */
	/* The present view (cache/view.h), for user code in [1]: by pages' indices, gva + 1. */
	const uint64_t *pages[2];
	/* PEXT and PDEP masks for RFLAGS and CR4. */
	uint64_t mask_arithmetic, mask_pushed, mask_if, mask_not_if, mask_not_df, mask_not_ac;
	uint64_t mask_tsd, mask_fsgsbase, mask_not_1;
	uint64_t mask_mxcsr_masks, mask_mxcsr_reserved;
	/* The host's stack in translated code: where it begins. Where calls are not to let it grow on is in
	 * cpu->request_limit (nowhere: the CPU has requests). */
	uint64_t stack_bottom;
	uint64_t vector_blocked[JIT_VECTOR_LEVELS]; /* 0: allowed */
	struct jit_slot slots[JIT_SLOT_SETS][2][JIT_SLOTS]; /* [1]: for writes */
	uint32_t slots_used;    /* not all of them are empty */
	uint32_t slots_closed;  /* not to be filled: RFLAGS.AC lifts SMAP for the present, not for later */
	/* For STAC and CLAC: `tlb` of struct cpu while RFLAGS.AC is 0 and 1, and `slots_closed` at 1. */
	struct tlb_set *tlb_by_ac[2];
	uint32_t ac_closes_slots;
	/* For SYSRET: `tlb` of struct cpu in ring 3, and FS's base when cpu->tlb was last chosen anew. */
	struct tlb_set *tlb_user;
	uint64_t fs_base_told;
	struct jit_system_call system_call;
	/* What empty slots lead to: a page of no meaning, at a non-canonical address that nobody
	 * knows. */
	uint64_t nowhere_tag;
	uint8_t nowhere[4096 + 63]; /* at a multiple of 64 in there */
	/* The last x87 instruction that translated code executed; fpu.fip gets it on the way out. */
	uint64_t x87_page;
	uint32_t x87_offset;      /* in the page, with JIT_X87_MOVED; 0: there is none */
	/* 0: RDTSC, RDTSCP, STAC and CLAC may run as translated, as far as CPUID and the TSC's
	 * frequency go. Only user space changes these. */
	uint64_t rdtsc_blocked, rdtscp_blocked, ac_blocked;
	/* 32-bit code may use FS and GS without checks: any base, but 4 GiB, readable, writable. */
	uint64_t segment_blocked[2];
	uint64_t counts[JIT_COUNTS][JIT_COUNT_PARTS];
	/* What follows is large, and zeroes where it is not used: runner_create. */
	/* Where indirect jumps go: guest address to a block's entry, which finds out whether that is there
	 * in the present view. */
	struct jit_jump {
		uint64_t gva;
		const uint8_t *code;
	} jumps[JIT_JUMP_SETS][JIT_JUMP_ENTRIES];
	uint16_t heat[JIT_HEATS]; /* of lean blocks: hot when they overflow */
};

/* A CPU that may have a translator. The GS base leads here. */
struct jit_cpu {
	struct cpu cpu;
	struct jit_frame frame;
};

static inline struct jit_frame *jit_frame(const struct cpu *cpu)
{
	return &((struct jit_cpu *)cpu)->frame;
}

#endif
