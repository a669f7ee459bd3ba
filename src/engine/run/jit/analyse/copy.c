#include "engine/run/jit/analyse/copy.h"

#include "engine/run/jit/analyse/registers.h"
#include "engine/x86/decode/decode.h"

/* Guest number of a general register of any width; -1 for other registers. AH.. count as RAX.. */
static int gpr_number(ZydisRegister reg, bool *high)
{
	*high = false;
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
		if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) {
			*high = true;
			return reg - ZYDIS_REGISTER_AH;
		}
		/* fall through */
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(
			ZYDIS_MACHINE_MODE_LONG_64, reg));
	default:
		return -1;
	}
}

/* Hidden operands stay where they are: only registers that the fixed map leaves in place, and
 * flags, are allowed among them. */
static bool hidden_operand_ok(const ZydisDecodedOperand *operand)
{
	bool high;
	int number;

	if (operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
		return false;
	switch (ZydisRegisterGetClass(operand->reg.value)) {
	case ZYDIS_REGCLASS_FLAGS:
	case ZYDIS_REGCLASS_X87:
	case ZYDIS_REGCLASS_MMX:
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
	case ZYDIS_REGCLASS_ZMM:
	case ZYDIS_REGCLASS_MASK:
		return true;
	default:
		break;
	}
	switch (operand->reg.value) {
	case ZYDIS_REGISTER_X87CONTROL:
	case ZYDIS_REGISTER_X87STATUS:
	case ZYDIS_REGISTER_X87TAG:
	case ZYDIS_REGISTER_MXCSR:
		return true;
	default:
		break;
	}
	number = gpr_number(operand->reg.value, &high);
	return number >= 0 && number != HOST_RSP && number < HOST_R13;
}

static bool explicit_operand(struct reencode_info *info, ZydisMnemonic mnemonic, bool is_32,
			     const ZydisDecodedOperand *operand)
{
	bool high;
	int number;

	switch (operand->type) {
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		return true;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		if (operand->mem.type == ZYDIS_MEMOP_TYPE_AGEN) {
			/* LEA: the address itself is the value; the translator has its own. */
			return false;
		}
		if (operand->mem.type != ZYDIS_MEMOP_TYPE_MEM || info->has_memory)
			return false;
		if (operand->encoding == ZYDIS_OPERAND_ENCODING_DISP16_32_64 && is_32)
			info->is_moffs = true;
		else if (operand->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM)
			return false;
		info->has_memory = true;
		info->memory_size = operand->size / 8;
		info->memory_read = operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
		info->memory_written = operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
		return info->memory_size > 0 && info->memory_size <= 64;
	case ZYDIS_OPERAND_TYPE_REGISTER:
		break;
	default:
		return false;
	}
	number = gpr_number(operand->reg.value, &high);
	if (number < 0) {
		switch (ZydisRegisterGetClass(operand->reg.value)) {
		case ZYDIS_REGCLASS_X87:
		case ZYDIS_REGCLASS_MMX:
		case ZYDIS_REGCLASS_XMM:
		case ZYDIS_REGCLASS_YMM:
		case ZYDIS_REGCLASS_ZMM:
		case ZYDIS_REGCLASS_MASK:
			return true;
		default:
			return false;
		}
	}
	info->high_byte |= high;
	if (operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ || operand->size < 32)
		info->gpr_read |= 1u << number;
	if (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) {
		info->gpr_written |= 1u << number;
		/* A conditional write (CMOV) keeps the old value. So do BSF and BSR when the
		 * source is 0, as processors have it. */
		if (operand->actions & ZYDIS_OPERAND_ACTION_CONDWRITE ||
		    mnemonic == ZYDIS_MNEMONIC_BSF || mnemonic == ZYDIS_MNEMONIC_BSR)
			info->gpr_read |= 1u << number;
	}
	/* AH to BH keep their encoding, which is that of SPL to DIL. */
	if (high)
		return true;
	switch (operand->encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG: info->reg_is_gpr = true; return true;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM: info->rm_is_gpr = true; return true;
	case ZYDIS_OPERAND_ENCODING_NDSNDD: info->vvvv_is_gpr = true; return true;
	case ZYDIS_OPERAND_ENCODING_OPCODE: info->opcode_is_gpr = true; return true;
	default:
		/* Implicit in the opcode (AL, eAX, CL): stays in place. */
		return number != HOST_RSP && number < HOST_R13;
	}
}

/*
 * Whether VEX and EVEX mean the same in 64-bit mode, but for memory. 32-bit code has bits there that
 * are ignored: W of instructions with general registers, what would extend a register's number (SDM
 * vol. 2 §2.3.5, §2.7.1). Compilers leave them in their neutral state.
 */
static bool means_the_same(const ZydisDecodedInstruction *instruction,
			   const ZydisDecodedOperand *operands, const uint8_t *bytes)
{
	ZydisDecodedOperand others[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction other;

	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(insn_decoder(CPU_MODE_CODE64, &insn_host_rules),
	                                         bytes, instruction->length, &other, others)) ||
	    other.mnemonic != instruction->mnemonic || other.length != instruction->length ||
	    other.operand_count != instruction->operand_count)
		return false;
	for (unsigned i = 0; i < other.operand_count; i++) {
		if (operands[i].type != others[i].type || operands[i].size != others[i].size)
			return false;
		if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    operands[i].reg.value != others[i].reg.value)
			return false;
	}
	return true;
}

void reencode_inspect(struct reencode_info *info, const ZydisDecodedInstruction *instruction,
		      const ZydisDecodedOperand *operands, const uint8_t *bytes)
{
	bool is_32 = instruction->machine_mode != ZYDIS_MACHINE_MODE_LONG_64;

	*info = (struct reencode_info){0};
	for (unsigned i = 0; i < instruction->operand_count; i++) {
		const ZydisDecodedOperand *operand = &operands[i];
		bool ok = operand->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN
				  ? hidden_operand_ok(operand)
				  : explicit_operand(info, instruction->mnemonic, is_32,
						     operand);

		if (!ok)
			return;
	}
	switch (instruction->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
		info->possible = true;
		break;
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		info->possible = !is_32 || means_the_same(instruction, operands, bytes);
		break;
	default:
		break;
	}
}
