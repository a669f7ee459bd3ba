/*
 * The XSAVE image: offsets of the legacy region and the header, common to FXSAVE and XSAVE
 * (Intel SDM vol. 1 table 10-2 and §13.4). Internal to the FPU's files.
 */
#ifndef KVIK_ENGINE_X86_FPU_FPU_IMAGE_H
#define KVIK_ENGINE_X86_FPU_FPU_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/x86/fpu/fpu_state.h"

enum fpu_image_offset {
	FPU_IMAGE_FCW = 0,
	FPU_IMAGE_FSW = 2,
	FPU_IMAGE_FTW = 4, /* abridged: bit n set when physical register n is not empty */
	FPU_IMAGE_FOP = 6,
	FPU_IMAGE_FIP = 8,
	FPU_IMAGE_FDP = 16,
	FPU_IMAGE_MXCSR = 24,
	FPU_IMAGE_MXCSR_MASK = 28,
	FPU_IMAGE_ST = 32, /* ST0..ST7, 16 bytes each */
	FPU_IMAGE_XMM = 160,
	FPU_IMAGE_AVAILABLE = 416, /* never written by the processor, up to the header */
	FPU_IMAGE_XSTATE_BV = 512,
	FPU_IMAGE_XCOMP_BV = 520,
	FPU_IMAGE_EXTENDED = 576,
};

#define FPU_HEADER_SIZE   64
#define FPU_FSW_ES        (1u << 7)
#define FPU_FSW_B         (1u << 15)
#define FPU_FSW_FLAGS     0x3fu /* the exceptions; their masks are at the same places of FCW */
#define FPU_FCW_VALID     0x1f3fu
#define FPU_FCW_ONE       0x40u /* always reads as 1 */
#define FPU_FCW_INITIAL   0x37f
#define FPU_MXCSR_INITIAL 0x1f80u
#define FPU_MXCSR_MM      (1u << 17) /* AMD: misaligned operands are no exception */

void fpu_image_set_pointers(const struct fpu *fpu, uint8_t *image, bool is_64bit);
/* Store the x87 control and status words as the processor would hold them: reserved bits fixed, ES and
 * B as the unmasked exceptions say. */
void fpu_image_set_control(uint8_t *image, uint16_t control, uint16_t status);
void fpu_image_load(struct cpu *cpu, const uint8_t *image, uint64_t features, uint64_t requested,
		    bool is_64bit_pointers);

#endif
