/*
 * The instruction set: every chapter's table, joined into one index by mnemonic. It stands above the
 * decoder, which knows rows, and beside the chapters' files, which know what they do.
 */
#include <assert.h>
#include <stdint.h>

#include "engine/x86/cpu.h"
#include "engine/x86/decode/insn.h"

#define FORMS_MOST 16 /* rows */

static const struct isa_row *rows[ZYDIS_MNEMONIC_MAX_VALUE + 1];
/* Those of a form. */
static const struct isa_row *forms[FORMS_MOST];
static unsigned form_count;

static void isa_add(const struct isa_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct isa_row *row = &table->rows[i];

		if (row->form == ISA_ANY_FORM) {
			rows[row->mnemonic] = row;
		} else {
			assert(form_count < FORMS_MOST);
			forms[form_count++] = row;
		}
	}
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

const struct isa_row *isa_find_form(uint16_t mnemonic, enum isa_form form)
{
	for (unsigned i = 0; i < form_count; i++)
		if (forms[i]->mnemonic == mnemonic && forms[i]->form == form)
			return forms[i];
	return isa_find(mnemonic);
}

static bool ends_block(const struct insn *insn, const struct isa_row *row)
{
	switch ((enum isa_ending)row->ends_block) {
	case ISA_GOES_ON: return false;
	case ISA_ENDS: return true;
	case ISA_ENDS_BY_SEGMENT: return insn->reg[0] < CPU_FS;
	case ISA_ENDS_IF_REPEATED: return insn->prefixes & (INSN_REP | INSN_REPNE);
	}
	return true;
}

insn_handler *isa_bind(struct insn *insn, const struct decoded *decoded, const struct isa_row *row)
{
	if (isa_is_thunk(row))
		return fpu_bind(insn, decoded, row);
	insn->ends_block = ends_block(insn, row);
	return row->bind ? row->bind(insn, decoded, row) : row->execute;
}
