/*
 * Flag control: PUSHF, POPF, LAHF, SAHF and the instructions that set one flag (Intel SDM vol. 1
 * §7.3.14). STI and CLI, which open and close interrupts, are the system level's.
 */
#include "engine/x86/instructions/stack.h"

#define FLAGS_SAHF (RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF | RFLAGS_CF)

/* What POPF may change wherever it is allowed at all. */
#define FLAGS_POPF                                                                                 \
	(FLAGS_SAHF | RFLAGS_OF | RFLAGS_DF | RFLAGS_TF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID)

static uint64_t pop_flags(struct cpu *cpu, unsigned size)
{
	switch (size) {
	case 2: return stack_top(cpu, 2);
	case 4: return stack_top(cpu, 4);
	default: return stack_top(cpu, 8);
	}
}

/* Virtual-8086 mode below IOPL 3: VME lets 16-bit forms work on VIF instead of IF (vol. 3 §20.3). */
static bool needs_vme(struct cpu *cpu, const struct insn *insn)
{
	if (!(cpu->mode & CPU_MODE_VM86) || cpu_iopl(cpu) == 3)
		return false;
	if (!(cpu->cr4 & CR4_VME) || insn->stack_width != 2)
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	return true;
}

static void pushf(struct cpu *cpu, const struct insn *insn)
{
	uint64_t image = cpu->rflags & ~(RFLAGS_RF | RFLAGS_VM);

	if (needs_vme(cpu, insn)) {
		image = (image & ~RFLAGS_IF) | RFLAGS_IOPL;
		if (cpu->rflags & RFLAGS_VIF)
			image |= RFLAGS_IF;
	}
	switch (insn->stack_width) {
	case 2: stack_push(cpu, image, 2); break;
	case 4: stack_push(cpu, image, 4); break;
	default: stack_push(cpu, image, 8); break;
	}
}

static void popf(struct cpu *cpu, const struct insn *insn)
{
	bool vme = needs_vme(cpu, insn);
	uint64_t image = pop_flags(cpu, insn->stack_width);
	uint64_t mask = FLAGS_POPF;

	if (vme) {
		if (image & RFLAGS_TF || (image & RFLAGS_IF && cpu->rflags & RFLAGS_VIP))
			cpu_raise_error(cpu, EXCEPTION_GP, 0);
		image = (image & 0xffff & ~RFLAGS_VIF) | (image & RFLAGS_IF ? RFLAGS_VIF : 0);
		mask = (mask & 0xffff) | RFLAGS_VIF;
	} else {
		if (cpu->cpl == 0)
			mask |= RFLAGS_IOPL;
		if (cpu->cpl <= cpu_iopl(cpu))
			mask |= RFLAGS_IF;
		if (insn->stack_width == 2)
			mask &= 0xffff;
		else
			mask |= RFLAGS_RF; /* cleared */
		image &= ~RFLAGS_RF;
	}
	stack_skip(cpu, insn->stack_width);
	cpu_write_rflags(cpu, image, mask);
}

static void lahf(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	((uint8_t *)&cpu->gpr[CPU_RAX])[1] = (uint8_t)cpu->rflags;
}

static void sahf(struct cpu *cpu, const struct insn *insn)
{
	uint8_t ah = ((uint8_t *)&cpu->gpr[CPU_RAX])[1];

	(void)insn;
	*(uint8_t *)&cpu->rflags = (uint8_t)((ah & FLAGS_SAHF) | RFLAGS_ONE);
}

static void clc(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu->rflags &= ~RFLAGS_CF;
}

static void stc(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu->rflags |= RFLAGS_CF;
}

static void cmc(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu->rflags ^= RFLAGS_CF;
}

static void cld(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu->rflags &= ~RFLAGS_DF;
}

static void std(struct cpu *cpu, const struct insn *insn)
{
	(void)insn;
	cpu->rflags |= RFLAGS_DF;
}

static const struct isa_row rows[] = {
	{ZYDIS_MNEMONIC_PUSHF, .execute = pushf, .traits = INSN_ALL_FLAGS},
	{ZYDIS_MNEMONIC_PUSHFD, .execute = pushf, .traits = INSN_ALL_FLAGS},
	{ZYDIS_MNEMONIC_PUSHFQ, .execute = pushf, .class = INSN_FLAGS_PUSHED, .traits = INSN_ALL_FLAGS},
	{ZYDIS_MNEMONIC_POPF, 1, .execute = popf, .traits = INSN_ALL_FLAGS},
	{ZYDIS_MNEMONIC_POPFD, 1, .execute = popf, .traits = INSN_ALL_FLAGS},
	{ZYDIS_MNEMONIC_POPFQ, 1, .execute = popf, .class = INSN_FLAGS_POPPED, .traits = INSN_ALL_FLAGS},
	{ZYDIS_MNEMONIC_LAHF, .execute = lahf, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_SAHF, .execute = sahf, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CLC, .execute = clc, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_STC, .execute = stc, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CMC, .execute = cmc, .class = INSN_COPIED},
	{ZYDIS_MNEMONIC_CLD, .execute = cld, .class = INSN_CLD},
	{ZYDIS_MNEMONIC_STD, .execute = std, .class = INSN_STD},
};

const struct isa_table isa_flag = {rows, sizeof(rows) / sizeof(rows[0])};
