/*
 * FXSAVE, the XSAVE family, XGETBV, XSETBV and LDMXCSR (Intel SDM vol. 1 §10.5 and ch. 13).
 *
 * Done in software on the area that fpu_leave fills: the guest's images must show its own
 * last-instruction pointers and obey its XCR0 and IA32_XSS, and reading or writing guest memory
 * may fault at any page. Images are composed in, and loaded through, the scratch buffer in standard
 * form. What is in use (XINUSE) is what the host's XSAVE said.
 */
#include "engine/x86/bytes.h"
#include "engine/x86/exception.h"
#include "engine/x86/fpu/fpu.h"
#include "engine/x86/instructions/fpu_execute.h"
#include "engine/x86/fpu/fpu_image.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/system.h"

#define XCOMP_COMPACTED (UINT64_C(1) << 63)
#define FXSAVE_SIZE     512

static bool is_64bit_mode(const struct cpu *cpu)
{
	return (cpu->mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64;
}

/* Outside 64-bit mode registers 8 and up do not exist for these instructions either. */
static unsigned xmm_bytes(const struct cpu *cpu)
{
	return is_64bit_mode(cpu) ? 256 : 128;
}

static unsigned component_bytes(const struct cpu *cpu, unsigned component)
{
	unsigned size = fpu_layout.size[component];

	if (is_64bit_mode(cpu))
		return size;
	switch (1u << component) {
	case FPU_AVX:
	case FPU_ZMM_HI256: return size / 2;
	case FPU_HI16_ZMM: return 0;
	default: return size;
	}
}

/* The image's address after all checks, of which `start` is the first byte that will be touched. */
static uint64_t image_linear(struct cpu *cpu, const struct insn *insn, unsigned start, unsigned size,
			     unsigned alignment, bool is_write)
{
	uint64_t gva = segment_linear(cpu, insn->segment, mem_offset(cpu, insn), size, is_write);

	if (is_64bit_mode(cpu) && !cpu_is_canonical(gva))
		cpu_raise_error(cpu, insn->segment == CPU_SS ? EXCEPTION_SS : EXCEPTION_GP, 0);
	if (gva & (alignment - 1))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	/* All or nothing: both ends' pages first, the last one before the first as processors do. */
	lin_pointer(cpu, gva + size - 1, 1, is_write, insn->segment);
	lin_pointer(cpu, gva + start, 1, is_write, insn->segment);
	return gva;
}

/* -- FXSAVE, FXRSTOR -- */

static void fxsave(struct cpu *cpu, const struct insn *insn, bool is_64bit_pointers)
{
	uint8_t *image = cpu->fpu.scratch;
	uint64_t gva;

	if (cpu->cr0 & (FPU_CR0_EM | FPU_CR0_TS))
		cpu_raise(cpu, EXCEPTION_NM);
	gva = image_linear(cpu, insn, 0, FXSAVE_SIZE, 16, true);
	fpu_leave(cpu);
	bytes_copy(image, cpu->fpu.area, FPU_IMAGE_AVAILABLE);
	fpu_image_set_pointers(&cpu->fpu, image, is_64bit_pointers);
	bytes_store32(image + FPU_IMAGE_MXCSR_MASK, fpu_layout.mxcsr_mask);
	lin_write_bytes(cpu, gva, image, FPU_IMAGE_XMM + xmm_bytes(cpu), insn->segment);
}

static void fxrstor(struct cpu *cpu, const struct insn *insn, bool is_64bit_pointers)
{
	uint8_t *image = cpu->fpu.scratch;
	uint64_t gva;
	uint32_t mxcsr;

	if (cpu->cr0 & (FPU_CR0_EM | FPU_CR0_TS))
		cpu_raise(cpu, EXCEPTION_NM);
	gva = image_linear(cpu, insn, 0, FXSAVE_SIZE, 16, false);
	fpu_leave(cpu);
	bytes_copy(image, cpu->fpu.area, FPU_IMAGE_AVAILABLE);
	lin_read_bytes(cpu, gva, image, FPU_IMAGE_XMM + xmm_bytes(cpu), insn->segment);
	mxcsr = bytes_load32(image + FPU_IMAGE_MXCSR);
	if (mxcsr & ~fpu_layout.mxcsr_mask)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	fpu_image_load(cpu, image, FPU_X87 | FPU_SSE, FPU_X87 | FPU_SSE, is_64bit_pointers);
	bytes_store32(cpu->fpu.area + FPU_IMAGE_MXCSR, mxcsr);
}

void fpu_run_fxsave(struct cpu *cpu, const struct insn *insn)
{
	fxsave(cpu, insn, false);
}

void fpu_run_fxsave64(struct cpu *cpu, const struct insn *insn)
{
	fxsave(cpu, insn, true);
}

void fpu_run_fxrstor(struct cpu *cpu, const struct insn *insn)
{
	fxrstor(cpu, insn, false);
}

void fpu_run_fxrstor64(struct cpu *cpu, const struct insn *insn)
{
	fxrstor(cpu, insn, true);
}

/* -- XSAVE and kin -- */

/* What EDX:EAX asks for, of what is enabled. */
static uint64_t requested_components(const struct cpu *cpu, uint64_t enabled)
{
	uint64_t asked = (uint32_t)cpu->gpr[CPU_RAX] | (uint64_t)(uint32_t)cpu->gpr[CPU_RDX] << 32;

	return asked & enabled & fpu_layout.components;
}

static void check_xsave_enabled(struct cpu *cpu)
{
	if (!(cpu->cr4 & FPU_CR4_OSXSAVE))
		cpu_raise(cpu, EXCEPTION_UD);
	if (cpu->cr0 & FPU_CR0_TS)
		cpu_raise(cpu, EXCEPTION_NM);
}

/* XINUSE; ZMM16-31 count as initial where they don't exist (§13.5.4), but on AMD's processors. */
static uint64_t components_in_use(const struct cpu *cpu)
{
	uint64_t in_use = bytes_load64(cpu->fpu.area + FPU_IMAGE_XSTATE_BV);

	return is_64bit_mode(cpu) || cpu->is_amd ? in_use : in_use & ~(uint64_t)FPU_HI16_ZMM;
}

/* Offset of a component (2 and up) in the compacted form with these components. */
static unsigned compacted_offset(const struct cpu *cpu, uint64_t components, unsigned component)
{
	unsigned offset = FPU_IMAGE_EXTENDED;

	for (unsigned i = 2; i <= component; i++) {
		if (!(components >> i & 1))
			continue;
		if (cpu->fpu.guest_layout.aligned[i])
			offset = (offset + 63) & ~63u;
		if (i < component)
			offset += fpu_layout.size[i];
	}
	return offset;
}

/* Bytes of the image from its start to the end of the last of these components. */
static unsigned image_size(const struct cpu *cpu, uint64_t components, bool is_compacted)
{
	unsigned size = FPU_IMAGE_EXTENDED;

	for (unsigned i = 2; i < FPU_COMPONENTS; i++) {
		unsigned end = is_compacted ? compacted_offset(cpu, components, i)
					    : cpu->fpu.guest_layout.offset[i];

		end += fpu_layout.size[i];
		if ((components >> i & 1) && end > size)
			size = end;
	}
	return size;
}

/* Without the components of the legacy region, nothing before the header is touched, but AMD's processors look at
 * the first byte's page all the same. MXCSR belongs to AVX, too, in the standard form. */
static unsigned first_byte(const struct cpu *cpu, uint64_t components, bool is_compacted)
{
	uint64_t legacy = FPU_X87 | FPU_SSE | (is_compacted ? 0 : FPU_AVX);

	return cpu->is_amd || components & legacy ? 0 : FPU_IMAGE_XSTATE_BV;
}

static void write_part(struct cpu *cpu, const struct insn *insn, uint64_t gva, unsigned to,
		       unsigned from, unsigned size)
{
	if (size != 0)
		lin_write_bytes(cpu, gva + to, cpu->fpu.scratch + from, size, insn->segment);
}

/*
 * Write `written` of the image in `scratch`. MXCSR belongs to SSE and AVX in the standard form, to
 * SSE alone in the compacted one.
 */
static void write_image(struct cpu *cpu, const struct insn *insn, uint64_t gva, uint64_t written,
			uint64_t layout, bool is_compacted, bool has_mxcsr)
{
	if (written & FPU_X87) {
		write_part(cpu, insn, gva, 0, 0, FPU_IMAGE_MXCSR);
		write_part(cpu, insn, gva, FPU_IMAGE_ST, FPU_IMAGE_ST, 128);
	}
	if (has_mxcsr)
		write_part(cpu, insn, gva, FPU_IMAGE_MXCSR, FPU_IMAGE_MXCSR, 8);
	if (written & FPU_SSE)
		write_part(cpu, insn, gva, FPU_IMAGE_XMM, FPU_IMAGE_XMM, xmm_bytes(cpu));
	for (unsigned i = 2; i < FPU_COMPONENTS; i++)
		if (written >> i & 1)
			write_part(cpu, insn, gva,
				   is_compacted ? compacted_offset(cpu, layout, i)
						: cpu->fpu.guest_layout.offset[i],
				   fpu_layout.offset[i], component_bytes(cpu, i));
}

static void compose_image(struct cpu *cpu, bool is_64bit_pointers)
{
	uint8_t *image = cpu->fpu.scratch;

	fpu_leave(cpu);
	bytes_copy(image, cpu->fpu.area, FPU_AREA_SIZE);
	fpu_image_set_pointers(&cpu->fpu, image, is_64bit_pointers);
	bytes_store32(image + FPU_IMAGE_MXCSR_MASK, fpu_layout.mxcsr_mask);
}

/* XSAVE (§13.7), and XSAVEOPT (§13.9), which leaves out what is in its initial state. */
static void xsave_standard(struct cpu *cpu, const struct insn *insn, bool is_optimized)
{
	bool is_64bit_pointers = insn->reg[1];
	uint64_t requested, in_use, features, gva;

	check_xsave_enabled(cpu);
	requested = requested_components(cpu, cpu->xcr0);
	gva = image_linear(cpu, insn, first_byte(cpu, requested, false),
			   image_size(cpu, requested, false), 64, true);
	lin_read_bytes(cpu, gva + FPU_IMAGE_XSTATE_BV, &features, 8, insn->segment);
	compose_image(cpu, is_64bit_pointers);
	in_use = components_in_use(cpu);
	write_image(cpu, insn, gva, is_optimized ? requested & in_use : requested, 0, false,
		    requested & (FPU_SSE | FPU_AVX));
	features = (features & ~requested) | (in_use & requested);
	lin_write_bytes(cpu, gva + FPU_IMAGE_XSTATE_BV, &features, 8, insn->segment);
}

/* XSAVEC (§13.10), and XSAVES (§13.11) with the supervisor's components. */
static void xsave_compacted(struct cpu *cpu, const struct insn *insn, uint64_t enabled)
{
	bool is_64bit_pointers = insn->reg[1];
	uint64_t requested, in_use, gva;
	uint64_t header[2];

	requested = requested_components(cpu, enabled);
	gva = image_linear(cpu, insn, first_byte(cpu, requested, true),
			   image_size(cpu, requested, true), 64, true);
	compose_image(cpu, is_64bit_pointers);
	in_use = components_in_use(cpu);
	if (bytes_load32(cpu->fpu.area + FPU_IMAGE_MXCSR) != FPU_MXCSR_INITIAL)
		in_use |= FPU_SSE;
	in_use &= requested;
	write_image(cpu, insn, gva, in_use, requested, true, in_use & FPU_SSE);
	header[0] = in_use;
	header[1] = requested | XCOMP_COMPACTED;
	lin_write_bytes(cpu, gva + FPU_IMAGE_XSTATE_BV, header, sizeof(header), insn->segment);
}

void fpu_run_xsave(struct cpu *cpu, const struct insn *insn)
{
	xsave_standard(cpu, insn, false);
}

void fpu_run_xsaveopt(struct cpu *cpu, const struct insn *insn)
{
	xsave_standard(cpu, insn, true);
}

void fpu_run_xsavec(struct cpu *cpu, const struct insn *insn)
{
	check_xsave_enabled(cpu);
	xsave_compacted(cpu, insn, cpu->xcr0);
}

void fpu_run_xsaves(struct cpu *cpu, const struct insn *insn)
{
	check_xsave_enabled(cpu);
	if (cpu->cpl != 0)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	xsave_compacted(cpu, insn, cpu->xcr0 | cpu->xss);
}

/* -- XRSTOR -- */

/* Whether bytes [from, 64) of the header are zero; the standard form checks only up to 24. */
static bool header_is_zero(const uint8_t *header, unsigned from, unsigned end)
{
	for (unsigned i = from; i < end; i += 8)
		if (bytes_load64(header + i) != 0)
			return false;
	return true;
}

/* Read `wanted` into the scratch buffer in standard form, on top of the present state. */
static void read_image(struct cpu *cpu, const struct insn *insn, uint64_t gva, uint64_t wanted,
		       uint64_t layout, bool is_compacted, bool has_mxcsr)
{
	uint8_t *image = cpu->fpu.scratch;

	bytes_copy(image, cpu->fpu.area, FPU_AREA_SIZE);
	if (wanted & FPU_X87) {
		lin_read_bytes(cpu, gva, image, FPU_IMAGE_MXCSR, insn->segment);
		lin_read_bytes(cpu, gva + FPU_IMAGE_ST, image + FPU_IMAGE_ST, 128, insn->segment);
	}
	if (has_mxcsr)
		lin_read_bytes(cpu, gva + FPU_IMAGE_MXCSR, image + FPU_IMAGE_MXCSR, 4,
			       insn->segment);
	if (wanted & FPU_SSE)
		lin_read_bytes(cpu, gva + FPU_IMAGE_XMM, image + FPU_IMAGE_XMM, xmm_bytes(cpu),
			       insn->segment);
	for (unsigned i = 2; i < FPU_COMPONENTS; i++) {
		unsigned size = component_bytes(cpu, i);

		if (!(wanted >> i & 1) || size == 0)
			continue;
		lin_read_bytes(cpu,
			       gva + (is_compacted ? compacted_offset(cpu, layout, i)
						   : cpu->fpu.guest_layout.offset[i]),
			       image + fpu_layout.offset[i], size, insn->segment);
	}
}

/* XRSTOR (§13.8); XRSTORS (§13.12) takes the compacted form only. */
static void xrstor(struct cpu *cpu, const struct insn *insn, uint64_t enabled, bool is_supervisor)
{
	bool is_64bit_pointers = insn->reg[1];
	uint64_t requested, features, layout, gva;
	uint8_t header[FPU_HEADER_SIZE];
	bool is_compacted, is_valid, has_mxcsr;
	uint32_t mxcsr;

	requested = requested_components(cpu, enabled);
	gva = image_linear(cpu, insn, 0, FPU_IMAGE_EXTENDED, 64, false);
	/* As in first_byte, whatever is asked for. */
	if (cpu->is_amd)
		lin_read_bytes(cpu, gva, header, 1, insn->segment);
	lin_read_bytes(cpu, gva + FPU_IMAGE_XSTATE_BV, header, sizeof(header), insn->segment);
	features = bytes_load64(header);
	layout = bytes_load64(header + 8);
	is_compacted = layout & XCOMP_COMPACTED;
	layout &= ~XCOMP_COMPACTED;
	if (is_compacted)
		is_valid = !(layout & ~enabled) && !(features & ~layout) &&
			   header_is_zero(header, 16, FPU_HEADER_SIZE);
	else
		is_valid = !is_supervisor && !(features & ~enabled) && layout == 0 &&
			   header_is_zero(header, 16, 24);
	if (!is_valid)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);

	if (is_compacted)
		has_mxcsr = requested & features & FPU_SSE;
	else
		has_mxcsr = requested & (FPU_SSE | FPU_AVX);
	fpu_leave(cpu);
	read_image(cpu, insn, gva, requested & features, layout, is_compacted, has_mxcsr);
	mxcsr = bytes_load32(cpu->fpu.scratch + FPU_IMAGE_MXCSR);
	if (is_compacted && (requested & FPU_SSE) && !has_mxcsr)
		mxcsr = FPU_MXCSR_INITIAL;
	if (mxcsr & ~fpu_layout.mxcsr_mask)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	fpu_image_load(cpu, cpu->fpu.scratch, features, requested, is_64bit_pointers);
	bytes_store32(cpu->fpu.area + FPU_IMAGE_MXCSR, mxcsr);
}

