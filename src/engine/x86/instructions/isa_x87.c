/*
 * x87 instructions that show or change the FPU's whole environment: FNSTENV, FLDENV, FNSAVE, FRSTOR
 * and FWAIT (Intel SDM vol. 1 §8.1.10, figures 8-9 to 8-12).
 *
 * The image has 14 or 28 bytes by operand size, in a real-mode and a protected-mode form, and the
 * full tag word, which is made from the contents of the registers. Selectors of the last
 * instruction and operand are zero, as on processors that deprecate them (CPUID.7.EBX[13]).
 */
#include "engine/x86/bytes.h"
#include "engine/x86/exception.h"
#include "engine/x86/instructions/fpu_execute.h"
#include "engine/x86/fpu/fpu_image.h"
#include "engine/x86/mmu/memory.h"

#define TAG_VALID   0u
#define TAG_ZERO    1u
#define TAG_SPECIAL 2u
#define TAG_EMPTY   3u

#define REGISTERS_SIZE 80 /* ST0..ST7, 10 bytes each */
#define IMAGE_MAX      108

static void check_available(struct cpu *cpu)
{
	if (cpu->cr0 & (FPU_CR0_EM | FPU_CR0_TS))
		cpu_raise(cpu, EXCEPTION_NM);
}

static uint16_t pending_status(struct cpu *cpu)
{
	uint16_t status;

	if (!cpu->fpu.live)
		return bytes_load16(cpu->fpu.area + FPU_IMAGE_FSW);
	__asm__ volatile("fnstsw %0" : "=m"(status));
	return status;
}

/* FWAIT, and what waiting instructions do first. */
static void wait_for_exceptions(struct cpu *cpu)
{
	if (pending_status(cpu) & FPU_FSW_ES)
		cpu_raise(cpu, EXCEPTION_MF);
}

void fpu_run_fwait(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	if ((cpu->cr0 & FPU_CR0_MP) && (cpu->cr0 & FPU_CR0_TS))
		cpu_raise(cpu, EXCEPTION_NM);
	wait_for_exceptions(cpu);
}

static unsigned register_tag(const uint8_t *st)
{
	uint64_t mantissa = bytes_load64(st);
	unsigned exponent = bytes_load16(st + 8) & 0x7fff;

	if (exponent == 0)
		return mantissa == 0 ? TAG_ZERO : TAG_SPECIAL;
	if (exponent == 0x7fff || !(mantissa >> 63))
		return TAG_SPECIAL;
	return TAG_VALID;
}

static uint16_t full_tags(const uint8_t *area)
{
	unsigned top = bytes_load16(area + FPU_IMAGE_FSW) >> 11 & 7;
	unsigned tags = 0;

	for (unsigned i = 0; i < 8; i++) {
		unsigned tag = TAG_EMPTY;

		if (area[FPU_IMAGE_FTW] >> i & 1)
			tag = register_tag(area + FPU_IMAGE_ST + ((i - top) & 7) * 16);
		tags |= tag << 2 * i;
	}
	return (uint16_t)tags;
}

static uint8_t abridged_tags(unsigned tags)
{
	unsigned abridged = 0;

	for (unsigned i = 0; i < 8; i++)
		if ((tags >> 2 * i & 3) != TAG_EMPTY)
			abridged |= 1u << i;
	return (uint8_t)abridged;
}

static bool is_real_form(const struct cpu *cpu)
{
	return !(cpu->mode & CPU_MODE_PROTECTED);
}

/* Compose the environment; returns its size. */
static unsigned store_environment(struct cpu *cpu, uint8_t *image, bool is_32bit)
{
	const struct fpu *fpu = &cpu->fpu;
	const uint8_t *area = fpu->area;
	uint32_t words[7] = {
		bytes_load16(area + FPU_IMAGE_FCW),
		bytes_load16(area + FPU_IMAGE_FSW),
		full_tags(area),
	};

	words[3] = (uint32_t)fpu->fip;
	words[5] = (uint32_t)fpu->fdp;
	if (is_real_form(cpu)) {
		words[3] &= 0xffff;
		words[4] = (uint32_t)(fpu->fip >> 16 << 12) | fpu->fop;
		words[5] &= 0xffff;
		words[6] = (uint32_t)(fpu->fdp >> 16 << 12);
	} else if (is_32bit) {
		words[4] = (uint32_t)fpu->fop << 16;
	}
	for (unsigned i = 0; i < 7; i++) {
		/* Reserved upper halves are ones. */
		uint32_t reserved = i < 3 || (i == 6 && !is_real_form(cpu)) ||
						(is_real_form(cpu) && (i == 3 || i == 5))
					    ? 0xffff0000
					    : 0;

		if (is_32bit)
			bytes_store32(image + 4 * i, words[i] | reserved);
		else
			bytes_store16(image + 2 * i, (uint16_t)words[i]);
	}
	return is_32bit ? 28 : 14;
}

/* The image has registers by their distance from the top: a new top moves all of them. */
static void rotate_to_top(uint8_t *area, unsigned top)
{
	unsigned distance = top - (bytes_load16(area + FPU_IMAGE_FSW) >> 11 & 7);
	uint8_t *registers = area + FPU_IMAGE_ST;
	uint8_t old[128];

	bytes_copy(old, registers, sizeof(old));
	for (unsigned i = 0; i < 8; i++)
		bytes_copy(registers + 16 * i, old + 16 * ((i + distance) & 7), 16);
}

