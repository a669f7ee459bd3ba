/*
 * Where the guest's x87, SSE, AVX and AVX-512 state is. What makes, loads and stores it is in fpu.h.
 *
 * Vector and floating-point instructions run on the host's own FPU (thunks, see thunk.h), so the
 * guest's state lives in the host's registers from its first use until something else may touch
 * them: `live` says where it is. All files of src/engine/x86 are built with -mgeneral-regs-only;
 * whatever calls out of them first calls fpu_leave: platform.h for the platform's functions.
 *
 * Only the thread inside cpu_run has live state.
 */
#ifndef KVIK_ENGINE_X86_FPU_FPU_STATE_H
#define KVIK_ENGINE_X86_FPU_FPU_STATE_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct thunk;

#define FPU_AREA_SIZE 4096 /* bytes; the standard XSAVE layout up to AVX-512 needs 2,696 */

/* State components by their bit in XCR0 (Intel SDM vol. 1 §13.1). */
enum fpu_component {
	FPU_X87 = 1 << 0,
	FPU_SSE = 1 << 1,
	FPU_AVX = 1 << 2,
	FPU_OPMASK = 1 << 5,
	FPU_ZMM_HI256 = 1 << 6,
	FPU_HI16_ZMM = 1 << 7,
	FPU_AVX512 = FPU_OPMASK | FPU_ZMM_HI256 | FPU_HI16_ZMM,
};

#define FPU_COMPONENTS 8 /* bits of enum fpu_component that may be set: 0..7 */

/* Where components are in the images that the guest sees: its CPUID may be another processor's. */
struct fpu_guest_layout {
	uint16_t offset[FPU_COMPONENTS]; /* bytes, in the standard form; of components 2 and up */
	bool aligned[FPU_COMPONENTS]; /* starts at a multiple of 64 in the compacted form */
};

struct fpu {
	struct fpu_guest_layout guest_layout;
	uint8_t *area; /* XSAVE image, standard (non-compacted) form, 64-byte aligned, owned */
	bool live;     /* the state is in the host's registers, `area` is stale */
	uint8_t *scratch; /* bounce buffer for operands and images, FPU_AREA_SIZE bytes; owned */
	/* The last x87 instruction and its operand (SDM vol. 1 §8.1.8): the host's own registers
	 * for these hold addresses of thunks, so `area` holds nonsense in their place. */
	uint64_t fip, fdp;
	uint16_t fop; /* 11 bits */
	struct thunk *slot; /* for what found no room among the thunks; NULL at first; owned */
	/* What the host had in the control registers when the guest's state came in. */
	uint16_t host_control;
	uint32_t host_mxcsr;
};

/* Where a component is in the standard-form image, as CPUID leaf 0xD of the host says. */
struct fpu_layout {
	uint64_t components; /* enum fpu_component: what a guest's XCR0 may enable on this host */
	uint32_t mxcsr_mask; /* MXCSR bits that may be set */
	uint16_t offset[FPU_COMPONENTS], size[FPU_COMPONENTS]; /* bytes; of components 2 and up */
	bool aligned[FPU_COMPONENTS]; /* starts at a multiple of 64 in the compacted form */
	bool has_byte_masks; /* AVX512BW: opmasks of 64 bits */
};

/* Found before main. */
extern struct fpu_layout fpu_layout;

/* Bring the guest's state into the host's registers. */
void fpu_enter_slow(struct cpu *cpu);
/* Save the guest's state to fpu.area and leave the host's registers in the ABI's initial state
 * (upper halves zero, MXCSR and the x87 control word as they were found, x87 empty). */
void fpu_leave_slow(struct cpu *cpu);

#define fpu_enter(cpu)                                                                             \
	do {                                                                                       \
		if (!(cpu)->fpu.live)                                                              \
			fpu_enter_slow(cpu);                                                       \
	} while (0)
#define fpu_leave(cpu)                                                                             \
	do {                                                                                       \
		if ((cpu)->fpu.live)                                                               \
			fpu_leave_slow(cpu);                                                       \
	} while (0)

#endif
