/*
 * Machine checks that user space sets up and raises (api.rst 4.104, 4.105; SDM vol. 3 §15.3).
 */
#include <errno.h>

#include "engine/vcpu/x86/x86_vcpu.h"
#include "engine/x86/exception.h"
#include "engine/x86/system.h"
#include "engine/x86/system/msr.h"

#define MSR_MCG_CAP    0x179
#define MSR_MCG_CTL    0x17b
#define MSR_MC0_CTL    0x400 /* of each bank four: CTL, STATUS, ADDR, MISC */
#define BANK_REGISTERS 4

#define MCG_CAP_COUNT     UINT64_C(0xff)
#define MCG_CTL_P         (UINT64_C(1) << 8)
#define MCG_CAP_SUPPORTED (MCG_CTL_P | UINT64_C(1) << 24) /* and MCG_SER_P */
#define MCG_CAP_EXT_COUNT UINT64_C(0xff0000)
#define MCG_STATUS_MCIP   (UINT64_C(1) << 2)

#define STATUS_VALID       (UINT64_C(1) << 63)
#define STATUS_OVERFLOW    (UINT64_C(1) << 62)
#define STATUS_UNCORRECTED (UINT64_C(1) << 61)

enum bank_register { BANK_CTL, BANK_STATUS, BANK_ADDRESS, BANK_MISC };

static uint64_t read_msr(struct x86_vcpu *vcpu, uint32_t index)
{
	uint64_t value;

	return cpu_msr_read(&vcpu->cpu, index, &value, true) < 0 ? 0 : value;
}

static uint64_t read_bank(struct x86_vcpu *vcpu, unsigned bank, enum bank_register which)
{
	return read_msr(vcpu, MSR_MC0_CTL + bank * BANK_REGISTERS + which);
}

static void write_bank(struct x86_vcpu *vcpu, unsigned bank, enum bank_register which, uint64_t value)
{
	cpu_msr_write(&vcpu->cpu, MSR_MC0_CTL + bank * BANK_REGISTERS + which, value, true);
}

int x86_setup_mce(struct x86_vcpu *vcpu, uint64_t mcg_cap)
{
	unsigned banks = mcg_cap & MCG_CAP_COUNT;
	int result;

	if (banks == 0 || banks > X86_MCE_BANKS_MAX ||
	    (mcg_cap & ~(MCG_CAP_SUPPORTED | MCG_CAP_COUNT | MCG_CAP_EXT_COUNT)))
		return -EINVAL;
	result = cpu_msr_write(&vcpu->cpu, MSR_MCG_CAP, mcg_cap, true);
	if (result < 0)
		return result;
	/* All errors are reported until the guest says otherwise. */
	if (mcg_cap & MCG_CTL_P)
		cpu_msr_write(&vcpu->cpu, MSR_MCG_CTL, UINT64_MAX, true);
	for (unsigned bank = 0; bank < banks; bank++)
		write_bank(vcpu, bank, BANK_CTL, UINT64_MAX);
	return 0;
}

static void fill_bank(struct x86_vcpu *vcpu, const struct kvm_x86_mce *mce)
{
	uint64_t old = read_bank(vcpu, mce->bank, BANK_STATUS);

	write_bank(vcpu, mce->bank, BANK_ADDRESS, mce->addr);
	write_bank(vcpu, mce->bank, BANK_MISC, mce->misc);
	write_bank(vcpu, mce->bank, BANK_STATUS,
		   mce->status | (old & STATUS_VALID ? STATUS_OVERFLOW : 0));
}

/* Another in the midst of one, or where none is awaited, shuts a processor down (§15.3.1.2). */
static void raise_check(struct x86_vcpu *vcpu, const struct kvm_x86_mce *mce)
{
	struct cpu *cpu = &vcpu->cpu;

	if ((cpu->mcg_status & MCG_STATUS_MCIP) || !(cpu->cr4 & CR4_MCE)) {
		vcpu->triple_fault_pending = true;
		return;
	}
	fill_bank(vcpu, mce);
	cpu->mcg_status = mce->mcg_status;
	cpu->exception = (struct cpu_event){ .pending = true, .vector = EXCEPTION_MC };
}

int x86_set_mce(struct x86_vcpu *vcpu, const struct kvm_x86_mce *mce)
{
	uint64_t mcg_cap = read_msr(vcpu, MSR_MCG_CAP), old;

	if (mce->bank >= (mcg_cap & MCG_CAP_COUNT) || !(mce->status & STATUS_VALID))
		return -EINVAL;
	old = read_bank(vcpu, mce->bank, BANK_STATUS);
	if (!(mce->status & STATUS_UNCORRECTED)) {
		/* An uncorrected error is not written over by a corrected one. */
		if ((old & STATUS_VALID) && (old & STATUS_UNCORRECTED))
			write_bank(vcpu, mce->bank, BANK_STATUS, old | STATUS_OVERFLOW);
		else
			fill_bank(vcpu, mce);
		return 0;
	}
	/* The guest has switched their reports off. */
	if ((mcg_cap & MCG_CTL_P) && read_msr(vcpu, MSR_MCG_CTL) != UINT64_MAX)
		return 0;
	if (read_bank(vcpu, mce->bank, BANK_CTL) != UINT64_MAX)
		return 0;
	raise_check(vcpu, mce);
	return 0;
}
