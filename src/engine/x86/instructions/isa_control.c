/*
 * Instructions that move to and from control and debug registers, and those that flush translations
 * (Intel SDM vol. 3 §2.5, §4.10.4, §17.2).
 */
#include "engine/x86/instructions/isa_control.h"

#include "engine/x86/mmu/tlb.h"
#include "engine/x86/privilege.h"
#include "engine/x86/system/control.h"
#include "engine/x86/features.h"
#include "engine/x86/platform.h"

#define DR6_DEFINED (0xfull | DR6_BD | DR6_BS | DR6_BT)
#define DR7_DEFINED 0xffff2bffull

static void write_cr8(struct cpu *cpu, uint64_t value)
{
	if (value >> 4)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	platform_write_cr8(cpu, (uint8_t)value);
	/* A lower priority may let through what has been waiting. */
	cpu->interrupt_waiting = true;
	cpu_request(cpu, CPU_REQUEST_STOP_BLOCK);
}

static unsigned move_size(const struct cpu *cpu)
{
	return cpu_is_64(cpu) ? 8 : 4;
}

void execute_mov_to_control(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = operand_read(cpu, insn, 1, move_size(cpu));

	require_cpl0(cpu);
	switch (insn->reg[0]) {
	case 0: control_write_cr0(cpu, value); break;
	case 2: cpu->cr2 = value; break;
	case 3: control_write_cr3(cpu, value); break;
	case 4: control_write_cr4(cpu, value); break;
	case 8: write_cr8(cpu, value); break;
	default: cpu_raise(cpu, EXCEPTION_UD);
	}
}

void execute_mov_from_control(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value;

	require_cpl0(cpu);
	switch (insn->reg[1]) {
	case 0: value = cpu->cr0; break;
	case 2: value = cpu->cr2; break;
	case 3: value = cpu->cr3; break;
	case 4: value = cpu->cr4; break;
	case 8: value = platform_read_cr8(cpu); break;
	default: cpu_raise(cpu, EXCEPTION_UD);
	}
	operand_write(cpu, insn, 0, value, move_size(cpu));
}

/* The debug register that an operand names: DR4 and DR5 are DR6 and DR7 without CR4.DE. */
static unsigned debug_register(struct cpu *cpu, unsigned n)
{
	if (n > 7)
		cpu_raise(cpu, EXCEPTION_UD);
	require_cpl0(cpu);
	if ((n == 4 || n == 5) && (cpu->cr4 & CR4_DE))
		cpu_raise(cpu, EXCEPTION_UD);
	if (cpu->dr7 & DR7_GD)
		debug_raise(cpu, DR6_BD);
	return n == 4 || n == 5 ? n + 2 : n;
}

void execute_mov_to_debug(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = operand_read(cpu, insn, 1, move_size(cpu));
	unsigned n = debug_register(cpu, insn->reg[0]);

	if (n >= 6 && (value >> 32))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if (n == 6)
		cpu->dr6 = (value & DR6_DEFINED) | DR6_FIXED;
	else if (n == 7)
		cpu->dr7 = (value & DR7_DEFINED) | DR7_FIXED;
	else
		cpu->dr[n & 3] = value;
	if (n != 6)
		debug_update(cpu);
}

void execute_mov_from_debug(struct cpu *cpu, const struct insn *insn)
{
	unsigned n = debug_register(cpu, insn->reg[1]);
	uint64_t value = n == 6 ? cpu->dr6 : n == 7 ? cpu->dr7 : cpu->dr[n & 3];

	operand_write(cpu, insn, 0, value, move_size(cpu));
}

void execute_lmsw(struct cpu *cpu, const struct insn *insn)
{
	uint64_t value = operand_read(cpu, insn, 0, 2);
	uint64_t loaded = CR0_PE | CR0_MP | CR0_EM | CR0_TS;

	require_cpl0(cpu);
	/* LMSW can set PE but not clear it. */
	value |= cpu->cr0 & CR0_PE;
	control_write_cr0(cpu, (cpu->cr0 & ~loaded) | (value & loaded));
}

void execute_smsw(struct cpu *cpu, const struct insn *insn)
{
	require_umip(cpu);
	operand_write(cpu, insn, 0, cpu->cr0,
		      insn->kind[0] == INSN_OPERAND_MEMORY ? 2 : insn->operand_size);
}

void execute_clts(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	require_cpl0(cpu);
	cpu->cr0 &= ~CR0_TS;
}

void execute_invlpg(struct cpu *cpu, const struct insn *insn)
{
	uint64_t gva = mem_offset(cpu, insn);

	require_cpl0(cpu);
	if (!cpu_is_64(cpu))
		gva = (uint32_t)(gva + cpu->segment[insn->segment].base);
	else if (insn->segment >= CPU_FS)
		gva += cpu->segment[insn->segment].base;
	if (cpu_is_canonical(gva))
		tlb_flush_page(cpu, gva);
}

void execute_invpcid(struct cpu *cpu, const struct insn *insn)
{
	uint64_t type = load_host(INSN_GPR(cpu, insn, 0), move_size(cpu));
	uint64_t offset = mem_offset(cpu, insn), pcid, gva;

	if (!cpu_has(cpu, FEATURE_INVPCID))
		cpu_raise(cpu, EXCEPTION_UD);
	require_cpl0(cpu);
	pcid = mem_read(cpu, insn->segment, offset, 8);
	gva = mem_read(cpu, insn->segment, offset + 8, 8);
	if (type > 3 || (pcid >> 12))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if (type < 2 && pcid && !(cpu->cr4 & CR4_PCIDE))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	switch (type) {
	case 0:
		if (!cpu_is_canonical(gva))
			cpu_raise_error(cpu, EXCEPTION_GP, 0);
		tlb_flush_pcid_page(cpu, pcid, gva);
		break;
	case 1: tlb_flush_pcid(cpu, pcid); break;
	case 2: tlb_flush_all(cpu); break;
	case 3: tlb_flush_nonglobal(cpu); break;
	}
}
