/*
 * Images of the vector and floating-point state: where the host has its components, and what goes into an
 * image and out of one.
 */
#include "engine/x86/fpu/fpu_image.h"

#include "engine/x86/bytes.h"
#include "engine/x86/cpu.h"
#include "engine/x86/host/host.h"

struct fpu_layout fpu_layout;

__attribute__((constructor)) static void discover_layout(void)
{
	uint32_t registers[4];

	fpu_layout.components = FPU_X87 | FPU_SSE | (host.xcr0 & (FPU_AVX | FPU_AVX512));
	if ((fpu_layout.components & FPU_AVX512) != FPU_AVX512)
		fpu_layout.components &= ~(uint64_t)FPU_AVX512;
	for (unsigned i = 2; i < FPU_COMPONENTS; i++) {
		if (!(fpu_layout.components & (1u << i)))
			continue;
		host_cpuid(0xd, i, registers);
		fpu_layout.size[i] = (uint16_t)registers[0];
		fpu_layout.offset[i] = (uint16_t)registers[1];
		fpu_layout.aligned[i] = registers[2] & 2;
		/* Components lie within the area on all processors that exist; be sure of it. */
		if (registers[0] + registers[1] > FPU_AREA_SIZE)
			fpu_layout.components &= (1u << i) - 1;
	}

	fpu_layout.has_byte_masks = host_has(HOST_AVX512BW);

	uint8_t legacy[512] __attribute__((aligned(16)));

	bytes_zero(legacy, sizeof(legacy));
	__asm__ volatile("fxsave64 %0" : "=m"(legacy));
	fpu_layout.mxcsr_mask = bytes_load32(legacy + FPU_IMAGE_MXCSR_MASK);
	if (fpu_layout.mxcsr_mask == 0)
		fpu_layout.mxcsr_mask = 0xffbf; /* SDM vol. 1 §11.6.6 */
}

/* Write the guest's own last-instruction pointers over the host's. */
void fpu_image_set_pointers(const struct fpu *fpu, uint8_t *image, bool is_64bit)
{
	bytes_store16(image + FPU_IMAGE_FOP, fpu->fop);
	if (is_64bit) {
		bytes_store64(image + FPU_IMAGE_FIP, fpu->fip);
		bytes_store64(image + FPU_IMAGE_FDP, fpu->fdp);
	} else {
		bytes_store64(image + FPU_IMAGE_FIP, (uint32_t)fpu->fip);
		bytes_store64(image + FPU_IMAGE_FDP, (uint32_t)fpu->fdp);
	}
}

static void get_pointers(struct fpu *fpu, const uint8_t *image, bool is_64bit)
{
	fpu->fop = bytes_load16(image + FPU_IMAGE_FOP) & 0x7ff;
	if (is_64bit) {
		fpu->fip = bytes_load64(image + FPU_IMAGE_FIP);
		fpu->fdp = bytes_load64(image + FPU_IMAGE_FDP);
	} else {
		fpu->fip = bytes_load32(image + FPU_IMAGE_FIP);
		fpu->fdp = bytes_load32(image + FPU_IMAGE_FDP);
	}
}

void fpu_image_set_control(uint8_t *image, uint16_t control, uint16_t status)
{
	control = (control & FPU_FCW_VALID) | FPU_FCW_ONE;
	status &= (uint16_t)~(FPU_FSW_ES | FPU_FSW_B);
	if (status & ~control & FPU_FSW_FLAGS)
		status |= FPU_FSW_ES | FPU_FSW_B;
	bytes_store16(image + FPU_IMAGE_FCW, control);
	bytes_store16(image + FPU_IMAGE_FSW, status);
}

/*
 * Take components from a standard-form image into the (not live) area: those of `features` from the
 * image, the others of `requested` in their initial state. MXCSR is left to the caller.
 */
void fpu_image_load(struct cpu *cpu, const uint8_t *image, uint64_t features, uint64_t requested,
		    bool is_64bit_pointers)
{
	uint8_t *area = cpu->fpu.area;
	uint64_t held = bytes_load64(area + FPU_IMAGE_XSTATE_BV);

	if (requested & FPU_X87) {
		if (features & FPU_X87) {
			fpu_image_set_control(area, bytes_load16(image + FPU_IMAGE_FCW),
					      bytes_load16(image + FPU_IMAGE_FSW));
			area[FPU_IMAGE_FTW] = image[FPU_IMAGE_FTW];
			bytes_copy(area + FPU_IMAGE_ST, image + FPU_IMAGE_ST, 128);
			get_pointers(&cpu->fpu, image, is_64bit_pointers);
		} else {
			bytes_zero(area, FPU_IMAGE_MXCSR);
			bytes_zero(area + FPU_IMAGE_ST, 128);
			bytes_store16(area + FPU_IMAGE_FCW, FPU_FCW_INITIAL);
			cpu->fpu.fip = 0;
			cpu->fpu.fdp = 0;
			cpu->fpu.fop = 0;
		}
	}
	if (requested & FPU_SSE) {
		if (features & FPU_SSE)
			bytes_copy(area + FPU_IMAGE_XMM, image + FPU_IMAGE_XMM, 256);
		else
			bytes_zero(area + FPU_IMAGE_XMM, 256);
	}
	for (unsigned i = 2; i < FPU_COMPONENTS; i++) {
		uint64_t component = 1u << i;

		if (!(requested & component))
			continue;
		if (features & component)
			bytes_copy(area + fpu_layout.offset[i], image + fpu_layout.offset[i],
				   fpu_layout.size[i]);
		else if (held & component)
			bytes_zero(area + fpu_layout.offset[i], fpu_layout.size[i]);
	}
	bytes_store64(area + FPU_IMAGE_XSTATE_BV,
		      (held & ~requested) | (features & requested & fpu_layout.components));
}
