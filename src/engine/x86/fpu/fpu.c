/*
 * The guest's vector and floating-point state: where it is, and how it goes in and out of the
 * host's registers (Intel SDM vol. 1 ch. 13, "Managing state using the XSAVE feature set").
 *
 * The image is the standard form of XSAVE with the host's own offsets. Its bytes are valid for
 * every component even where XSTATE_BV says "initial", as XSAVE (unlike XSAVEOPT) writes them all;
 * readers of the image rely on that. The kernel saves and restores whatever is live across
 * context switches and signals, as for any thread.
 */
#include "engine/x86/fpu/fpu.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "engine/x86/bytes.h"
#include "engine/x86/cpu.h"
#include "engine/x86/fpu/fpu_image.h"
#include "engine/x86/host/host.h"
#include "engine/x86/fpu/thunk.h"

/* What leaving loads: XSTATE_BV = 0 puts every component in its initial state; MXCSR alone is
 * always taken from memory. FXRSTOR takes all of it. */
static uint8_t initial_area[FPU_AREA_SIZE] __attribute__((aligned(64)));

/* A host without XSAVE has FXSAVE, which knows the first two components and takes both. */
static void area_xsave(uint8_t *area, uint64_t components)
{
	if (host.xcr0 == 0) {
		__asm__ volatile("fxsave64 %0" : "+m"(*(uint8_t(*)[FPU_AREA_SIZE])area) : : "memory");
		bytes_store64(area + FPU_IMAGE_XSTATE_BV, FPU_X87 | FPU_SSE);
		return;
	}
	__asm__ volatile("xsave64 %0"
			 : "+m"(*(uint8_t(*)[FPU_AREA_SIZE])area)
			 : "a"((uint32_t)components), "d"(0)
			 : "memory");
}

static void area_xrstor(const uint8_t *area, uint64_t components)
{
	if (host.xcr0 == 0) {
		__asm__ volatile("fxrstor64 %0"
				 : : "m"(*(const uint8_t(*)[FPU_AREA_SIZE])area) : "memory");
		return;
	}
	__asm__ volatile("xrstor64 %0"
			 :
			 : "m"(*(const uint8_t(*)[FPU_AREA_SIZE])area), "a"((uint32_t)components),
			   "d"(0)
			 : "memory");
}

__attribute__((constructor)) static void fill_initial_area(void)
{
	bytes_store16(initial_area + FPU_IMAGE_FCW, FPU_FCW_INITIAL);
	bytes_store32(initial_area + FPU_IMAGE_MXCSR, FPU_MXCSR_INITIAL);
}

static pthread_once_t thunks_once = PTHREAD_ONCE_INIT;
static int thunks_status; /* 0 or -errno */

static void prepare_thunks(void)
{
	thunks_status = thunk_initialize();
	if (thunks_status == 0)
		thunks_status = thunk_claim_signals();
}

int fpu_create(struct cpu *cpu)
{
	struct fpu *fpu = &cpu->fpu;
	int result;

	if (!host_has(HOST_LAHF))
		return -ENOTSUP;
	fpu->live = false;
	fpu->area = aligned_alloc(64, FPU_AREA_SIZE);
	if (fpu->area == NULL) {
		result = -ENOMEM;
		goto fail;
	}
	fpu->scratch = aligned_alloc(64, FPU_AREA_SIZE);
	if (fpu->scratch == NULL) {
		result = -ENOMEM;
		goto fail_area;
	}
	bytes_zero(fpu->scratch, FPU_AREA_SIZE);
	fpu->slot = NULL;
	pthread_once(&thunks_once, prepare_thunks);
	result = thunks_status;
	if (result != 0)
		goto fail_scratch;
	fpu_set_guest_layout(cpu, NULL, 0);
	fpu_reset(cpu);
	return 0;

fail_scratch:
	free(fpu->scratch);
	fpu->scratch = NULL;
fail_area:
	free(fpu->area);
	fpu->area = NULL;
fail:
	return result;
}

void fpu_destroy(struct cpu *cpu)
{
	fpu_leave(cpu);
	thunk_slot_destroy(cpu->fpu.slot);
	free(cpu->fpu.scratch);
	free(cpu->fpu.area);
	cpu->fpu.slot = NULL;
	cpu->fpu.scratch = NULL;
	cpu->fpu.area = NULL;
}

