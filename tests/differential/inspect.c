/*
 * Looking at cases: as text, and for what the comparison must forgive.
 */
#include <stdio.h>
#include <string.h>

#include "candidate.h"

#include "engine/x86/decode/isa_set.h"
#include "engine/x86/host/host.h"

void describe(const struct isa_case *test, char *text, size_t size)
{
	ZydisFormatter formatter;
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	unsigned position = 0;
	size_t used = 0;

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	while (position < test->code_size && used < size - 1) {
		char line[128] = "(ends here)";
		bool is_valid = ZYAN_SUCCESS(ZydisDecoderDecodeFull(
			decoder(test), test->code + position, test->code_size - position,
			&instruction, operands));
		unsigned length = is_valid ? instruction.length : test->code_size - position;

		if (is_valid)
			ZydisFormatterFormatInstruction(&formatter, &instruction, operands,
							instruction.operand_count_visible, line,
							sizeof(line), test->in.rip + position,
							NULL);
		used += snprintf(text + used, size - used, "%s%s", position ? "\n" : "", line);
		position += length;
	}
}

/* `is_again`: behind a jump back. Another one leads to nothing that hasn't been seen. */
static uint64_t dead_flags_from(const struct isa_case *test, uint64_t rip, bool is_again)
{
	uint64_t offset = rip - test->in.rip, live = RFLAGS_STATUS, dead = 0;

	while (offset < test->code_size && live) {
		struct candidate c = {0};
		const ZydisAccessedFlags *flags;
		uint64_t branch = RFLAGS_STATUS;

		memcpy(c.bytes, test->code + offset,
		       test->code_size - offset < sizeof(c.bytes) ? test->code_size - offset :
								    sizeof(c.bytes));
		if (!decode(&c, test))
			return dead;
		offset += c.instruction.length;
		flags = c.instruction.cpu_flags;
		if (flags)
			live &= ~(uint64_t)flags->tested;
		/* Of both ways what is dead on both. */
		if (is_direct_branch(&c)) {
			int64_t distance = c.operands[0].imm.value.s;

			if (distance >= 0 || !is_again)
				branch = dead_flags_from(test, test->in.rip + offset + distance,
							 is_again || distance < 0);
			if (c.instruction.meta.category != ZYDIS_CATEGORY_COND_BR)
				return dead | (live & branch);
			live &= branch;
		} else if (c.instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE) {
			return dead;
		}
		if (flags) {
			uint64_t written = flags->modified | flags->set_0 | flags->set_1 |
					   flags->undefined;

			dead |= live & written;
			live &= ~written;
		}
	}
	return dead;
}

uint64_t dead_flags(const struct isa_case *test, uint64_t rip)
{
	return dead_flags_from(test, rip, false);
}

/* The instruction at the state's RIP; false when the case has none there. */
static bool decode_at(const struct isa_case *test, const struct isa_state *state,
		      struct candidate *c)
{
	uint64_t offset = state->rip - test->in.rip;

	*c = (struct candidate){0};
	if (offset >= test->code_size)
		return false;
	memcpy(c->bytes, test->code + offset,
	       test->code_size - offset < sizeof(c->bytes) ? test->code_size - offset :
							     sizeof(c->bytes));
	return decode(c, test);
}

bool is_fpu_at(const struct isa_case *test, const struct isa_state *state)
{
	struct candidate c;

	if (!decode_at(test, state, &c))
		return false;
	switch (c.instruction.meta.isa_set) {
	case ZYDIS_ISA_SET_X87: case ZYDIS_ISA_SET_FCMOV:
	case ZYDIS_ISA_SET_PENTIUMMMX: case ZYDIS_ISA_SET_SSEMXCSR:
		return true;
	default:
		break;
	}
	for (unsigned i = 0; i < c.instruction.operand_count; i++)
		switch (ZydisRegisterGetClass(c.operands[i].reg.value)) {
		case ZYDIS_REGCLASS_MMX: case ZYDIS_REGCLASS_XMM: case ZYDIS_REGCLASS_YMM:
		case ZYDIS_REGCLASS_ZMM: case ZYDIS_REGCLASS_MASK: case ZYDIS_REGCLASS_X87:
			return true;
		default:
			break;
		}
	return false;
}

unsigned int1_length_at(const struct isa_case *test, const struct isa_state *state)
{
	struct candidate c;

	return decode_at(test, state, &c) && c.instruction.mnemonic == ZYDIS_MNEMONIC_INT1 ? c.instruction.length : 0;
}

bool is_behind_popf(const struct isa_case *test, const struct isa_state *state)
{
	uint64_t at = state->rip - test->in.rip;

	return at - 1 < test->code_size && test->code[at - 1] == 0x9d;
}

bool is_hidden_at(const struct isa_case *test, const struct isa_state *state)
{
	struct candidate c;

	return host.is_masked && decode_at(test, state, &c) &&
	       !isa_host_has(&c.instruction, isa_find((uint16_t)c.instruction.mnemonic));
}

bool wraps_in_segment(const struct isa_case *test, const struct isa_state *state)
{
	struct candidate c;

	if (!decode_at(test, state, &c))
		return false;
	for (unsigned i = 0; i < c.instruction.operand_count; i++) {
		const ZydisDecodedOperand *operand = &c.operands[i];
		int base = register_index(operand->mem.base);
		int index = register_index(operand->mem.index);
		uint32_t address = operand->mem.disp.value;

		if (operand->type != ZYDIS_OPERAND_TYPE_MEMORY ||
		    (operand->mem.segment != ZYDIS_REGISTER_FS &&
		     operand->mem.segment != ZYDIS_REGISTER_GS))
			continue;
		if (base >= 0)
			address += state->gpr[base];
		if (index >= 0)
			address += state->gpr[index] * operand->mem.scale;
		if ((uint64_t)address + operand->size / 8 > 1ull << 32)
			return true;
	}
	return false;
}
