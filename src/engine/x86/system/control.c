/*
 * Control registers: what they may hold, and what follows when they change (Intel SDM vol. 3 §2.5, §4.1,
 * §4.10.4, §9.8).
 */
#include "engine/x86/system/control.h"

#include "engine/x86/mmu/paging.h"
#include "engine/x86/mmu/tlb.h"
#include "engine/x86/system.h"
#include "engine/x86/features.h"

#define CR0_DEFINED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | \
		     CR0_NW | CR0_CD | CR0_PG)
#define CR3_PCID    0xfffull
#define CR3_KEEP    (1ull << 63)

/* CR4 bits that change what translations mean (SDM vol. 3 §4.10.4.1). */
#define CR4_TRANSLATION                                                                            \
	(CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)

/* CR4 bits that this CPU's guest may set. */
static uint64_t cr4_allowed(const struct cpu *cpu)
{
	static const struct {
		uint64_t bits;
		enum cpu_feature feature;
	} rules[] = {
		{CR4_VME | CR4_PVI, FEATURE_VME},
		{CR4_TSD, FEATURE_TSC},
		{CR4_DE, FEATURE_DE},
		{CR4_PSE, FEATURE_PSE},
		{CR4_PAE, FEATURE_PAE},
		{CR4_MCE, FEATURE_MCE},
		{CR4_PGE, FEATURE_PGE},
		{CR4_OSFXSR, FEATURE_FXSR},
		{CR4_OSXMMEXCPT, FEATURE_SSE},
		{CR4_UMIP, FEATURE_UMIP},
		{CR4_FSGSBASE, FEATURE_FSGSBASE},
		{CR4_PCIDE, FEATURE_PCID},
		{CR4_OSXSAVE, FEATURE_XSAVE},
		{CR4_SMEP, FEATURE_SMEP},
		{CR4_SMAP, FEATURE_SMAP},
	};
	uint64_t allowed = CR4_PCE;

	for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (cpu_has(cpu, rules[i].feature))
			allowed |= rules[i].bits;
	/* Linux's KVM lets every guest have the bits of the first PCs' CPUs. */
	return allowed | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_OSFXSR |
	       CR4_OSXMMEXCPT | CR4_VME | CR4_PVI;
}

uint64_t control_efer_allowed(const struct cpu *cpu)
{
	uint64_t allowed = 0;

	if (cpu_has(cpu, FEATURE_SYSCALL) || cpu_has(cpu, FEATURE_LM))
		allowed |= EFER_SCE;
	if (cpu_has(cpu, FEATURE_LM))
		allowed |= EFER_LME | EFER_LMA;
	if (cpu_has(cpu, FEATURE_NX))
		allowed |= EFER_NX;
	if (cpu_has(cpu, FEATURE_FFXSR))
		allowed |= EFER_FFXSR;
	return allowed;
}

static bool cr3_is_valid(const struct cpu *cpu, uint64_t cr3)
{
	return !(cr3 >> cpu->physical_bits);
}

bool control_is_valid(const struct cpu *cpu, uint64_t cr0, uint64_t cr3, uint64_t cr4,
		      uint64_t efer)
{
	if ((cr0 >> 32) || ((cr0 & CR0_NW) && !(cr0 & CR0_CD)) ||
	    ((cr0 & CR0_PG) && !(cr0 & CR0_PE)))
		return false;
	if (cr4 & ~cr4_allowed(cpu))
		return false;
	if ((efer & EFER_LME) && (cr0 & CR0_PG)) {
		if (!(cr4 & CR4_PAE) || !(efer & EFER_LMA) || !cr3_is_valid(cpu, cr3))
			return false;
	} else if (efer & EFER_LMA) {
		return false;
	}
	return !(cr4 & CR4_PCIDE) || (efer & EFER_LMA);
}

static bool uses_pdptrs(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LME);
}

void control_changed(struct cpu *cpu)
{
	cpu_update_mode(cpu);
	tlb_flush_all(cpu);
	tlb_switch(cpu, false);
	if (uses_pdptrs(cpu->cr0, cpu->cr4, cpu->efer))
		paging_load_pdptrs(cpu, cpu->cr3, cpu->pdptr);
}

static void reload_pdptrs(struct cpu *cpu, uint64_t cr3)
{
	if (!paging_load_pdptrs(cpu, cr3, cpu->pdptr))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
}

void control_write_cr0(struct cpu *cpu, uint64_t value)
{
	uint64_t changed, efer = cpu->efer;

	if ((value >> 32) || ((value & CR0_PG) && !(value & CR0_PE)) ||
	    ((value & CR0_NW) && !(value & CR0_CD)))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	value = (value & CR0_DEFINED) | CR0_ET;
	changed = value ^ cpu->cr0;

	if ((changed & value & CR0_PG) && (efer & EFER_LME)) {
		if (!(cpu->cr4 & CR4_PAE) || cpu->segment[CPU_CS].l)
			cpu_raise_error(cpu, EXCEPTION_GP, 0);
		efer |= EFER_LMA;
	}
	if ((changed & CR0_PG) && !(value & CR0_PG)) {
		if (cpu_is_64(cpu) || (cpu->cr4 & CR4_PCIDE))
			cpu_raise_error(cpu, EXCEPTION_GP, 0);
		efer &= ~EFER_LMA;
	}
	if ((changed & (CR0_PG | CR0_CD | CR0_NW)) && uses_pdptrs(value, cpu->cr4, efer))
		reload_pdptrs(cpu, cpu->cr3);

	cpu->cr0 = value;
	cpu->efer = efer;
	if (changed & (CR0_PG | CR0_WP | CR0_PE))
		tlb_flush_all(cpu);
	cpu_update_mode(cpu);
}

void control_write_cr3(struct cpu *cpu, uint64_t value)
{
	bool keep = false;

	if (cpu->cr4 & CR4_PCIDE) {
		keep = value & CR3_KEEP;
		value &= ~CR3_KEEP;
	}
	if (cpu_is_long(cpu) && !cr3_is_valid(cpu, value))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if (uses_pdptrs(cpu->cr0, cpu->cr4, cpu->efer))
		reload_pdptrs(cpu, value);
	cpu->cr3 = value;
	tlb_switch(cpu, keep);
}

void control_write_cr4(struct cpu *cpu, uint64_t value)
{
	uint64_t changed = value ^ cpu->cr4;

	if (value & ~cr4_allowed(cpu))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if (cpu_is_long(cpu) && !(value & CR4_PAE))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if ((changed & value & CR4_PCIDE) && (!cpu_is_long(cpu) || (cpu->cr3 & CR3_PCID)))
		cpu_raise_error(cpu, EXCEPTION_GP, 0);
	if ((changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_SMEP)) &&
	    uses_pdptrs(cpu->cr0, value, cpu->efer))
		reload_pdptrs(cpu, cpu->cr3);

	cpu->cr4 = value;
	if (changed & CR4_TRANSLATION) {
		tlb_flush_all(cpu);
		if (changed & CR4_PCIDE)
			tlb_switch(cpu, false);
	}
	cpu_update_mode(cpu);
}

void control_write_efer(struct cpu *cpu, uint64_t value)
{
	uint64_t changed = value ^ cpu->efer;

	cpu->efer = value;
	if (changed & EFER_NX)
		tlb_flush_all(cpu);
	if (changed & EFER_LMA)
		control_changed(cpu);
}
