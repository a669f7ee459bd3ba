#include "engine/run/direct/locked.h"

#include "engine/x86/cpu.h"
#include "engine/x86/decode/decode.h"
#include "engine/x86/mmu/memory.h"
#include "util/page.h"

#define LOCK 0xf0

bool locked_is_behind(struct cpu *cpu)
{
	struct insn_glance glance;
	const uint8_t *at;
	unsigned most;
	uint64_t gpa;

	cpu->insn = NULL;
	cpu->next_rip = cpu->rip;
	at = lin_fetch_pointer(cpu, cpu->rip, &gpa);
	if (!at)
		return false;
	most = gpa % PAGE_SIZE < INSN_LENGTH_MAX ? (unsigned)(gpa % PAGE_SIZE) : INSN_LENGTH_MAX;
	for (unsigned length = 1; length <= most; length++)
		if (at[-(int)length] == LOCK &&
		    insn_glance(&glance, at - length, length, cpu->mode, &cpu->rules) && glance.length == length)
			return true;
	return false;
}