/* Put the environment at `image` into the area. */
static void load_environment(struct cpu *cpu, const uint8_t *image, bool is_32bit)
{
	struct fpu *fpu = &cpu->fpu;
	uint8_t *area = fpu->area;
	uint32_t words[7];

	for (unsigned i = 0; i < 7; i++)
		words[i] = is_32bit ? bytes_load32(image + 4 * i) : bytes_load16(image + 2 * i);
	rotate_to_top(area, words[1] >> 11 & 7);
	fpu_image_set_control(area, (uint16_t)words[0], (uint16_t)words[1]);
	area[FPU_IMAGE_FTW] = abridged_tags(words[2]);
	area[FPU_IMAGE_FTW + 1] = 0;
	if (is_real_form(cpu)) {
		fpu->fip = (words[3] & 0xffff) | (words[4] & ~0xfffu) << 4;
		fpu->fdp = (words[5] & 0xffff) | (words[6] & ~0xfffu) << 4;
		fpu->fop = words[4] & 0x7ff;
	} else {
		fpu->fip = words[3];
		fpu->fdp = words[5];
		fpu->fop = is_32bit ? words[4] >> 16 & 0x7ff : 0;
	}
	bytes_store64(area + FPU_IMAGE_XSTATE_BV,
		      bytes_load64(area + FPU_IMAGE_XSTATE_BV) | FPU_X87);
}

/* insn->reg[1] tells the operand size: set when 32 bits. */
static uint64_t environment_linear(struct cpu *cpu, const struct insn *insn, unsigned registers,
				   bool is_write, unsigned *size)
{
	*size = (insn->reg[1] ? 28 : 14) + registers;
	return segment_linear(cpu, insn->segment, mem_offset(cpu, insn), *size, is_write);
}

void fpu_run_fnstenv(struct cpu *cpu, const struct insn *insn)
{
	uint8_t image[IMAGE_MAX];
	uint8_t *area = cpu->fpu.area;
	unsigned size;
	uint64_t gva;

	check_available(cpu);
	gva = environment_linear(cpu, insn, 0, true, &size);
	fpu_leave(cpu);
	store_environment(cpu, image, insn->reg[1]);
	lin_write_bytes(cpu, gva, image, size, insn->segment);
	/* All exceptions are masked afterwards. */
	bytes_store16(area + FPU_IMAGE_FCW, bytes_load16(area + FPU_IMAGE_FCW) | FPU_FSW_FLAGS);
	bytes_store16(area + FPU_IMAGE_FSW,
		      bytes_load16(area + FPU_IMAGE_FSW) & (uint16_t)~(FPU_FSW_ES | FPU_FSW_B));
	bytes_store64(area + FPU_IMAGE_XSTATE_BV,
		      bytes_load64(area + FPU_IMAGE_XSTATE_BV) | FPU_X87);
}

void fpu_run_fldenv(struct cpu *cpu, const struct insn *insn)
{
	uint8_t image[IMAGE_MAX];
	unsigned size;
	uint64_t gva;

	check_available(cpu);
	wait_for_exceptions(cpu);
	gva = environment_linear(cpu, insn, 0, false, &size);
	lin_read_bytes(cpu, gva, image, size, insn->segment);
	fpu_leave(cpu);
	load_environment(cpu, image, insn->reg[1]);
}

void fpu_run_fnsave(struct cpu *cpu, const struct insn *insn)
{
	uint8_t image[IMAGE_MAX];
	unsigned size, offset;
	uint64_t gva;

	check_available(cpu);
	gva = environment_linear(cpu, insn, REGISTERS_SIZE, true, &size);
	fpu_leave(cpu);
	offset = store_environment(cpu, image, insn->reg[1]);
	for (unsigned i = 0; i < 8; i++)
		bytes_copy(image + offset + 10 * i, cpu->fpu.area + FPU_IMAGE_ST + 16 * i, 10);
	lin_write_bytes(cpu, gva, image, size, insn->segment);
	/* Then FNINIT, which leaves the registers' contents alone. */
	rotate_to_top(cpu->fpu.area, 0);
	bytes_store16(cpu->fpu.area + FPU_IMAGE_FCW, FPU_FCW_INITIAL);
	bytes_store16(cpu->fpu.area + FPU_IMAGE_FSW, 0);
	bytes_store16(cpu->fpu.area + FPU_IMAGE_FTW, 0);
	cpu->fpu.fip = 0;
	cpu->fpu.fdp = 0;
	cpu->fpu.fop = 0;
}

void fpu_run_frstor(struct cpu *cpu, const struct insn *insn)
{
	uint8_t image[IMAGE_MAX];
	unsigned size, offset;
	uint64_t gva;

	check_available(cpu);
	wait_for_exceptions(cpu);
	gva = environment_linear(cpu, insn, REGISTERS_SIZE, false, &size);
	lin_read_bytes(cpu, gva, image, size, insn->segment);
	fpu_leave(cpu);
	load_environment(cpu, image, insn->reg[1]);
	offset = size - REGISTERS_SIZE;
	for (unsigned i = 0; i < 8; i++)
		bytes_copy(cpu->fpu.area + FPU_IMAGE_ST + 16 * i, image + offset + 10 * i, 10);
}

insn_handler *fpu_bind_environment(struct insn *insn, const struct decoded *decoded,
				   const struct isa_row *row)
{
	bool is_16bit_code = (decoded->mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE16;
	bool has_prefix = decoded->instruction->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE;
	bool is_64bit = (decoded->mode & CPU_MODE_CODE_MASK) == CPU_MODE_CODE64;

	/* REX.W outweighs the prefix. */
	if (is_64bit && (decoded->instruction->attributes & ZYDIS_ATTRIB_HAS_REX) &&
	    decoded->instruction->raw.rex.W)
		has_prefix = false;
	insn->reg[1] = is_16bit_code == has_prefix;
	return row->execute;
}
