/*
 * What KVM_CHECK_EXTENSION and KVM_ENABLE_CAP know of x86 (api.rst sections 4.4, 7 and 8); what they know of
 * any architecture stands in vm/capability.c, with the rule that both hold to.
 */
#include <errno.h>

#include "engine/vm/x86/x86_vm.h"

#define X2APIC_API_VALID (KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
/* Newer than the oldest <linux/kvm.h> that kvik is built with. */
#define CAP_VM_TYPES 235

#define MSR_EXITS_VALID \
	(KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER)

int x86_vm_check_capability(long capability)
{
	switch (capability) {
	case KVM_CAP_IRQCHIP:
	case KVM_CAP_HLT:
	case KVM_CAP_SET_TSS_ADDR:
	case KVM_CAP_EXT_CPUID:
	case KVM_CAP_CLOCKSOURCE:
	case KVM_CAP_PIT:
	case KVM_CAP_NOP_IO_DELAY:
	case KVM_CAP_MP_STATE:
	case KVM_CAP_USER_NMI:
	case KVM_CAP_SET_GUEST_DEBUG:
	case KVM_CAP_REINJECT_CONTROL:
	case KVM_CAP_IRQ_INJECT_STATUS:
	case KVM_CAP_IRQFD:
	case KVM_CAP_IRQFD_RESAMPLE:
	case KVM_CAP_PIT2:
	case KVM_CAP_PIT_STATE2:
	case KVM_CAP_SET_BOOT_CPU_ID:
	case KVM_CAP_SET_IDENTITY_MAP_ADDR:
	case KVM_CAP_VCPU_EVENTS:
	case KVM_CAP_DEBUGREGS:
	case KVM_CAP_X86_ROBUST_SINGLESTEP:
	case KVM_CAP_XSAVE:
	case KVM_CAP_XCRS:
	case KVM_CAP_TSC_CONTROL:
	case KVM_CAP_GET_TSC_KHZ:
	case KVM_CAP_KVMCLOCK_CTRL:
	case KVM_CAP_SIGNAL_MSI:
	case KVM_CAP_EXT_EMUL_CPUID:
	case KVM_CAP_TSC_DEADLINE_TIMER:
	case KVM_CAP_SPLIT_IRQCHIP:
	case KVM_CAP_GET_MSR_FEATURES:
	case KVM_CAP_EXCEPTION_PAYLOAD:
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
	case KVM_CAP_SREGS2:
	case KVM_CAP_VCPU_ATTRIBUTES:
	case KVM_CAP_X86_USER_SPACE_MSR:
	case KVM_CAP_X86_MSR_FILTER:
		return 1;
	case KVM_CAP_SET_GUEST_DEBUG2:
		return X86_GUEST_DEBUG_VALID;
	case KVM_CAP_X86_DISABLE_EXITS:
		return KVM_X86_DISABLE_EXITS_PAUSE;
	case CAP_VM_TYPES:
		return 1; /* KVM_X86_DEFAULT_VM, which is 0 */
	case KVM_CAP_ADJUST_CLOCK:
		return vm_clock_flags();
	case KVM_CAP_SYNC_REGS:
		return KVM_SYNC_X86_VALID_FIELDS;
	case KVM_CAP_IRQ_ROUTING:
		return VM_GSI_MAX;
	case KVM_CAP_X2APIC_API:
		return X2APIC_API_VALID;
	case KVM_CAP_MCE:
		return X86_MCE_BANKS_MAX;
	case KVM_CAP_XSAVE2:
		return sizeof(struct kvm_xsave);
	default:
		return 0;
	}
}

int x86_vm_enable_capability(struct vm *common, const struct kvm_enable_cap *capability)
{
	struct x86_vm *vm = x86_vm_of(common);
	uint64_t argument = capability->args[0];

	switch (capability->cap) {
	case KVM_CAP_SPLIT_IRQCHIP:
		if (argument > VM_GSI_MAX)
			return -EINVAL;
		if (atomic_load(&common->member_count))
			return -EEXIST;
		return irqchip_enable_split(vm->irqchip, argument);
	case KVM_CAP_X2APIC_API:
		if (argument & ~(uint64_t)X2APIC_API_VALID)
			return -EINVAL;
		return irqchip_set_x2apic_flags(vm->irqchip, argument);
	case KVM_CAP_X86_USER_SPACE_MSR:
		if (argument & ~(uint64_t)MSR_EXITS_VALID)
			return -EINVAL;
		atomic_store(&vm->msr_exits, (uint32_t)argument);
		return 0;
	case KVM_CAP_X86_DISABLE_EXITS:
		/* PAUSE never leaves to user space anyway. */
		if (argument & ~(uint64_t)KVM_X86_DISABLE_EXITS_PAUSE ||
		    atomic_load(&common->member_count))
			return -EINVAL;
		return 0;
	case KVM_CAP_EXCEPTION_PAYLOAD:
		vm->exception_payload = argument;
		return 0;
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
		vm->triple_fault_event = argument;
		return 0;
	default:
		return -EINVAL;
	}
}
