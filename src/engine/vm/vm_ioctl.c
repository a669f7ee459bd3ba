/*
 * Requests on a VM's descriptor (KVM api.rst section 4, type "vm ioctl"): those of any architecture.
 *
 * Checks of arguments and their errno values are those of Linux's virt/kvm/kvm_main.c; what the document
 * leaves open follows that code.
 */
#include <errno.h>

#include "engine/user.h"
#include "engine/vm/vm.h"

static int set_memory_region(struct vm *vm, const void *user)
{
	struct kvm_userspace_memory_region region;
	int result = user_read(&region, user, sizeof(region));

	return result < 0 ? result : vm_set_memory_region(vm, &region);
}

static int get_dirty_log(struct vm *vm, const void *user)
{
	struct kvm_dirty_log log;
	int result = user_read(&log, user, sizeof(log));

	return result < 0 ? result : vm_get_dirty_log(vm, &log);
}

static int clear_dirty_log(struct vm *vm, const void *user)
{
	struct kvm_clear_dirty_log log;
	int result = user_read(&log, user, sizeof(log));

	return result < 0 ? result : vm_clear_dirty_log(vm, &log);
}

static int ioeventfd(struct vm *vm, const void *user)
{
	struct kvm_ioeventfd request;
	int result = user_read(&request, user, sizeof(request));

	return result < 0 ? result : ioeventfd_request(&vm->ioeventfds, &vm->exclusive, &request);
}

static int coalesced_zone(struct vm *vm, unsigned long request, const void *user)
{
	struct kvm_coalesced_mmio_zone zone;
	int result = user_read(&zone, user, sizeof(zone));

	if (result < 0)
		return result;
	return request == KVM_REGISTER_COALESCED_MMIO
		       ? coalesced_register(&vm->coalesced, &vm->exclusive, &zone)
		       : coalesced_unregister(&vm->coalesced, &vm->exclusive, &zone);
}

static int enable_capability(struct vm *vm, const void *user)
{
	struct kvm_enable_cap capability;
	int result = user_read(&capability, user, sizeof(capability));

	return result < 0 ? result : vm_enable_capability(vm, &capability);
}

/* With vm->lock held. */
static int configure(struct vm *vm, unsigned long request, void *argument)
{
	switch (request) {
	case KVM_SET_USER_MEMORY_REGION: return set_memory_region(vm, argument);
	case KVM_GET_DIRTY_LOG: return get_dirty_log(vm, argument);
	case KVM_RESET_DIRTY_RINGS: return vm_reset_dirty_rings(vm);
	case KVM_CLEAR_DIRTY_LOG: return clear_dirty_log(vm, argument);
	case KVM_IOEVENTFD: return ioeventfd(vm, argument);
	case KVM_REGISTER_COALESCED_MMIO:
	case KVM_UNREGISTER_COALESCED_MMIO: return coalesced_zone(vm, request, argument);
	case KVM_GET_STATS_FD: return vm_open_statistics(vm);
	case KVM_ENABLE_CAP: return enable_capability(vm, argument);
	default: return -ENOTTY;
	}
}

int vm_ioctl(struct vm *vm, unsigned long request, void *argument)
{
	int result;

	if (request == KVM_CHECK_EXTENSION)
		return capability_check(vm->architecture, (long)argument);
	/* First: interrupts, which are the architecture's, are the most frequent of requests. */
	result = vm->architecture->ioctl(vm, request, argument);
	if (result != -ENOTTY)
		return result;
	pthread_mutex_lock(&vm->lock);
	result = configure(vm, request, argument);
	pthread_mutex_unlock(&vm->lock);
	return result;
}
