/*
 * Copied instructions decode to what they were, registers renamed and memory redirected.
 *
 * Random bytes make the instructions, so that every encoding is met: legacy with and without REX,
 * VEX of two and three bytes, EVEX, in 64-bit and 32-bit code; a fixed seed makes a failure repeat.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/run/jit/emit/reencode.h"
#include "engine/x86/cpu.h"

static uint64_t random_state = 0x6b76696b;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static const uint8_t renamed[16] = { 0, 1, 2, 3, HOST_R15, 5, 6, 7, 8, 9, 10, 11, 12,
				     HOST_R13, HOST_R14, HOST_R13 };

/* Starts that random bytes would seldom make. */
static unsigned random_instruction(uint8_t *bytes)
{
	static const uint8_t starts[][3] = {
		{ 0x0f }, { 0x0f, 0x38 }, { 0x0f, 0x3a }, { 0x66, 0x0f }, { 0xf2, 0x0f }, { 0xf3, 0x0f },
		{ 0xc5 }, { 0xc4 }, { 0x62 }, { 0x48 }, { 0x4d }, { 0x66 }, { 0x66, 0x0f, 0x38 },
		{ 0x66, 0x0f, 0x3a }, { 0xf0, 0x48 }, { 0xf3, 0x48, 0x0f },
	};
	uint64_t choice = random_next();
	unsigned length = 0;

	for (unsigned i = 0; i < 15; i++)
		bytes[i] = random_next() >> 24;
	if (choice & 1) {
		const uint8_t *start = starts[(choice >> 8) % (sizeof(starts) / sizeof(starts[0]))];

		for (length = 0; length < 3 && start[length]; length++)
			bytes[length] = start[length];
		if (start[0] == 0xc4)
			bytes[1] = (bytes[1] & 0xe0) | (1 + (choice >> 40) % 3);
		if (start[0] == 0x62) {
			bytes[1] = (bytes[1] & 0xf0) | (1 + (choice >> 40) % 3);
			bytes[2] |= 4;
			/* Registers 0 to 7 only: all that 32-bit code has. */
			if (choice >> 48 & 1) {
				bytes[1] |= 0xf0;
				bytes[2] |= 0x40;
				bytes[3] |= 8;
			}
		}
	}
	return 15;
}

static bool is_general(ZydisRegister reg)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(reg);

	return class == ZYDIS_REGCLASS_GPR8 || class == ZYDIS_REGCLASS_GPR16 ||
	       class == ZYDIS_REGCLASS_GPR32 || class == ZYDIS_REGCLASS_GPR64;
}

static unsigned number_of(ZydisRegister reg)
{
	if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
		return reg - ZYDIS_REGISTER_AH + 16;
	return ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
}

static void check_operand(const ZydisDecodedOperand *was, const ZydisDecodedOperand *is,
			  const struct host_memory *memory)
{
	assert_int_equal(was->type, is->type);
	if (was->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	    ZydisRegisterGetClass(was->reg.value) == ZYDIS_REGCLASS_FLAGS)
		return; /* EFLAGS and RFLAGS */
	assert_int_equal(was->size, is->size);
	assert_int_equal(was->actions, is->actions);
	if (was->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		assert_int_equal(was->imm.value.u, is->imm.value.u);
	if (was->type == ZYDIS_OPERAND_TYPE_MEMORY) {
		assert_int_equal(is->mem.base, ZYDIS_REGISTER_RAX + memory->base);
		assert_int_equal(is->mem.index, memory->index == HOST_NONE
							? ZYDIS_REGISTER_NONE
							: ZYDIS_REGISTER_RAX + memory->index);
		assert_int_equal(is->mem.disp.value, memory->displacement);
	}
	if (was->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return;
	if (is_general(was->reg.value)) {
		unsigned number = number_of(was->reg.value);

		assert_int_equal(number_of(is->reg.value), number < 16 ? renamed[number] : number);
	} else {
		assert_int_equal(was->reg.value, is->reg.value);
	}
}

static struct host_memory random_memory(void)
{
	static const int32_t displacements[] = { 0, 1, -8, 0x40, -128, 127, 128, 0x1000, INT32_MIN };
	uint64_t choice = random_next();

	return (struct host_memory){
		.base = choice & 15,
		.index = choice & 16 ? HOST_NONE : HOST_R13 + (choice >> 5 & 1),
		.displacement = displacements[(choice >> 8) % 9],
	};
}

static bool is_copied_class(unsigned class)
{
	return class == INSN_COPIED || class == INSN_VECTOR;
}

static void copy_random_instructions(ZydisMachineMode mode, ZydisStackWidth stack,
				     uint32_t cpu_mode)
{
	struct reencode rename = { .without_lock = false };
	ZydisDecodedOperand was_operands[ZYDIS_MAX_OPERAND_COUNT], operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction was, is;
	ZydisDecoder decoder, host;
	unsigned copied = 0, by_encoding[8] = { 0 };

	memcpy(rename.map, renamed, sizeof(renamed));
	ZydisDecoderInit(&decoder, mode, stack);
	ZydisDecoderInit(&host, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (unsigned n = 0; n < 2000000; n++) {
		uint8_t bytes[16], out[32];
		struct emitter e = { .base = out, .code = out, .size = sizeof(out) };
		struct insn_form form;
		struct insn insn;
		unsigned size = random_instruction(bytes);

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, size, &was, was_operands)))
			continue;
		/* Others are dropped, or the interpreter's. */
		if (insn_decode_form(&insn, &form, bytes, size, cpu_mode, &insn_host_rules) ||
		    !is_copied_class(form.class) || !form.is_copyable)
			continue;
		rename.memory = random_memory();
		if (!reencode_emit(&e, &insn, &form, bytes, &rename))
			continue;
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&host, out, e.position, &is, operands)) ||
		    is.length != e.position || is.mnemonic != was.mnemonic) {
			for (unsigned i = 0; i < was.length; i++)
				fprintf(stderr, "%02x ", bytes[i]);
			fprintf(stderr, "(%s) became ", ZydisMnemonicGetString(was.mnemonic));
			for (unsigned i = 0; i < e.position; i++)
				fprintf(stderr, "%02x ", out[i]);
			fprintf(stderr, "\n");
			fail();
		}
		assert_int_equal(is.operand_count, was.operand_count);
		assert_int_equal(is.avx.mask.mode, was.avx.mask.mode);
		assert_int_equal(is.avx.mask.reg, was.avx.mask.reg);
		assert_int_equal(is.avx.broadcast.mode, was.avx.broadcast.mode);
		assert_int_equal(is.avx.rounding.mode, was.avx.rounding.mode);
		for (unsigned i = 0; i < was.operand_count; i++)
			check_operand(&was_operands[i], &operands[i], &rename.memory);
		copied++;
		by_encoding[was.encoding]++;
	}
	/* The generator does meet all that it is for. */
	assert_true(copied > 100000);
	assert_true(by_encoding[ZYDIS_INSTRUCTION_ENCODING_VEX] > 1000);
	assert_true(by_encoding[ZYDIS_INSTRUCTION_ENCODING_EVEX] > 500);
}

static void test_64_bit_code(void **state)
{
	(void)state;
	copy_random_instructions(ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64,
				 CPU_MODE_CODE64 | CPU_MODE_PROTECTED | CPU_MODE_LONG);
}

static void test_32_bit_code(void **state)
{
	(void)state;
	copy_random_instructions(ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32,
				 CPU_MODE_CODE32 | CPU_MODE_PROTECTED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_64_bit_code),
		cmocka_unit_test(test_32_bit_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