void fpu_reset(struct cpu *cpu)
{
	struct fpu *fpu = &cpu->fpu;

	fpu_leave(cpu);
	bytes_zero(fpu->area, FPU_AREA_SIZE);
	bytes_store16(fpu->area + FPU_IMAGE_FCW, FPU_FCW_INITIAL);
	bytes_store32(fpu->area + FPU_IMAGE_MXCSR, FPU_MXCSR_INITIAL);
	bytes_store32(fpu->area + FPU_IMAGE_MXCSR_MASK, fpu_layout.mxcsr_mask);
	fpu->fip = 0;
	fpu->fdp = 0;
	fpu->fop = 0;
}

void fpu_enter_slow(struct cpu *cpu)
{
	struct fpu *fpu = &cpu->fpu;

	__asm__ volatile("stmxcsr %0" : "=m"(fpu->host_mxcsr));
	__asm__ volatile("fnstcw %0" : "=m"(fpu->host_control));
	area_xrstor(fpu->area, fpu_layout.components);
	fpu->live = true;
}

void fpu_leave_slow(struct cpu *cpu)
{
	struct fpu *fpu = &cpu->fpu;

	area_xsave(fpu->area, fpu_layout.components);
	area_xrstor(initial_area, fpu_layout.components);
	if (fpu->host_mxcsr != FPU_MXCSR_INITIAL)
		__asm__ volatile("ldmxcsr %0" : : "m"(fpu->host_mxcsr));
	if (fpu->host_control != FPU_FCW_INITIAL)
		__asm__ volatile("fldcw %0" : : "m"(fpu->host_control));
	fpu->live = false;
}

void fpu_save_x87(struct cpu *cpu)
{
	area_xsave(cpu->fpu.area, FPU_X87);
}

void fpu_restore_x87(struct cpu *cpu)
{
	area_xrstor(cpu->fpu.area, FPU_X87);
}

void fpu_get_kvm(struct cpu *cpu, struct kvm_fpu *kvm)
{
	const uint8_t *area = cpu->fpu.area;

	fpu_leave(cpu);
	bytes_zero(kvm, sizeof(*kvm));
	bytes_copy(kvm->fpr, area + FPU_IMAGE_ST, sizeof(kvm->fpr));
	kvm->fcw = bytes_load16(area + FPU_IMAGE_FCW);
	kvm->fsw = bytes_load16(area + FPU_IMAGE_FSW);
	kvm->ftwx = area[FPU_IMAGE_FTW];
	kvm->last_opcode = cpu->fpu.fop;
	kvm->last_ip = cpu->fpu.fip;
	kvm->last_dp = cpu->fpu.fdp;
	bytes_copy(kvm->xmm, area + FPU_IMAGE_XMM, sizeof(kvm->xmm));
}

void fpu_set_kvm(struct cpu *cpu, const struct kvm_fpu *kvm)
{
	uint8_t *area = cpu->fpu.area;
	uint8_t *features = area + FPU_IMAGE_XSTATE_BV;

	fpu_leave(cpu);
	bytes_copy(area + FPU_IMAGE_ST, kvm->fpr, sizeof(kvm->fpr));
	bytes_store16(area + FPU_IMAGE_FCW, kvm->fcw);
	bytes_store16(area + FPU_IMAGE_FSW, kvm->fsw);
	area[FPU_IMAGE_FTW] = kvm->ftwx;
	cpu->fpu.fop = kvm->last_opcode & 0x7ff;
	cpu->fpu.fip = kvm->last_ip;
	cpu->fpu.fdp = kvm->last_dp;
	bytes_copy(area + FPU_IMAGE_XMM, kvm->xmm, sizeof(kvm->xmm));
	bytes_store64(features, bytes_load64(features) | FPU_X87 | FPU_SSE);
}

void fpu_get_xsave(struct cpu *cpu, void *region)
{
	fpu_leave(cpu);
	bytes_copy(region, cpu->fpu.area, FPU_AREA_SIZE);
	bytes_zero((uint8_t *)region + FPU_IMAGE_AVAILABLE, FPU_IMAGE_XSTATE_BV - FPU_IMAGE_AVAILABLE);
	fpu_image_set_pointers(&cpu->fpu, region, true);
	bytes_store32((uint8_t *)region + FPU_IMAGE_MXCSR_MASK, fpu_layout.mxcsr_mask);
}

/* The components that the guest's CPUID leaf 0xD lists and the host has. */
static uint64_t guest_components(const struct cpu *cpu)
{
	if (cpu->cpuid == NULL)
		return fpu_layout.components;
	for (unsigned i = 0; i < cpu->cpuid_count; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpu->cpuid[i];

		if (entry->function == 0xd && entry->index == 0)
			return (entry->eax | (uint64_t)entry->edx << 32) & fpu_layout.components;
	}
	return 0;
}

