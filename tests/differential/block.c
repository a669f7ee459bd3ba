/*
 * Cases of several instructions: blocks whose branches go forward, and loops.
 */
#include <string.h>

#include "candidate.h"

#define BLOCK_MAX     24 /* instructions in a block */
#define LOOP_END_SIZE 14

/* A branch in a block whose target is chosen when the whole block is known. */
struct branch {
	unsigned offset; /* of its displacement or address in the code; 0: none */
	unsigned size;   /* bytes of it */
	unsigned base;   /* offset in the code that a displacement counts from */
	bool is_absolute;
};

/* Displacements of 8 bits would lead back. */
static bool is_too_far(const struct branch *branch, uint64_t target)
{
	return branch->size == 1 && target - branch->base > INT8_MAX;
}

/* PUSH and RET, or an address in a register or on the stack and JMP or CALL through it. */
static void add_indirect_branch(struct isa_case *test, struct branch *branch)
{
	uint8_t *code = test->code + test->code_size;
	unsigned n = 0, reg = below(test->is_32 ? 7 : 15);

	reg += reg >= ISA_RSP;
	if (chance(50)) {
		code[n++] = 0x68; /* push imm32 */
		*branch = (struct branch){test->code_size + n, 4, 0, true};
		n += 4;
		if (chance(60)) {
			code[n++] = 0xc3;
		} else {
			memcpy(code + n, chance(50) ? "\xff\x24\x24" : "\xff\x14\x24", 3);
			n += 3;
		}
	} else {
		if (test->is_32) { /* mov reg, imm32; jmp or call reg */
			code[n++] = 0xb8 | reg;
			*branch = (struct branch){test->code_size + n, 4, 0, true};
		} else { /* lea reg, [rip + ...] */
			code[n++] = 0x48 | (reg & 8) >> 1;
			code[n++] = 0x8d;
			code[n++] = 0x05 | (reg & 7) << 3;
			*branch = (struct branch){test->code_size + n, 4, test->code_size + n + 4,
						  false};
		}
		n += 4;
		if (reg >= 8)
			code[n++] = 0x41;
		code[n++] = 0xff;
		code[n++] = (chance(50) ? 0xe0 : 0xd0) | (reg & 7);
	}
	test->code_size += n;
	test->faults_freely = true;
}

/*
 * Make the memory operand [base + 8-bit displacement], one of many off the same base. False when the
 * instruction has no such form, or changes the base.
 */
static bool share_base(struct candidate *c, struct isa_case *test)
{
	ZydisMnemonic mnemonic = c->instruction.mnemonic;
	unsigned at = c->instruction.raw.modrm.offset, base = test->shared_base;

	if (!(c->instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM) ||
	    c->instruction.raw.modrm.mod == 3)
		return false;
	if (c->instruction.attributes & ZYDIS_ATTRIB_HAS_REX)
		c->bytes[c->instruction.raw.rex.offset] &= ~3; /* B, X */
	if (c->instruction.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX &&
	    c->instruction.raw.vex.size == 3)
		c->bytes[c->instruction.raw.vex.offset + 1] |= 0x60;
	if (test->shared_index >= 0 && chance(40)) {
		c->bytes[at] = (c->bytes[at] & 0x38) | 0x44;
		c->bytes[++at] = (random64() & 0xc0) | test->shared_index << 3 | base;
	} else {
		c->bytes[at] = (c->bytes[at] & 0x38) | 0x40 | base;
		if (base == ISA_RSP)
			c->bytes[++at] = 0x24;
	}
	if (chance(60))
		c->bytes[at + 1] &= chance(50) ? 0xf8 : 0xf0;
	return decode(c, test) && is_allowed(c) && c->instruction.mnemonic == mnemonic &&
	       !undefined_flags(c, -1);
}

static bool changes(const struct candidate *c, int reg)
{
	for (unsigned i = 0; i < c->instruction.operand_count; i++)
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    c->operands[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE &&
		    register_index(c->operands[i].reg.value) == reg)
			return true;
	return false;
}

static bool changes_base(const struct candidate *c, const struct isa_case *test)
{
	return test->shared_base >= 0 &&
	       (changes(c, test->shared_base) ||
		(test->shared_index >= 0 && changes(c, test->shared_index)));
}

/* An instruction as a function's entry or exit has them, or a constant added to the base. */
static void add_frame_instruction(struct isa_case *test)
{
	uint8_t *code = test->code + test->code_size;
	unsigned n = 0, reg = below(test->is_32 ? 8 : 16), kind = below(10);

	/* Loops are about addresses that move. */
	if (test->counter >= 0)
		kind = chance(10) ? kind : 9;
	if ((int)reg == test->counter && kind < 7)
		kind = 7;
	if (kind < 7) {
		if (reg >= 8)
			code[n++] = 0x41;
		code[n++] = (kind < 4 ? 0x50 : 0x58) | (reg & 7);
	} else {
		reg = kind == 7 || test->shared_base < 0 ? ISA_RSP : test->shared_base;
		if (test->shared_index >= 0 && chance(40))
			reg = test->shared_index;
		if (!test->is_32)
			code[n++] = 0x48;
		switch (below(3)) {
		case 0: /* lea reg, [reg + 8 bits] */
			code[n++] = 0x8d;
			code[n++] = 0x40 | reg << 3 | reg;
			if (reg == ISA_RSP)
				code[n++] = 0x24;
			break;
		case 1: /* add or sub reg, 8 bits */
			code[n++] = 0x83;
			code[n++] = (chance(50) ? 0xc0 : 0xe8) | reg;
			break;
		default: /* inc or dec reg */
			code[n++] = 0xff;
			code[n++] = (chance(50) ? 0xc0 : 0xc8) | reg;
			test->code_size += n;
			return;
		}
		code[n++] = random64() & 0x38;
	}
	test->code_size += n;
}

