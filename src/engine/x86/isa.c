/*
 * The instruction set: every chapter's table, joined into one index by mnemonic. It stands above the
 * decoder, which knows rows, and beside the chapters' files, which know what they do.
 */
#include <stdint.h>

#include "engine/x86/decode/insn.h"

static const struct isa_row *rows[ZYDIS_MNEMONIC_MAX_VALUE + 1];

static void isa_add(const struct isa_table *table)
{
	for (size_t i = 0; i < table->count; i++)
		rows[table->rows[i].mnemonic] = &table->rows[i];
}

__attribute__((constructor)) static void isa_init(void)
{
	static const struct isa_table *const tables[] = {
		&isa_fpu, &isa_arithmetic, &isa_logic, &isa_shift, &isa_bit, &isa_move,
		&isa_string, &isa_branch, &isa_flag, &isa_stack,
		&isa_far, &isa_segment, &isa_system, &isa_io, &isa_msr,
	};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		isa_add(tables[i]);
}

const struct isa_row *isa_find(uint16_t mnemonic)
{
	return mnemonic <= ZYDIS_MNEMONIC_MAX_VALUE ? rows[mnemonic] : NULL;
}

insn_handler *isa_bind(struct insn *insn, const struct decoded *decoded, const struct isa_row *row)
{
	if (isa_is_thunk(row))
		return fpu_bind(insn, decoded, row);
	insn->ends_block = row->ends_block;
	return row->bind ? row->bind(insn, decoded, row) : row->execute;
}
