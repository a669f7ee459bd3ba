#include "engine/x86/insn.h"
#include "engine/x86/cpu.h"

const struct isa_table isa_fpu = {.rows = NULL, .count = 0};

insn_handler *fpu_bind(struct insn *insn, const struct decoded *decoded)
{
	(void)insn;
	(void)decoded;
	return NULL;
}
