/*
 * Flags that an instruction leaves undefined: the union of what Intel (SDM vol. 2, each
 * instruction's "Flags Affected", and vol. 1 appendix A) and AMD (APM vol. 3, each instruction's
 * "rFLAGS Affected") leave so. Tests that compare with the host mask these and no others, so that
 * they hold on each vendor's processors.
 */
#ifndef KVIK_TESTS_UNDEFINED_FLAGS_H
#define KVIK_TESTS_UNDEFINED_FLAGS_H

#include <Zydis/Zydis.h>
#include <stdbool.h>
#include <stdint.h>

#define UNDEFINED_CF 0x001u
#define UNDEFINED_PF 0x004u
#define UNDEFINED_AF 0x010u
#define UNDEFINED_ZF 0x040u
#define UNDEFINED_SF 0x080u
#define UNDEFINED_OF 0x800u

#define UNDEFINED_COUNT (-1) /* CL is not known */

/* Of shifts by this many bits, as masked by the processor. */
static inline uint32_t undefined_by_shift(ZydisMnemonic mnemonic, unsigned count, unsigned size)
{
	uint32_t flags = 0;

	if (count == 0)
		return 0; /* no flag changes */
	if (count != 1)
		flags |= UNDEFINED_OF;
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_ROL: case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL: case ZYDIS_MNEMONIC_RCR:
		return flags;
	case ZYDIS_MNEMONIC_SHL: case ZYDIS_MNEMONIC_SHR:
		if (count >= size)
			flags |= UNDEFINED_CF;
		break;
	case ZYDIS_MNEMONIC_SHLD: case ZYDIS_MNEMONIC_SHRD:
		/* So is the result. */
		if (count > size)
			flags |= UNDEFINED_CF | UNDEFINED_PF | UNDEFINED_ZF | UNDEFINED_SF;
		break;
	default:
		break;
	}
	return flags | UNDEFINED_AF;
}

static inline bool undefined_is_shift(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_ROL: case ZYDIS_MNEMONIC_ROR: case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR: case ZYDIS_MNEMONIC_SHL: case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR: case ZYDIS_MNEMONIC_SHLD: case ZYDIS_MNEMONIC_SHRD:
		return true;
	default:
		return false;
	}
}

/* `cl`: what the count of a shift by CL is, or UNDEFINED_COUNT: then what any count leaves. */
static inline uint32_t undefined_flags_of_shift(const ZydisDecodedInstruction *instruction,
						const ZydisDecodedOperand *operands, int cl)
{
	bool is_double = instruction->mnemonic == ZYDIS_MNEMONIC_SHLD ||
			 instruction->mnemonic == ZYDIS_MNEMONIC_SHRD;
	const ZydisDecodedOperand *count = &operands[is_double ? 2 : 1];
	unsigned size = operands[0].size, mask = size == 64 ? 63 : 31;
	uint32_t flags = 0;

	if (count->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		return undefined_by_shift(instruction->mnemonic, count->imm.value.u & mask, size);
	if (cl != UNDEFINED_COUNT)
		return undefined_by_shift(instruction->mnemonic, (unsigned)cl & mask, size);
	for (unsigned i = 0; i <= mask; i++)
		flags |= undefined_by_shift(instruction->mnemonic, i, size);
	return flags;
}

static inline uint32_t undefined_flags_of(const ZydisDecodedInstruction *instruction,
					  const ZydisDecodedOperand *operands, int cl)
{
	switch (instruction->mnemonic) {
	case ZYDIS_MNEMONIC_AND: case ZYDIS_MNEMONIC_OR: case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_TEST:
		return UNDEFINED_AF;
	case ZYDIS_MNEMONIC_MUL: case ZYDIS_MNEMONIC_IMUL:
		return UNDEFINED_SF | UNDEFINED_ZF | UNDEFINED_AF | UNDEFINED_PF;
	case ZYDIS_MNEMONIC_DIV: case ZYDIS_MNEMONIC_IDIV:
		return UNDEFINED_OF | UNDEFINED_SF | UNDEFINED_ZF | UNDEFINED_AF | UNDEFINED_PF |
		       UNDEFINED_CF;
	case ZYDIS_MNEMONIC_AAA: case ZYDIS_MNEMONIC_AAS:
		return UNDEFINED_OF | UNDEFINED_SF | UNDEFINED_ZF | UNDEFINED_PF;
	case ZYDIS_MNEMONIC_AAD: case ZYDIS_MNEMONIC_AAM:
		return UNDEFINED_OF | UNDEFINED_AF | UNDEFINED_CF;
	case ZYDIS_MNEMONIC_DAA: case ZYDIS_MNEMONIC_DAS:
		return UNDEFINED_OF;
	case ZYDIS_MNEMONIC_BSF: case ZYDIS_MNEMONIC_BSR:
		return UNDEFINED_OF | UNDEFINED_SF | UNDEFINED_AF | UNDEFINED_PF | UNDEFINED_CF;
	/* Intel: ZF stays as it is. AMD: it is undefined. */
	case ZYDIS_MNEMONIC_BT: case ZYDIS_MNEMONIC_BTC: case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTS:
		return UNDEFINED_OF | UNDEFINED_SF | UNDEFINED_ZF | UNDEFINED_AF | UNDEFINED_PF;
	case ZYDIS_MNEMONIC_LZCNT: case ZYDIS_MNEMONIC_TZCNT:
		return UNDEFINED_OF | UNDEFINED_SF | UNDEFINED_AF | UNDEFINED_PF;
	case ZYDIS_MNEMONIC_BEXTR:
		return UNDEFINED_SF | UNDEFINED_AF | UNDEFINED_PF;
	case ZYDIS_MNEMONIC_ANDN: case ZYDIS_MNEMONIC_BLSI: case ZYDIS_MNEMONIC_BLSR:
	case ZYDIS_MNEMONIC_BLSMSK: case ZYDIS_MNEMONIC_BZHI:
		return UNDEFINED_AF | UNDEFINED_PF;
	default:
		return undefined_is_shift(instruction->mnemonic)
			       ? undefined_flags_of_shift(instruction, operands, cl)
			       : 0;
	}
}

#endif
