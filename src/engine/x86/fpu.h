/*
 * The guest's x87, SSE, AVX and AVX-512 state.
 *
 * Vector and floating-point instructions run on the host's own FPU (thunks, see thunk.h), so the
 * guest's state lives in the host's registers from its first use until something else may touch
 * them: `live` says where it is. All files of src/engine/x86 are built with -mgeneral-regs-only;
 * whatever calls out of them (platform functions, libc) first calls fpu_leave.
 */
#ifndef KVIK_ENGINE_X86_FPU_H
#define KVIK_ENGINE_X86_FPU_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;

#define FPU_AREA_SIZE 4096 /* bytes; the standard XSAVE layout up to AVX-512 needs 2,696 */

struct fpu {
	uint8_t *area; /* XSAVE image, standard (non-compacted) form, 64-byte aligned, owned */
	bool live;     /* the state is in the host's registers, `area` is stale */
	uint8_t *host_area; /* scratch for what the host had in XCR0 components; owned */
};

/* Bring the guest's state into the host's registers. */
void fpu_enter_slow(struct cpu *cpu);
/* Save the guest's state to fpu.area and leave the host's registers in the ABI's initial state
 * (MXCSR default, x87 empty). */
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
