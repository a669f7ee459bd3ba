/*
 * Requests on a VM's descriptor (KVM api.rst section 4, type "vm ioctl").
 *
 * Checks of arguments and their errno values are those of Linux's virt/kvm/kvm_main.c and
 * arch/x86/kvm/x86.c; what the document leaves open follows that code.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/user.h"
#include "engine/vm/vm.h"
#include "engine/x86/host/host_tsc.h"
#include "util/page.h"

#define MMU_PAGES_MIN      64u /* KVM_MIN_ALLOC_MMU_PAGES */

/* TSC frequencies beyond this make the scaling overflow. */
#define TSC_KHZ_MAX 100000000u

static bool has_vcpus(struct vm *vm)
{
	return atomic_load(&vm->member_count) != 0;
}

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

static int create_irqchip(struct vm *vm)
{
	if (irqchip_has_lapics(vm->irqchip))
		return -EEXIST;
	if (has_vcpus(vm))
		return -EINVAL;
	return irqchip_enable_full(vm->irqchip);
}

static int get_irqchip(struct vm *vm, void *user)
{
	struct kvm_irqchip state;
	int result = user_read(&state, user, sizeof(state));

	if (result < 0)
		return result;
	result = irqchip_get(vm->irqchip, &state);
	return result < 0 ? result : user_write(user, &state, sizeof(state));
}

static int set_irqchip(struct vm *vm, const void *user)
{
	struct kvm_irqchip state;
	int result = user_read(&state, user, sizeof(state));

	return result < 0 ? result : irqchip_set(vm->irqchip, &state);
}

/* KVM_CREATE_PIT has no argument and means this. */
static int create_pit(struct vm *vm)
{
	struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };

	return irqchip_create_pit(vm->irqchip, &config);
}

static int create_pit2(struct vm *vm, const void *user)
{
	struct kvm_pit_config config;
	int result = user_read(&config, user, sizeof(config));

	return result < 0 ? result : irqchip_create_pit(vm->irqchip, &config);
}

/* KVM_GET_PIT is KVM_GET_PIT2 without the flags at its end. */
static int get_pit(struct vm *vm, void *user, size_t size)
{
	struct kvm_pit_state2 state = { 0 };
	int result = irqchip_get_pit2(vm->irqchip, &state);

	return result < 0 ? result : user_write(user, &state, size);
}

static int set_pit(struct vm *vm, const void *user, size_t size)
{
	struct kvm_pit_state2 state = { 0 };
	int result = user_read(&state, user, size);

	return result < 0 ? result : irqchip_set_pit2(vm->irqchip, &state);
}

static int reinject_control(struct vm *vm, const void *user)
{
	struct kvm_reinject_control control;
	int result = user_read(&control, user, sizeof(control));

	return result < 0 ? result : irqchip_pit_reinject(vm->irqchip, control.pit_reinject);
}

static int irq_line(struct vm *vm, void *user, bool wants_status)
{
	struct kvm_irq_level level;
	int result = user_read_plain(&level, user, sizeof(level));

	if (result < 0)
		return result;
	if (!irqchip_has_lapics(vm->irqchip))
		return -ENXIO;
	result = irqchip_set_line(vm->irqchip, IRQCHIP_SOURCE_USER, level.irq, level.level);
	if (!wants_status)
		return 0;
	level.status = result;
	return user_write_plain(user, &level, sizeof(level));
}

static int signal_msi(struct vm *vm, const void *user)
{
	struct kvm_msi msi;
	int result = user_read_plain(&msi, user, sizeof(msi));

	if (result < 0)
		return result;
	if (!irqchip_has_lapics(vm->irqchip) || msi.flags)
		return -EINVAL;
	return irqchip_send_msi(vm->irqchip, &msi);
}

static int set_routing(struct vm *vm, const struct kvm_irq_routing *user)
{
	struct kvm_irq_routing_entry *entries = NULL;
	struct kvm_irq_routing routing;
	int result = user_read(&routing, user, sizeof(routing));

	if (result < 0)
		return result;
	if (!irqchip_has_lapics(vm->irqchip) || routing.nr > VM_IRQ_ROUTES_MAX || routing.flags)
		return -EINVAL;
	if (routing.nr) {
		entries = calloc(routing.nr, sizeof(*entries));
		if (!entries)
			return -ENOMEM;
		result = user_read(entries, user->entries, routing.nr * sizeof(*entries));
	}
	if (result == 0)
		result = irqchip_set_routing(vm->irqchip, &routing, entries);
	free(entries);
	return result;
}

static int irqfd(struct vm *vm, const void *user)
{
	struct kvm_irqfd request;
	int result = user_read(&request, user, sizeof(request));

	if (result < 0)
		return result;
	if (request.flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE))
		return -EINVAL;
	if (request.flags & KVM_IRQFD_FLAG_RESAMPLE ? !irqchip_is_full(vm->irqchip)
						    : !irqchip_has_lapics(vm->irqchip))
		return -EINVAL;
	return irqchip_irqfd(vm->irqchip, &request);
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

