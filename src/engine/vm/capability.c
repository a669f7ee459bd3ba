/*
 * KVM_CHECK_EXTENSION and KVM_ENABLE_CAP: what the engine offers (api.rst sections 4.4, 7 and 8).
 *
 * The list is honest. A capability stands here when what it announces works; everything else is 0,
 * like a Linux that was built without it. docs/contract.md repeats the list for people.
 */
#include <errno.h>

#include "engine/vm/vm.h"

#define X2APIC_API_VALID (KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)
/* Newer than the oldest <linux/kvm.h> that kvik is built with. */
#define CAP_VM_TYPES 235

#define MSR_EXITS_VALID \
	(KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER)
#define MANUAL_LOG_VALID (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET)

int capability_check(const struct vm *vm, long capability)
{
	(void)vm;
	switch (capability) {
	case KVM_CAP_IRQCHIP:
	case KVM_CAP_HLT:
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_SET_TSS_ADDR:
	case KVM_CAP_EXT_CPUID:
	case KVM_CAP_CLOCKSOURCE:
	case KVM_CAP_PIT:
	case KVM_CAP_NOP_IO_DELAY:
	case KVM_CAP_MP_STATE:
	case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
	case KVM_CAP_SYNC_MMU:
	case KVM_CAP_USER_NMI:
	case KVM_CAP_SET_GUEST_DEBUG:
	case KVM_CAP_REINJECT_CONTROL:
	case KVM_CAP_IRQ_INJECT_STATUS:
	case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
	case KVM_CAP_IRQFD:
	case KVM_CAP_IRQFD_RESAMPLE:
	case KVM_CAP_PIT2:
	case KVM_CAP_PIT_STATE2:
	case KVM_CAP_SET_BOOT_CPU_ID:
	case KVM_CAP_IOEVENTFD:
	case KVM_CAP_IOEVENTFD_NO_LENGTH:
	case KVM_CAP_IOEVENTFD_ANY_LENGTH:
	case KVM_CAP_SET_IDENTITY_MAP_ADDR:
	case KVM_CAP_INTERNAL_ERROR_DATA:
	case KVM_CAP_VCPU_EVENTS:
	case KVM_CAP_DEBUGREGS:
	case KVM_CAP_X86_ROBUST_SINGLESTEP:
	case KVM_CAP_ENABLE_CAP:
	case KVM_CAP_ENABLE_CAP_VM:
	case KVM_CAP_CHECK_EXTENSION_VM:
	case KVM_CAP_XSAVE:
	case KVM_CAP_XCRS:
	case KVM_CAP_TSC_CONTROL:
	case KVM_CAP_GET_TSC_KHZ:
	case KVM_CAP_KVMCLOCK_CTRL:
	case KVM_CAP_SIGNAL_MSI:
	case KVM_CAP_READONLY_MEM:
	case KVM_CAP_EXT_EMUL_CPUID:
	case KVM_CAP_TSC_DEADLINE_TIMER:
	case KVM_CAP_IMMEDIATE_EXIT:
	case KVM_CAP_SPLIT_IRQCHIP:
	case KVM_CAP_GET_MSR_FEATURES:
	case KVM_CAP_EXCEPTION_PAYLOAD:
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
	case KVM_CAP_SREGS2:
	case KVM_CAP_COALESCED_PIO:
	case KVM_CAP_VCPU_ATTRIBUTES:
	case KVM_CAP_BINARY_STATS_FD:
	case KVM_CAP_X86_USER_SPACE_MSR:
	case KVM_CAP_X86_MSR_FILTER:
		return 1;
	case KVM_CAP_COALESCED_MMIO:
		return COALESCED_PAGE_OFFSET;
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		return MANUAL_LOG_VALID;
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return DIRTY_RING_BYTES_MAX;
	case KVM_CAP_SET_GUEST_DEBUG2:
		return VM_GUEST_DEBUG_VALID;
	case KVM_CAP_X86_DISABLE_EXITS:
		return KVM_X86_DISABLE_EXITS_PAUSE;
	case CAP_VM_TYPES:
		return 1; /* KVM_X86_DEFAULT_VM, which is 0 */
	case KVM_CAP_ADJUST_CLOCK:
		return vm_clock_flags();
	case KVM_CAP_SYNC_REGS:
		return KVM_SYNC_X86_VALID_FIELDS;
	case KVM_CAP_NR_VCPUS:
		return VM_VCPUS_ADVISED;
	case KVM_CAP_MAX_VCPUS:
		return VM_VCPUS_MAX;
	case KVM_CAP_MAX_VCPU_ID:
		return VM_VCPU_ID_MAX;
	case KVM_CAP_NR_MEMSLOTS:
		return MEMSLOTS_MAX;
	case KVM_CAP_IRQ_ROUTING:
		return VM_IRQ_ROUTES_MAX;
	case KVM_CAP_X2APIC_API:
		return X2APIC_API_VALID;
	case KVM_CAP_MCE:
		return VM_MCE_BANKS_MAX;
	case KVM_CAP_XSAVE2:
		return sizeof(struct kvm_xsave);
	default:
		return 0;
	}
}

