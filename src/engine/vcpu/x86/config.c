/*
 * Requests with tables or conditions of their own: MSRs (api.rst 4.18, 4.19), CPUID (4.20), guest
 * debugging (4.87), TSC frequency (4.55), interrupts from user space (4.16).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/user.h"
#include "engine/vcpu/x86/x86_vcpu.h"
#include "engine/x86/exception.h"
#include "engine/x86/system.h"
#include "engine/x86/system/cpuid.h"
#include "engine/x86/system/msr.h"

#define VECTORS           256

#define TSC_RATIO_SHIFT 48

/*
 * User space sets the TSC of one vCPU after the other, a little later each time, and means them all
 * to agree: a value near what the VM's TSC is by now is that TSC (kvm_synchronize_tsc). 0 is what a
 * new vCPU is given. With vm->lock held.
 */
static void set_tsc(struct x86_vcpu *vcpu, uint64_t value)
{
	struct x86_vm *vm = x86_vcpu_vm(vcpu);
	uint64_t now = x86_scale_tsc(vcpu, host_tsc());
	uint64_t second = vcpu->tsc_khz * UINT64_C(1000);
	uint64_t distance = value - (now + vm->tsc_offset);

	if (value != 0 && distance + second > 2 * second)
		vm->tsc_offset = value - now;
	vcpu->cpu.tsc_offset = vm->tsc_offset;
}

/* Both MSR requests stop at the first MSR that fails and return how many came before. */
static int each_msr(struct x86_vcpu *vcpu, struct kvm_msrs *user, bool is_write)
{
	struct kvm_msr_entry entries[USER_MSRS_MAX];
	int count = user_read_msrs(entries, user);
	int i, result;

	if (count < 0)
		return count;
	for (i = 0; i < count; i++) {
		struct kvm_msr_entry *entry = &entries[i];
		uint64_t value = 0;

		result = 0;
		if (is_write && entry->index == MSR_TSC) {
			set_tsc(vcpu, entry->data);
		} else if (is_write && entry->index == MSR_APIC_BASE) {
			/* The rules of transitions are for guests; a reset goes back from x2APIC. */
			result = x86_set_apic_base(vcpu, entry->data);
		} else if (is_write) {
			result = cpu_msr_write(&vcpu->cpu, entry->index, entry->data, true);
		} else {
			result = cpu_msr_read(&vcpu->cpu, entry->index, &value, true);
			if (result == 0)
				entry->data = value;
		}
		if (result < 0)
			break;
	}
	result = is_write ? 0 : user_write_msrs(user, entries, count);
	return result < 0 ? result : i;
}

int x86_get_msrs(struct x86_vcpu *vcpu, struct kvm_msrs *user)
{
	return each_msr(vcpu, user, false);
}

int x86_set_msrs(struct x86_vcpu *vcpu, struct kvm_msrs *user)
{
	return each_msr(vcpu, user, true);
}

int x86_get_cpuid(struct x86_vcpu *vcpu, struct kvm_cpuid2 *user)
{
	const struct cpu *cpu = &vcpu->cpu;
	struct kvm_cpuid2 header;
	int result = user_read(&header, user, sizeof(header));

	if (result < 0)
		return result;
	if (header.nent < cpu->cpuid_count) {
		header.nent = cpu->cpuid_count;
		result = user_write(user, &header, sizeof(header));
		return result < 0 ? result : -E2BIG;
	}
	header.nent = cpu->cpuid_count;
	result = user_write(user, &header, sizeof(header));
	if (result < 0)
		return result;
	return user_write(user->entries, cpu->cpuid, cpu->cpuid_count * sizeof(*cpu->cpuid));
}

int x86_set_cpuid(struct x86_vcpu *vcpu, const struct kvm_cpuid2 *user)
{
	struct cpu *cpu = &vcpu->cpu;
	struct kvm_cpuid_entry2 *entries;
	struct kvm_cpuid2 header;
	size_t size;
	int result = user_read(&header, user, sizeof(header));

	if (result < 0)
		return result;
	if (header.nent > X86_CPUID_ENTRIES_MAX)
		return -E2BIG;
	size = header.nent * sizeof(*entries);
	entries = malloc(size ? size : 1);
	if (!entries)
		return -ENOMEM;
	result = user_read(entries, user->entries, size);
	if (result < 0)
		goto free_entries;
	if (vcpu->common.has_run) {
		/* What a running guest has seen does not change under it. */
		if (header.nent != cpu->cpuid_count || memcmp(cpu->cpuid, entries, size) != 0)
			result = -EINVAL;
		goto free_entries;
	}
	result = cpu_set_cpuid(cpu, entries, header.nent);
	if (result == 0)
		return 0;

free_entries:
	free(entries);
	return result;
}

int x86_set_guest_debug(struct x86_vcpu *vcpu, const struct kvm_guest_debug *debug)
{
	struct cpu *cpu = &vcpu->cpu;

	if (debug->control & ~(uint32_t)X86_GUEST_DEBUG_VALID)
		return -EINVAL;
	if (debug->control & (KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP)) {
		if (cpu->exception.pending)
			return -EBUSY;
		cpu->exception = (struct cpu_event){
			.pending = true,
			.vector = debug->control & KVM_GUESTDBG_INJECT_DB ? EXCEPTION_DB
									  : EXCEPTION_BP,
			.instruction_length = 1, /* of the INT3 that it is told of */
		};
	}
	cpu->guest_debug = debug->control & KVM_GUESTDBG_ENABLE ? debug->control : 0;
	if (cpu->guest_debug & KVM_GUESTDBG_USE_HW_BP)
		memcpy(cpu->guest_debug_dr, debug->arch.debugreg, sizeof(cpu->guest_debug_dr));
	else
		memset(cpu->guest_debug_dr, 0, sizeof(cpu->guest_debug_dr));
	debug_update(cpu);
	return 0;
}

int x86_set_tsc_khz(struct x86_vcpu *vcpu, unsigned long khz)
{
	uint32_t host_khz = host_tsc_khz();

	if (khz >= X86_TSC_KHZ_END)
		return -EINVAL;
	if (khz == 0)
		khz = host_khz;
	vcpu->tsc_khz = khz;
	vcpu->tsc_ratio = khz == host_khz
				  ? 0
				  : ((unsigned __int128)khz << TSC_RATIO_SHIFT) / host_khz;
	vcpu->cpu.tsc_is_host = vcpu->tsc_ratio == 0 && host.has_steady_tsc;
	return 0;
}

int x86_interrupt(struct x86_vcpu *vcpu, const struct kvm_interrupt *interrupt)
{
	if (interrupt->irq >= VECTORS)
		return -EINVAL;
	if (!vcpu->lapic) {
		vcpu->cpu.interrupt = (struct cpu_event){
			.pending = true,
			.vector = interrupt->irq,
		};
		return 0;
	}
	if (irqchip_is_full(x86_vcpu_vm(vcpu)->irqchip))
		return -ENXIO;
	/* A split irqchip: user space has the PIC, whose vector waits for the local APIC. */
	return lapic_inject_extint(vcpu->lapic, interrupt->irq);
}
