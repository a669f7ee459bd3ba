/*
 * Exclusive sections, as the CPU's own thread begins and ends them (cpu.h).
 */
#include "engine/x86/cpu.h"
#include "engine/x86/platform.h"
#include "engine/x86/mmu/memory.h"
#include "engine/x86/mmu/tlb.h"

/* This CPU has waited inside an instruction, or may have. What others keep across it (the rest of the
 * block, places that translated code has proven) ends with the instruction. */
static void exclusive_waited(struct cpu *cpu)
{
	if (tlb_obey_flush(cpu))
		cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}

static bool begin(struct cpu *cpu, enum cpu_exclusive kind)
{
	memory_watch_lasting(cpu); /* host addresses may be others afterwards */
	if (kind == CPU_IS_BESIDE)
		platform_exclusive_begin_beside(cpu);
	else
		platform_exclusive_begin(cpu);
	cpu->exclusive = (uint8_t)kind;
	exclusive_waited(cpu);
	return true;
}

bool cpu_exclusive_begin(struct cpu *cpu)
{
	cpu_exclusive_widen(cpu);
	if (cpu->exclusive || !platform_has_sections(cpu))
		return false;
	return begin(cpu, CPU_IS_ALONE);
}

bool cpu_exclusive_begin_beside(struct cpu *cpu)
{
	if (!platform_has_sections_beside(cpu))
		return cpu_exclusive_begin(cpu);
	if (cpu->exclusive)
		return false;
	return begin(cpu, CPU_IS_BESIDE);
}

void cpu_exclusive_widen(struct cpu *cpu)
{
	if (cpu->exclusive != CPU_IS_BESIDE)
		return;
	platform_exclusive_widen(cpu);
	cpu->exclusive = CPU_IS_ALONE;
}

void cpu_exclusive_end(struct cpu *cpu)
{
	cpu->exclusive = CPU_SHARES;
	platform_exclusive_end(cpu);
	exclusive_waited(cpu);
}

void cpu_go_apart(struct cpu *cpu)
{
	platform_go_apart(cpu);
}

void cpu_come_back(struct cpu *cpu)
{
	if (platform_come_back(cpu))
		exclusive_waited(cpu);
}
