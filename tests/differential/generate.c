/*
 * Making cases: instructions (candidate.c, block.c) and a random state in which their operands make
 * sense (steer.c).
 */
#include <string.h>

#include "candidate.h"

#define RFLAGS_TF 0x100ull
#define RFLAGS_DF 0x400ull
#define RFLAGS_AC 0x40000ull

const char *const isa_class_names[ISA_CLASSES] = {
	[ISA_GENERAL] = "general", [ISA_X87] = "x87",       [ISA_MMX] = "mmx",
	[ISA_SSE] = "sse",         [ISA_AVX] = "avx",       [ISA_AVX512] = "avx512",
	[ISA_SYSTEM] = "system",   [ISA_COMPAT] = "compat", [ISA_COMPAT16] = "compat16",
	[ISA_BLOCKS] = "blocks",   [ISA_BLOCKS32] = "blocks32", [ISA_REWRITTEN] = "rewritten",
};

/* Whether it jumps near its own start at `rip`: into its own middle there may be anything. */
static bool branches_to_itself(const struct candidate *c, uint64_t rip)
{
	uint64_t length = c->instruction.length;
	uint64_t target = rip + length + (uint64_t)c->operands[0].imm.value.s;

	/* Targets may be of 16 bits. */
	return is_direct_branch(c) && (uint16_t)(target - (rip - 16)) < 16 + length;
}

static bool is_double_shift_16(const struct candidate *c)
{
	return (c->instruction.mnemonic == ZYDIS_MNEMONIC_SHLD ||
		c->instruction.mnemonic == ZYDIS_MNEMONIC_SHRD) && c->operands[0].size == 16;
}

static void generate_single(struct isa_case *test, enum isa_class class)
{
	struct candidate c;
	unsigned length, place = below(100);

	do {
		find_instruction(&c, class, test);
		length = c.instruction.length;
		if (place < 75)
			test->in.rip = ISA_CODE + 256 + below(64);
		else if (place < 90)
			test->in.rip = ISA_CODE + ISA_PAGE - below(16);
		else
			test->in.rip = ISA_CODE + ISA_CODE_SIZE - length - below(4);
	} while (branches_to_itself(&c, test->in.rip) ||
		 (is_double_shift_16(&c) && c.operands[2].type == ZYDIS_OPERAND_TYPE_IMMEDIATE &&
		  (c.operands[2].imm.value.u & 31) > 16));
	steer(test, &c, test->in.rip + length);
	/* By more than the operand's size, all of the result is undefined. */
	if (is_double_shift_16(&c))
		test->in.gpr[ISA_RCX] &= ~0x18ull;
	test->undefined_flags = undefined_flags(&c, test->in.gpr[ISA_RCX] & 0xff);
	classify(test, &c);
	test->code_size = length;
	/* Some instructions end where nothing is mapped. */
	if (place >= 96) {
		test->code_size = 1 + below(length);
		test->in.rip = ISA_CODE + ISA_CODE_SIZE - test->code_size;
		test->is_cut = true;
	}
	memcpy(test->code, c.bytes, test->code_size);
}

void generate(struct isa_case *test, enum isa_class class, uint64_t seed, uint64_t index)
{
	random_seed(mix(seed * ISA_CLASSES + class) + mix(index));
	memset(test, 0, sizeof(*test));
	test->memory = data_image(seed, index);
	test->shared_base = test->shared_index = test->counter = -1;
	test->is_16 = class == ISA_COMPAT16;
	test->is_32 = class == ISA_COMPAT || class == ISA_BLOCKS32 || test->is_16;
	test->has_fs_gs = class == ISA_BLOCKS32 && native_has_ldt && chance(80);
	for (unsigned i = 0; i < 16; i++)
		test->in.gpr[i] = random_register();
	test->in.gpr[ISA_RSP] = data_address(8) & (chance(90) ? ~7ull : ~0ull);
	if (test->is_32)
		for (unsigned i = 0; i < 16; i++)
			test->in.gpr[i] = i < 8 ? (uint32_t)test->in.gpr[i] : 0;
	test->in.rflags = random64() & RFLAGS_STATUS;
	if (chance(10))
		test->in.rflags |= RFLAGS_DF;
	if (class == ISA_GENERAL && chance(3))
		test->in.rflags |= RFLAGS_AC;
	if ((class == ISA_GENERAL || class == ISA_BLOCKS || test->is_32) && chance(4))
		test->in.rflags |= RFLAGS_TF;
	random_xsave(test->in.xsave, class);
	test->is_in_data = class == ISA_REWRITTEN;
	if ((class == ISA_BLOCKS || class == ISA_BLOCKS32) && chance(40))
		generate_loop(test);
	else if (class == ISA_BLOCKS || class == ISA_BLOCKS32 || class == ISA_REWRITTEN)
		generate_block(test);
	else
		generate_single(test, class);
	if (test->is_16)
		test->in.rip -= ISA_CODE;
}
