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

static bool begin(struct cpu *cpu, void (*begin_section)(void *context), enum cpu_exclusive kind)
{
	memory_watch_lasting(cpu); /* host addresses may be others afterwards */
	fpu_leave(cpu);
	begin_section(cpu->platform_context);
	cpu->exclusive = (uint8_t)kind;
	exclusive_waited(cpu);
	return true;
}

bool cpu_exclusive_begin(struct cpu *cpu)
{
	cpu_exclusive_widen(cpu);
	if (cpu->exclusive || !cpu->platform || !cpu->platform->exclusive_begin)
		return false;
	return begin(cpu, cpu->platform->exclusive_begin, CPU_IS_ALONE);
}

bool cpu_exclusive_begin_beside(struct cpu *cpu)
{
	if (!cpu->platform || !cpu->platform->exclusive_begin_beside)
		return cpu_exclusive_begin(cpu);
	if (cpu->exclusive)
		return false;
	return begin(cpu, cpu->platform->exclusive_begin_beside, CPU_IS_BESIDE);
}

void cpu_exclusive_widen(struct cpu *cpu)
{
	if (cpu->exclusive != CPU_IS_BESIDE)
		return;
	fpu_leave(cpu);
	cpu->platform->exclusive_widen(cpu->platform_context);
	cpu->exclusive = CPU_IS_ALONE;
}

void cpu_exclusive_end(struct cpu *cpu)
{
	fpu_leave(cpu);
	cpu->exclusive = CPU_SHARES;
	cpu->platform->exclusive_end(cpu->platform_context);
	exclusive_waited(cpu);
}

void cpu_go_apart(struct cpu *cpu)
{
	if (cpu->platform && cpu->platform->go_apart)
		cpu->platform->go_apart(cpu->platform_context);
}

void cpu_come_back(struct cpu *cpu)
{
	if (!cpu->platform || !cpu->platform->come_back)
		return;
	cpu->platform->come_back(cpu->platform_context);
	exclusive_waited(cpu);
}