void fpu_run_xrstor(struct cpu *cpu, const struct insn *insn)
{
	check_xsave_enabled(cpu);
	xrstor(cpu, insn, cpu->xcr0, false);
}

void fpu_run_xrstors(struct cpu *cpu, const struct insn *insn)
{
	check_xsave_enabled(cpu);
	if (cpu->cpl != 0)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	xrstor(cpu, insn, cpu->xcr0 | cpu->xss, true);
}

/* Binding notes in reg[1] whether REX.W asks for 64-bit FIP and FDP. */
insn_handler *fpu_bind_xsave(struct insn *insn, const struct decoded *decoded,
			     const struct isa_row *row)
{
	(void)decoded;
	insn->reg[1] = row->argument;
	return row->execute;
}

/* -- extended control registers, MXCSR -- */

void fpu_run_xgetbv(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;

	(void)insn;
	if (!(cpu->cr4 & FPU_CR4_OSXSAVE))
		cpu_raise(cpu, EXCEPTION_UD);
	switch ((uint32_t)cpu->gpr[CPU_RCX]) {
	case 0:
		value = cpu->xcr0;
		break;
	case 1:
		fpu_leave(cpu);
		value = components_in_use(cpu) & cpu->xcr0;
		break;
	default:
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	}
	cpu->gpr[CPU_RAX] = (uint32_t)value;
	cpu->gpr[CPU_RDX] = value >> 32;
}