static int enable_dirty_rings(struct vm *vm, uint64_t bytes)
{
	int result = dirty_ring_check_size(bytes);

	if (result < 0)
		return result;
	if (vm->dirty_ring_bytes || atomic_load(&vm->member_count))
		return -EINVAL;
	vm->dirty_ring_bytes = (uint32_t)bytes;
	vm->memslots.has_rings = true;
	return 0;
}

int vm_enable_capability(struct vm *vm, const struct kvm_enable_cap *capability)
{
	uint64_t argument = capability->args[0];

	if (capability->flags)
		return -EINVAL;
	switch (capability->cap) {
	case KVM_CAP_SPLIT_IRQCHIP:
		if (argument > VM_IRQ_ROUTES_MAX)
			return -EINVAL;
		if (atomic_load(&vm->member_count))
			return -EEXIST;
		return irqchip_enable_split(vm->irqchip, argument);
	case KVM_CAP_X2APIC_API:
		if (argument & ~(uint64_t)X2APIC_API_VALID)
			return -EINVAL;
		return irqchip_set_x2apic_flags(vm->irqchip, argument);
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		/* Of the two, the second means nothing without the first. */
		if (argument & ~(uint64_t)MANUAL_LOG_VALID ||
		    argument == KVM_DIRTY_LOG_INITIALLY_SET)
			return -EINVAL;
		vm->memslots.manual_log = argument;
		return 0;
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return enable_dirty_rings(vm, argument);
	case KVM_CAP_X86_USER_SPACE_MSR:
		if (argument & ~(uint64_t)MSR_EXITS_VALID)
			return -EINVAL;
		atomic_store(&vm->msr_exits, (uint32_t)argument);
		return 0;
	case KVM_CAP_X86_DISABLE_EXITS:
		/* PAUSE never leaves to user space anyway. */
		if (argument & ~(uint64_t)KVM_X86_DISABLE_EXITS_PAUSE ||
		    atomic_load(&vm->member_count))
			return -EINVAL;
		return 0;
	case KVM_CAP_EXCEPTION_PAYLOAD:
		vm->exception_payload = argument;
		return 0;
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
		vm->triple_fault_event = argument;
		return 0;
	case KVM_CAP_MAX_VCPU_ID:
		if (argument == 0 || argument > VM_VCPU_ID_MAX)
			return -EINVAL;
		if (vm->max_vcpu_id == argument)
			return 0;
		if (vm->max_vcpu_id != VM_VCPU_ID_MAX || atomic_load(&vm->member_count))
			return -EINVAL;
		vm->max_vcpu_id = argument;
		return 0;
	default:
		return -EINVAL;
	}
}