int fpu_set_xsave(struct cpu *cpu, const void *region)
{
	const uint8_t *image = region;
	uint64_t features = bytes_load64(image + FPU_IMAGE_XSTATE_BV);
	uint32_t mxcsr = bytes_load32(image + FPU_IMAGE_MXCSR);

	if (features & ~(guest_components(cpu) | FPU_X87 | FPU_SSE))
		return -EINVAL;
	for (unsigned i = 8; i < FPU_HEADER_SIZE; i += 8)
		if (bytes_load64(image + FPU_IMAGE_XSTATE_BV + i) != 0)
			return -EINVAL;
	if ((features & (FPU_SSE | FPU_AVX)) && (mxcsr & ~fpu_layout.mxcsr_mask))
		return -EINVAL;
	fpu_leave(cpu);
	fpu_image_load(cpu, image, features, fpu_layout.components, true);
	if (features & (FPU_SSE | FPU_AVX))
		bytes_store32(cpu->fpu.area + FPU_IMAGE_MXCSR, mxcsr);
	return 0;
}

/* Those of `components` that lie within so many bytes of an image. */
static uint64_t components_within(uint64_t components, uint32_t size)
{
	for (unsigned i = 2; i < FPU_COMPONENTS; i++)
		if ((components >> i & 1) && (uint32_t)fpu_layout.offset[i] + fpu_layout.size[i] > size)
			components &= ~(1ull << i);
	return components;
}

void fpu_get_image(struct cpu *cpu, uint8_t *image, uint32_t size)
{
	const uint8_t *area = cpu->fpu.area;
	uint64_t held;

	fpu_leave(cpu);
	held = components_within(bytes_load64(area + FPU_IMAGE_XSTATE_BV) & fpu_layout.components, size);
	bytes_copy(image, area, FPU_IMAGE_AVAILABLE);
	bytes_zero(image + FPU_IMAGE_AVAILABLE, FPU_IMAGE_EXTENDED - FPU_IMAGE_AVAILABLE);
	fpu_image_set_pointers(&cpu->fpu, image, true);
	bytes_store32(image + FPU_IMAGE_MXCSR_MASK, fpu_layout.mxcsr_mask);
	bytes_store64(image + FPU_IMAGE_XSTATE_BV, held);
	for (unsigned i = 2; i < FPU_COMPONENTS; i++)
		if (held >> i & 1)
			bytes_copy(image + fpu_layout.offset[i], area + fpu_layout.offset[i], fpu_layout.size[i]);
}

void fpu_set_image(struct cpu *cpu, const uint8_t *image, uint32_t size, uint64_t components)
{
	uint64_t held = bytes_load64(image + FPU_IMAGE_XSTATE_BV) & components & fpu_layout.components;
	uint32_t mxcsr = bytes_load32(image + FPU_IMAGE_MXCSR);

	fpu_leave(cpu);
	/* MXCSR is there whether or not the registers are in their initial state. */
	fpu_image_load(cpu, image, components_within(held, size) | FPU_SSE, fpu_layout.components, true);
	bytes_store32(cpu->fpu.area + FPU_IMAGE_MXCSR, mxcsr & fpu_layout.mxcsr_mask);
}

void fpu_set_guest_layout(struct cpu *cpu, const struct kvm_cpuid_entry2 *entries, unsigned count)
{
	struct fpu_guest_layout *layout = &cpu->fpu.guest_layout;

	for (unsigned i = 2; i < FPU_COMPONENTS; i++) {
		layout->offset[i] = fpu_layout.offset[i];
		layout->aligned[i] = fpu_layout.aligned[i];
	}
	for (unsigned n = 0; n < count; n++) {
		const struct kvm_cpuid_entry2 *entry = &entries[n];
		unsigned i = entry->index;

		/* One of another size cannot be this component. */
		if (entry->function != 0xd || i < 2 || i >= FPU_COMPONENTS ||
		    entry->eax != fpu_layout.size[i] || entry->ebx < FPU_IMAGE_EXTENDED ||
		    entry->ebx > FPU_AREA_SIZE - entry->eax)
			continue;
		layout->offset[i] = (uint16_t)entry->ebx;
		layout->aligned[i] = entry->ecx & 2;
	}
}

bool fpu_xcr0_valid(const struct cpu *cpu, uint64_t value)
{
	uint64_t avx512 = value & FPU_AVX512;

	if (!(value & FPU_X87) || (value & ~(guest_components(cpu) | FPU_X87)))
		return false;
	if ((value & FPU_AVX) && !(value & FPU_SSE))
		return false;
	return avx512 == 0 || (avx512 == FPU_AVX512 && (value & FPU_AVX));
}