static int get_clock(struct vm *vm, void *user)
{
	struct kvm_clock_data data;

	vm_clock_get(&vm->clock, &data);
	return user_write(user, &data, sizeof(data));
}

static int set_clock(struct vm *vm, const void *user)
{
	struct kvm_clock_data data;
	int result = user_read(&data, user, sizeof(data));
	unsigned count, i;

	if (result < 0)
		return result;
	exclusive_begin(&vm->exclusive, NULL);
	result = vm_clock_set(&vm->clock, &data);
	count = atomic_load(&vm->member_count);
	for (i = 0; i < count && result == 0; i++)
		vm->members[i]->operations->clock_changed(vm->members[i]);
	exclusive_end(&vm->exclusive, NULL);
	return result;
}

static int set_identity_map(struct vm *vm, const void *user)
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

static int set_tss(struct vm *vm, uintptr_t address)
{
	if (address > (uint32_t)(-3 * PAGE_SIZE))
		return -EINVAL;
	vm->tss_address = address;
	return 0;
}

static int set_boot_cpu(struct vm *vm, uintptr_t id)
{
	if (has_vcpus(vm))
		return -EBUSY;
	vm->boot_cpu_id = id;
	irqchip_set_boot_cpu(vm->irqchip, id);
	return 0;
}

static int set_tsc_khz(struct vm *vm, uintptr_t khz)
{
	if (has_vcpus(vm) || khz >= TSC_KHZ_MAX)
		return -EINVAL;
	vm->default_tsc_khz = khz ? khz : host_tsc_khz();
	return 0;
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
	uintptr_t number = (uintptr_t)argument;

	switch (request) {
	case KVM_SET_USER_MEMORY_REGION: return set_memory_region(vm, argument);
	case KVM_GET_DIRTY_LOG: return get_dirty_log(vm, argument);
	case KVM_RESET_DIRTY_RINGS: return vm_reset_dirty_rings(vm);
	case KVM_CLEAR_DIRTY_LOG: return clear_dirty_log(vm, argument);
	case KVM_SET_TSS_ADDR: return set_tss(vm, number);
	case KVM_SET_IDENTITY_MAP_ADDR: return set_identity_map(vm, argument);
	case KVM_SET_BOOT_CPU_ID: return set_boot_cpu(vm, number);
	/* There are no shadow pages to limit. */
	case KVM_SET_NR_MMU_PAGES: return number < MMU_PAGES_MIN ? -EINVAL : 0;
	case KVM_CREATE_IRQCHIP: return create_irqchip(vm);
	case KVM_CREATE_PIT: return create_pit(vm);
	case KVM_CREATE_PIT2: return create_pit2(vm, argument);
	case KVM_IOEVENTFD: return ioeventfd(vm, argument);
	case KVM_REGISTER_COALESCED_MMIO:
	case KVM_UNREGISTER_COALESCED_MMIO: return coalesced_zone(vm, request, argument);
	case KVM_GET_STATS_FD: return vm_open_statistics(vm);
	case KVM_X86_SET_MSR_FILTER: return vm_set_msr_filter(vm, argument);
	case KVM_SET_TSC_KHZ: return set_tsc_khz(vm, number);
	case KVM_GET_TSC_KHZ: return vm->default_tsc_khz;
	case KVM_ENABLE_CAP: return enable_capability(vm, argument);
	case KVM_SET_CLOCK: return set_clock(vm, argument);
	default: return -ENOTTY;
	}
}

int vm_ioctl(struct vm *vm, unsigned long request, void *argument)
{
	int result;

	switch (request) {
	/* Requests that the irqchip guards itself; interrupt lines change often. */
	case KVM_IRQ_LINE: return irq_line(vm, argument, false);
	case KVM_IRQ_LINE_STATUS: return irq_line(vm, argument, true);
	case KVM_SIGNAL_MSI: return signal_msi(vm, argument);
	case KVM_SET_GSI_ROUTING: return set_routing(vm, argument);
	case KVM_IRQFD: return irqfd(vm, argument);
	case KVM_GET_IRQCHIP: return get_irqchip(vm, argument);
	case KVM_SET_IRQCHIP: return set_irqchip(vm, argument);
	case KVM_GET_PIT: return get_pit(vm, argument, sizeof(struct kvm_pit_state));
	case KVM_SET_PIT: return set_pit(vm, argument, sizeof(struct kvm_pit_state));
	case KVM_GET_PIT2: return get_pit(vm, argument, sizeof(struct kvm_pit_state2));
	case KVM_SET_PIT2: return set_pit(vm, argument, sizeof(struct kvm_pit_state2));
	case KVM_REINJECT_CONTROL: return reinject_control(vm, argument);
	case KVM_GET_CLOCK: return get_clock(vm, argument);
	case KVM_CHECK_EXTENSION: return capability_check(vm, (long)argument);
	default:
		pthread_mutex_lock(&vm->lock);
		result = configure(vm, request, argument);
		pthread_mutex_unlock(&vm->lock);
		return result;
	}
}