/*
 * DIV or IDIV of a register, and CMP: it leaves flags undefined, so nothing may read them. Often the
 * dividend's upper half is near the divisor, where #DE begins.
 */
static void add_division(struct isa_case *test)
{
	uint8_t *code = test->code + test->code_size;
	bool is_wide = !test->is_32 && chance(50), is_high = is_wide && chance(50);
	unsigned n = 0, reg = below(8), number = reg | is_high << 3;

	if (reg == ISA_RSP || (int)number == test->counter || test->counter == ISA_RAX ||
	    test->counter == ISA_RDX)
		return;
	if (chance(70)) { /* lea edx, [reg - 1 ... reg + 1] */
		if (!test->is_32)
			code[n++] = 0x40 | is_wide << 3 | is_high;
		code[n++] = 0x8d;
		code[n++] = 0x50 | reg;
		code[n++] = below(3) - 1;
	}
	if (!test->is_32)
		code[n++] = 0x40 | is_wide << 3 | is_high;
	code[n++] = 0xf7;
	code[n++] = (chance(60) ? 0xf0 : 0xf8) | reg;
	code[n++] = 0x39; /* cmp */
	code[n++] = 0xc0 | below(64);
	test->code_size += n;
}

/* JRCXZ, LOOP or their like, by RCX or ECX, which is often one that makes a difference to them. */
static void add_count_branch(struct isa_case *test, struct branch *branch)
{
	uint8_t *code = test->code + test->code_size;
	bool counts = test->counter != ISA_RCX;
	unsigned n = 0;

	if (counts && chance(30)) { /* mov ecx, 0 to 2 */
		code[n++] = 0xb9;
		memset(code + n + 1, 0, 3);
		code[n] = below(3);
		n += 4;
	}
	if (!test->is_32 && chance(30))
		code[n++] = 0x67;
	code[n++] = counts ? 0xe0 | below(4) : 0xe3;
	*branch = (struct branch){test->code_size + n, 1, test->code_size + n + 1, false};
	test->code_size += n + 1;
}

/* POPF of flags that are mostly none of the system's, TF apart as it ends the case. */
static void add_flags_pop(struct isa_case *test)
{
	uint8_t *code = test->code + test->code_size;
	uint32_t flags = (random64() & 0xcd5) | (chance(90) ? 0x202 : 0);

	if (chance(10))
		flags |= random64() & 0x216000; /* ID, RF, NT, IOPL */
	code[0] = 0x68; /* push imm32 */
	memcpy(code + 1, &flags, 4);
	code[5] = 0x9d;
	test->code_size += 6;
}

static void add_instruction(struct isa_case *test, struct branch *branch)
{
	struct candidate c;
	unsigned length;

	/* Nothing undefined: a later instruction might read it. */
	do
		find_instruction(&c, test->is_32 ? ISA_BLOCKS32 : ISA_BLOCKS, test);
	while (undefined_flags(&c, -1) || (chance(90) && changes_base(&c, test)) ||
	       (test->counter >= 0 && changes(&c, test->counter)));
	if (test->shared_base >= 0 && chance(80)) {
		struct candidate shared = c;

		if (share_base(&shared, test) && !(changes_base(&shared, test) && chance(80)) &&
		    !(test->counter >= 0 && changes(&shared, test->counter)))
			c = shared;
	}
	length = c.instruction.length;
	classify(test, &c);
	if (test->shared_base < 0 || register_index(c.operands[0].mem.base) != test->shared_base)
		steer(test, &c, test->in.rip + test->code_size + length);
	memcpy(test->code + test->code_size, c.bytes, length);
	if (is_direct_branch(&c))
		*branch = (struct branch){test->code_size + c.instruction.raw.imm[0].offset,
					  c.instruction.raw.imm[0].size / 8,
					  test->code_size + length, false};
	test->code_size += length;
}

/* sub byte [ISA_LOOP_COUNT], 1; jnz to the start */
static void add_loop_end(struct isa_case *test)
{
	uint8_t code[LOOP_END_SIZE] = {0x80, 0x2c, 0x25, 0, 0, 0, 0, 1, 0x0f, 0x85};
	uint32_t address = ISA_LOOP_COUNT;
	int32_t back = -(int32_t)(test->code_size + LOOP_END_SIZE);

	memcpy(code + 3, &address, 4);
	memcpy(code + 10, &back, 4);
	memcpy(test->code + test->code_size, code, sizeof(code));
	test->code_size += sizeof(code);
}