void fpu_run_xsetbv(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value =
		(uint32_t)cpu->gpr[CPU_RAX] | (uint64_t)(uint32_t)cpu->gpr[CPU_RDX] << 32;

	(void)insn;
	if (!(cpu->cr4 & FPU_CR4_OSXSAVE))
		cpu_raise(cpu, EXCEPTION_UD);
	if (cpu->cpl != 0 || (uint32_t)cpu->gpr[CPU_RCX] != 0 || !fpu_xcr0_valid(cpu, value))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	cpu->xcr0 = value;
}

void fpu_run_ldmxcsr(struct cpu *cpu, const struct insn *insn)
{
	const struct thunk *thunk = insn->thunk;
	uint64_t gva;
	uint32_t *value = (uint32_t *)(void *)cpu->fpu.scratch;

	fpu_check_gate(cpu, &thunk->traits);
	gva = segment_linear(cpu, insn->segment, mem_offset(cpu, insn), 4, false);
	/* Through the scratch buffer: another CPU may change the guest's memory after the check. */
	bytes_store32(value, (uint32_t)lin_read(cpu, gva, 4, insn->segment));
	if (bytes_load32(value) & ~fpu_layout.mxcsr_mask)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	fpu_enter(cpu);
	thunk->run(cpu, value);
}
