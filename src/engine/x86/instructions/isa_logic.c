/*
 * Logical instructions: AND, OR, XOR, NOT, TEST (Intel SDM vol. 1 §7.3.5).
 */
#include "engine/x86/instructions/alu.h"

ALU_DEFINE(and, "", a & b)
ALU_DEFINE(or, "", a | b)
ALU_DEFINE(xor, "", a ^ b)
ALU_COMPARE_DEFINE(test)
UNARY_DEFINE(not, ~a)

static insn_handler *bind_binary(struct insn *insn, const struct decoded *decoded,
				 const struct isa_row *row)
{
	static const alu_handlers *const operations[] = {&and_handlers, &or_handlers,
							 &xor_handlers, &test_handlers};

	return alu_bind(insn, decoded, operations[row->argument]);
}

/* NOT writes no flags, so its quiet form is always the one. */
static insn_handler *bind_not(struct insn *insn, const struct decoded *decoded,
			      const struct isa_row *row)
{
	insn_handler *handler = unary_bind(insn, decoded, &not_handlers);

	(void)row;
	if (*decoded->flagless)
		handler = *decoded->flagless;
	*decoded->flagless = NULL;
	return handler;
}

static const struct isa_row rows[] = {
	{ZYDIS_MNEMONIC_AND, .argument = 0, .bind = bind_binary, .class = INSN_COPIED, .operation = INSN_AND},
	{ZYDIS_MNEMONIC_OR, .argument = 1, .bind = bind_binary, .class = INSN_COPIED, .operation = INSN_OR},
	{ZYDIS_MNEMONIC_XOR, .argument = 2, .bind = bind_binary, .class = INSN_COPIED, .operation = INSN_XOR},
	{ZYDIS_MNEMONIC_TEST, .argument = 3, .bind = bind_binary, .class = INSN_COPIED, .operation = INSN_TESTS},
	{ZYDIS_MNEMONIC_NOT, .bind = bind_not, .class = INSN_COPIED},
};

const struct isa_table isa_logic = {rows, sizeof(rows) / sizeof(rows[0])};
