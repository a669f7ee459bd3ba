/*
 * Memory operands are steered: the base register (or the displacement) is changed so that most
 * accesses meet the data pages, often their border, sometimes the read-only page or the end.
 */
#include <string.h>

#include "candidate.h"

static uint64_t register_value(const struct isa_case *test, ZydisRegister reg, uint64_t next_rip)
{
	int index = register_index(reg);

	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return next_rip;
	return index < 0 ? 0 : test->in.gpr[index];
}

/* Vector indexes that stay near the base. */
static void tame_index(struct isa_case *test, ZydisRegister reg)
{
	unsigned id = ZydisRegisterGetId(reg);
	uint8_t *image = test->in.xsave;

	for (unsigned i = 0; i < 8; i++) {
		uint64_t value = chance(70) ? below(256) : below(256) | (uint64_t)below(256) << 32;
		uint8_t *place;

		if (id >= 16)
			place = image + ISA_ZMM16 + (id - 16) * 64 + i * 8;
		else if (i < 2)
			place = image + ISA_XMM + id * 16 + i * 8;
		else if (i < 4)
			place = image + ISA_YMM_HIGH + id * 16 + (i - 2) * 8;
		else
			place = image + ISA_ZMM_HIGH + id * 32 + (i - 4) * 8;
		memcpy(place, &value, 8);
	}
}

static void patch(struct candidate *c, unsigned offset, uint64_t value, unsigned size)
{
	memcpy(c->bytes + offset, &value, size);
}

/* Make the operand at `next_rip` - length meet the test's memory. */
static void steer_operand(struct isa_case *test, struct candidate *c,
			  const ZydisDecodedOperand *operand, uint64_t next_rip)
{
	unsigned size = operand->size / 8 ? operand->size / 8 : 512;
	uint64_t wanted = data_address(size);
	uint64_t address, change;
	int base = register_index(operand->mem.base);

	if (operand->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
		tame_index(test, operand->mem.index);
	address = register_value(test, operand->mem.base, next_rip) +
		  (uint64_t)operand->mem.disp.value;
	if (operand->mem.type != ZYDIS_MEMOP_TYPE_VSIB)
		address += register_value(test, operand->mem.index, next_rip) * operand->mem.scale;
	if ((!test->is_32 || test->has_fs_gs) && operand->mem.segment == ZYDIS_REGISTER_FS)
		address += ISA_FS_BASE;
	if ((!test->is_32 || test->has_fs_gs) && operand->mem.segment == ZYDIS_REGISTER_GS)
		address += ISA_GS_BASE;
	change = wanted - address;
	/* Offsets in a 16-bit segment: those in the lower half of the linear address. */
	if (test->is_16)
		change = (uint16_t)(wanted - address) - (c->instruction.address_width > 16 ?
								 address - (uint16_t)address :
								 0);

	if (base >= 0) {
		if (operand->mem.index != ZYDIS_REGISTER_NONE &&
		    register_index(operand->mem.index) == base)
			change /= operand->mem.scale + 1;
		test->in.gpr[base] += change;
		if (test->is_32)
			test->in.gpr[base] = (uint32_t)test->in.gpr[base];
	} else if (c->instruction.raw.disp.size >= (test->is_16 ? 16 : 32)) {
		patch(c, c->instruction.raw.disp.offset, (uint64_t)operand->mem.disp.value + change,
		      c->instruction.raw.disp.size / 8);
	}
}

void steer(struct isa_case *test, struct candidate *c, uint64_t next_rip)
{
	const ZydisDecodedInstruction *instruction = &c->instruction;
	uint64_t *gpr = test->in.gpr;

	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		if (chance(70))
			gpr[ISA_RDX] = chance(60) ? 0 : test->is_32 ? UINT32_MAX : UINT64_MAX;
		if (chance(50))
			gpr[ISA_RAX] &= 0xff;
		break;
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC: {
		int index = register_index(c->operands[1].reg.value);

		if (c->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER && index >= 0 && chance(80))
			gpr[index] = (int64_t)below(4096) - 2048;
		if (test->is_32 && index >= 0)
			gpr[index] = (uint32_t)gpr[index];
		break;
	}
	case ZYDIS_MNEMONIC_CMPXCHG:
		if (chance(30))
			gpr[ISA_RAX] = gpr[below(16)];
		break;
	default:
		break;
	}
	if (instruction->attributes &
	    (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
		gpr[ISA_RCX] = below(24);
	if (class_of(c) == ISA_SYSTEM) {
		/* Components that exist in both. */
		gpr[ISA_RAX] = random64() & native_components;
		gpr[ISA_RDX] = 0;
	}
	if (chance(94))
		for (unsigned i = 0; i < instruction->operand_count; i++)
			if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
				steer_operand(test, c, &c->operands[i], next_rip);
	/* Upper halves that addresses of 32 bits leave alone, or truncate. */
	if (instruction->meta.category == ZYDIS_CATEGORY_STRINGOP && !test->is_32 &&
	    instruction->address_width == 32 && chance(60)) {
		gpr[ISA_RCX] = random64() << 32 | (chance(30) ? 0 : (uint32_t)gpr[ISA_RCX]);
		gpr[ISA_RSI] ^= random64() << 32;
		gpr[ISA_RDI] ^= random64() << 32;
	}
}

/* Several memory operands, or an access and a branch to a target that may not be canonical. */
static bool faults_freely(const struct candidate *c)
{
	unsigned accesses = 0;

	for (unsigned i = 0; i < c->instruction.operand_count; i++) {
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			accesses++;
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    c->operands[i].mem.type == ZYDIS_MEMOP_TYPE_VSIB)
			accesses++;
	}
	return accesses > 1 ||
	       (accesses && c->instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE);
}

void classify(struct isa_case *test, const struct candidate *c)
{
	enum isa_class class = class_of(c);

	test->faults_freely |= faults_freely(c) || class == ISA_SYSTEM;
	test->is_mmx |= class == ISA_MMX;
	test->is_system |= class == ISA_SYSTEM;
	test->is_fpu |= class >= ISA_X87 && class <= ISA_AVX512;
	test->is_narrow_string |= c->instruction.address_width == 32 &&
				  c->instruction.meta.category == ZYDIS_CATEGORY_STRINGOP;
	for (unsigned i = 0; i < c->instruction.operand_count; i++) {
		if (c->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
			test->is_large |= c->operands[i].size > 64;
			test->is_gather |= c->operands[i].mem.type == ZYDIS_MEMOP_TYPE_VSIB;
		}
	}
	switch (c->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		test->is_masked_store = true;
		break;
	case ZYDIS_MNEMONIC_POPA:
	case ZYDIS_MNEMONIC_POPAD:
		test->is_popa = true;
		break;
	default:
		break;
	}
}
