/*
 * Requests on a VM's descriptor that are x86's (KVM api.rst section 4, type "vm ioctl").
 *
 * Checks of arguments and their errno values are those of Linux's arch/x86/kvm/x86.c; what the document
 * leaves open follows that code.
 */
#include <errno.h>

#include "engine/user.h"
#include "engine/vm/x86/x86_vm.h"
#include "engine/x86/host/host_tsc.h"
#include "util/page.h"

#define MMU_PAGES_MIN      64u /* KVM_MIN_ALLOC_MMU_PAGES */

static bool has_vcpus(struct x86_vm *vm)
{
	return atomic_load(&vm->common.member_count) != 0;
}

/* Inside an exclusive section. */
static void tell_members(struct x86_vm *vm, void (*tell)(struct vm_member *member))
{
	unsigned count = atomic_load(&vm->common.member_count), i;

	for (i = 0; i < count; i++)
		tell(vm->common.members[i]);
}

static int set_msr_filter(struct x86_vm *vm, const void *user)
{
	struct msr_filter *old = vm->msr_filter, *filter;
	int result = msr_filter_create(user, &filter);

	if (result < 0)
		return result;
	exclusive_begin(&vm->common.exclusive, NULL);
	vm->msr_filter = filter;
	tell_members(vm, x86_members(&vm->common)->msr_filter_changed);
	exclusive_end(&vm->common.exclusive, NULL);
	msr_filter_destroy(old);
	return 0;
}

static int get_clock(struct x86_vm *vm, void *user)
{
	struct kvm_clock_data data;

	vm_clock_get(&vm->clock, &data);
	return user_write(user, &data, sizeof(data));
}

static int set_clock(struct x86_vm *vm, const void *user)
{
	struct kvm_clock_data data;
	int result = user_read(&data, user, sizeof(data));

	if (result < 0)
		return result;
	exclusive_begin(&vm->common.exclusive, NULL);
	result = vm_clock_set(&vm->clock, &data);
	if (result == 0)
		tell_members(vm, x86_members(&vm->common)->clock_changed);
	exclusive_end(&vm->common.exclusive, NULL);
	return result;
}

static int set_identity_map(struct x86_vm *vm, const void *user)
{
	uint64_t address;
	int result;

	if (has_vcpus(vm))
		return -EINVAL;
	result = user_read(&address, user, sizeof(address));
	if (result < 0)
		return result;
	vm->identity_map_address = address;
	return 0;
}

static int set_tss(struct x86_vm *vm, uintptr_t address)
{
	if (address > (uint32_t)(-3 * PAGE_SIZE))
		return -EINVAL;
	vm->tss_address = address;
	return 0;
}

static int set_boot_cpu(struct x86_vm *vm, uintptr_t id)
{
	if (has_vcpus(vm))
		return -EBUSY;
	vm->boot_cpu_id = id;
	irqchip_set_boot_cpu(vm->irqchip, id);
	return 0;
}

static int set_tsc_khz(struct x86_vm *vm, uintptr_t khz)
{
	if (has_vcpus(vm) || khz >= X86_TSC_KHZ_END)
		return -EINVAL;
	vm->default_tsc_khz = khz ? khz : host_tsc_khz();
	return 0;
}

/* With vm->lock held. */
static int configure(struct x86_vm *vm, unsigned long request, void *argument)
{
	uintptr_t number = (uintptr_t)argument;

	switch (request) {
	case KVM_SET_TSS_ADDR: return set_tss(vm, number);
	case KVM_SET_IDENTITY_MAP_ADDR: return set_identity_map(vm, argument);
	case KVM_SET_BOOT_CPU_ID: return set_boot_cpu(vm, number);
	/* There are no shadow pages to limit. */
	case KVM_SET_NR_MMU_PAGES: return number < MMU_PAGES_MIN ? -EINVAL : 0;
	case KVM_CREATE_IRQCHIP: return x86_vm_create_irqchip(vm);
	case KVM_CREATE_PIT: return x86_vm_create_pit(vm);
	case KVM_CREATE_PIT2: return x86_vm_create_pit2(vm, argument);
	case KVM_X86_SET_MSR_FILTER: return set_msr_filter(vm, argument);
	case KVM_SET_TSC_KHZ: return set_tsc_khz(vm, number);
	case KVM_GET_TSC_KHZ: return vm->default_tsc_khz;
	case KVM_SET_CLOCK: return set_clock(vm, argument);
	default: return -ENOTTY;
	}
}

int x86_vm_ioctl(struct vm *common, unsigned long request, void *argument)
{
	struct x86_vm *vm = x86_vm_of(common);
	int result;

	if (request == KVM_GET_CLOCK)
		return get_clock(vm, argument);
	/* First: interrupt lines change often. */
	result = x86_vm_interrupt_ioctl(vm, request, argument);
	if (result != -ENOTTY)
		return result;
	pthread_mutex_lock(&common->lock);
	result = configure(vm, request, argument);
	pthread_mutex_unlock(&common->lock);
	return result;
}
