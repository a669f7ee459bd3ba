/*
 * The handler of an instruction that one tier leaves to another: tier.h.
 */
#include "engine/run/tier/tier.h"

void tier_execute_elsewhere(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu->insn = NULL; /* a fault of the fetch is no instruction's */
	tier_last(cpu)->run_one(cpu);
}
