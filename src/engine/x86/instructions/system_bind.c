/*
 * The system forms of mnemonics that belong to other chapters (system.h).
 */
#include "engine/x86/instructions/isa_control.h"
#include "engine/x86/instructions/isa_segment.h"
#include "engine/x86/system.h"

static insn_handler *bind_mov(struct insn *insn)
{
	uint8_t to = insn->kind[0], from = insn->kind[1];

	if (to == INSN_OPERAND_SEGMENT) {
		if (insn->reg[0] == CPU_CS || insn->reg[0] >= CPU_SEGMENTS)
			return NULL;
		/* DS, ES and SS have a part in CPU_MODE_FLAT and CPU_MODE_STACK32. */
		insn->ends_block = insn->reg[0] < CPU_FS;
		return execute_mov_to_segment;
	}
	if (from == INSN_OPERAND_SEGMENT)
		return execute_mov_from_segment;
	if (to == INSN_OPERAND_CONTROL) {
		insn->ends_block = 1;
		return execute_mov_to_control;
	}
	if (from == INSN_OPERAND_CONTROL)
		return execute_mov_from_control;
	if (to == INSN_OPERAND_DEBUG) {
		insn->ends_block = 1;
		return execute_mov_to_debug;
	}
	if (from == INSN_OPERAND_DEBUG)
		return execute_mov_from_debug;
	return NULL;
}

insn_handler *system_bind(struct insn *insn, const struct decoded *decoded)
{
	bool is_far = decoded->instruction->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;

	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
		return bind_mov(insn);
	case ZYDIS_MNEMONIC_PUSH:
		return insn->kind[0] == INSN_OPERAND_SEGMENT ? execute_push_segment : NULL;
	case ZYDIS_MNEMONIC_POP:
		if (insn->kind[0] != INSN_OPERAND_SEGMENT)
			return NULL;
		insn->ends_block = insn->reg[0] < CPU_FS;
		return execute_pop_segment;
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_RET:
		if (!is_far)
			return NULL;
		insn->ends_block = 1;
		if (insn->mnemonic == ZYDIS_MNEMONIC_JMP)
			return execute_far_jump;
		return insn->mnemonic == ZYDIS_MNEMONIC_CALL ? execute_far_call
							     : execute_far_return;
	default:
		return NULL;
	}
}