void generate_block(struct isa_case *test)
{
	struct branch branches[BLOCK_MAX] = {0};
	unsigned starts[BLOCK_MAX + 1];
	unsigned count = 2 + below(BLOCK_MAX - 1);

	if (test->is_in_data)
		test->in.rip = ISA_DATA + below(ISA_DATA_SIZE - 2 * ISA_CODE_MAX);
	else
		test->in.rip = chance(90) ? ISA_CODE + 256 : ISA_CODE + ISA_PAGE - below(32);
	test->shared_base = chance(60) ? (int)below(8) : -1;
	if (test->shared_base >= 0)
		test->in.gpr[test->shared_base] = data_address(chance(50) ? 16 : 8);
	for (unsigned i = 0; i < count; i++) {
		starts[i] = test->code_size;
		if (chance(8))
			add_indirect_branch(test, &branches[i]);
		else if (chance(4))
			add_count_branch(test, &branches[i]);
		else if (chance(3))
			add_flags_pop(test);
		else if (chance(20))
			add_frame_instruction(test);
		else if (chance(3))
			add_division(test);
		else
			add_instruction(test, &branches[i]);
		if (test->code_size > ISA_CODE_MAX - LOOP_END_SIZE - ZYDIS_MAX_INSTRUCTION_LENGTH) {
			count = i + 1;
			break;
		}
	}
	starts[count] = test->code_size;
	/* Branches go forward, to another instruction or the end. */
	for (unsigned i = 0; i < count; i++) {
		const struct branch *branch = &branches[i];
		uint64_t target = starts[i + 1 + below(count - i)];

		if (!branch->offset)
			continue;
		if (is_too_far(branch, target))
			target = starts[i + 1];
		target = branch->is_absolute ? test->in.rip + target : target - branch->base;
		memcpy(test->code + branch->offset, &target, branch->size);
	}
	if (test->is_in_data)
		add_loop_end(test);
}

/* The loop's last instruction: back to `start`, an instruction near the first one. */
static void add_loop_jump(struct isa_case *test, int32_t start)
{
	uint8_t *code = test->code + test->code_size;
	int32_t distance = start - (int32_t)test->code_size;
	unsigned n = 0;

	if (test->counter == ISA_RCX && distance > -120) {
		if (!test->is_32 && chance(30))
			code[n++] = 0x67;
		code[n++] = 0xe0 | (chance(60) ? 2 : below(2)); /* LOOP, LOOPE or LOOPNE */
		code[n] = (uint8_t)(distance - (int32_t)(n + 1));
		test->code_size += n + 1;
		return;
	}
	/* dec counter; jnz */
	if (!test->is_32)
		code[n++] = 0x48 | test->counter >> 3;
	code[n++] = 0xff;
	code[n++] = 0xc8 | (test->counter & 7);
	code[n++] = 0x0f;
	code[n++] = 0x85;
	distance -= (int32_t)(n + 4);
	memcpy(code + n, &distance, 4);
	test->code_size += n + 4;
}

void generate_loop(struct isa_case *test)
{
	struct branch branches[BLOCK_MAX] = {0};
	unsigned starts[BLOCK_MAX + 1];
	unsigned count = 1 + below(BLOCK_MAX / 2), first = below(2);

	test->in.rip = ISA_CODE + 256;
	do
		test->counter = chance(15) ? ISA_RCX : below(test->is_32 ? 8 : 16);
	while (test->counter == ISA_RSP);
	do
		test->shared_base = below(8);
	while (test->shared_base == test->counter);
	do
		test->shared_index = below(8);
	while (test->shared_index == test->counter || test->shared_index == test->shared_base ||
	       test->shared_index == ISA_RSP);
	for (unsigned i = 0; i < count; i++) {
		starts[i] = test->code_size;
		if (chance(30))
			add_frame_instruction(test);
		else if (chance(4))
			add_count_branch(test, &branches[i]);
		else if (chance(2))
			add_flags_pop(test);
		else if (chance(4))
			add_division(test);
		else
			add_instruction(test, &branches[i]);
	}
	if (first >= count)
		first = 0;
	starts[count] = test->code_size;
	/* These may have been steered elsewhere. */
	test->in.gpr[test->counter] = 1 + below(chance(30) ? 200 : 30);
	test->in.gpr[test->shared_base] = data_address(chance(50) ? 16 : 8);
	test->in.gpr[test->shared_index] = chance(50) ? below(64) & ~7 : -(int64_t)below(64);
	for (unsigned i = 0; test->is_32 && i < 16; i++)
		test->in.gpr[i] = (uint32_t)test->in.gpr[i];
	add_loop_jump(test, (int32_t)starts[first]);
	/* Branches go forward, in the loop or out of it. */
	for (unsigned i = 0; i < count; i++) {
		const struct branch *branch = &branches[i];
		uint64_t target = chance(30) ? test->code_size : starts[i + 1 + below(count - i)];

		if (!branch->offset)
			continue;
		if (is_too_far(branch, target))
			target = starts[i + 1];
		target -= branch->base;
		memcpy(test->code + branch->offset, &target, branch->size);
	}
}
