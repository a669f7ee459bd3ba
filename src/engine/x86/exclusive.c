/*
 * Exclusive sections, as the CPU's own thread begins and ends them (cpu.h).
 */
#include "engine/x86/cpu.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/tlb.h"

/* This CPU has waited inside an instruction, or may have. What others keep across it (the rest of the
 * block, places that translated code has proven) ends with the instruction. */
static void exclusive_waited(struct cpu *cpu)
{
	if (tlb_obey_flush(cpu))
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}

bool cpu_exclusive_begin(struct cpu *cpu)
{
	if (cpu->exclusive || !cpu->platform || !cpu->platform->exclusive_begin)
		return false;
	memory_watch_lasting(cpu); /* host addresses may be others afterwards */
	fpu_leave(cpu);
	cpu->platform->exclusive_begin(cpu->platform_context);
	cpu->exclusive = true;
	exclusive_waited(cpu);
	return true;
}

void cpu_exclusive_end(struct cpu *cpu)
{
	fpu_leave(cpu);
	cpu->exclusive = false;
	cpu->platform->exclusive_end(cpu->platform_context);
	exclusive_waited(cpu);
}
