/*
 * KVM_CHECK_EXTENSION and KVM_ENABLE_CAP: what the engine offers on any architecture (api.rst sections 4.4,
 * 7 and 8).
 *
 * The list is honest. A capability stands here when what it announces works; everything else is 0,
 * like a Linux that was built without it. docs/contract.md repeats the list for people.
 */
#include <errno.h>

#include "engine/vm/vm.h"

#define MANUAL_LOG_VALID (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET)

int capability_check(const struct vm_architecture *architecture, long capability)
{
	switch (capability) {
	case KVM_CAP_USER_MEMORY:
	case KVM_CAP_DESTROY_MEMORY_REGION_WORKS:
	case KVM_CAP_SYNC_MMU:
	case KVM_CAP_JOIN_MEMORY_REGIONS_WORKS:
	case KVM_CAP_IOEVENTFD:
	case KVM_CAP_IOEVENTFD_NO_LENGTH:
	case KVM_CAP_IOEVENTFD_ANY_LENGTH:
	case KVM_CAP_INTERNAL_ERROR_DATA:
	case KVM_CAP_ENABLE_CAP:
	case KVM_CAP_ENABLE_CAP_VM:
	case KVM_CAP_CHECK_EXTENSION_VM:
	case KVM_CAP_READONLY_MEM:
	case KVM_CAP_IMMEDIATE_EXIT:
	case KVM_CAP_COALESCED_PIO:
	case KVM_CAP_BINARY_STATS_FD:
		return 1;
	case KVM_CAP_COALESCED_MMIO:
		return COALESCED_PAGE_OFFSET;
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		return MANUAL_LOG_VALID;
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return DIRTY_RING_BYTES_MAX;
	case KVM_CAP_NR_VCPUS:
		return VM_VCPUS_ADVISED;
	case KVM_CAP_MAX_VCPUS:
		return VM_VCPUS_MAX;
	case KVM_CAP_MAX_VCPU_ID:
		return VM_VCPU_ID_MAX;
	case KVM_CAP_NR_MEMSLOTS:
		return MEMSLOTS_MAX;
	default:
		return architecture->check_capability(capability);
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
		return vm->architecture->enable_capability(vm, capability);
	}
}
