/*
 * Requests on an x86 VM's descriptor that its interrupt controllers answer (KVM api.rst 4.24-4.27, 4.52,
 * 4.70-4.75). As in requests.c, checks and errno values are Linux's.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/user.h"
#include "engine/vm/x86/x86_vm.h"

int x86_vm_create_irqchip(struct x86_vm *vm)
{
	if (irqchip_has_lapics(vm->irqchip))
		return -EEXIST;
	if (atomic_load(&vm->common.member_count))
		return -EINVAL;
	return irqchip_enable_full(vm->irqchip);
}

static int get_irqchip(struct x86_vm *vm, void *user)
{
	struct kvm_irqchip state;
	int result = user_read(&state, user, sizeof(state));

	if (result < 0)
		return result;
	result = irqchip_get(vm->irqchip, &state);
	return result < 0 ? result : user_write(user, &state, sizeof(state));
}

static int set_irqchip(struct x86_vm *vm, const void *user)
{
	struct kvm_irqchip state;
	int result = user_read(&state, user, sizeof(state));

	return result < 0 ? result : irqchip_set(vm->irqchip, &state);
}

/* KVM_CREATE_PIT has no argument and means this. */
int x86_vm_create_pit(struct x86_vm *vm)
{
	struct kvm_pit_config config = { .flags = KVM_PIT_SPEAKER_DUMMY };

	return irqchip_create_pit(vm->irqchip, &config);
}

int x86_vm_create_pit2(struct x86_vm *vm, const void *user)
{
	struct kvm_pit_config config;
	int result = user_read(&config, user, sizeof(config));

	return result < 0 ? result : irqchip_create_pit(vm->irqchip, &config);
}

/* KVM_GET_PIT is KVM_GET_PIT2 without the flags at its end. */
static int get_pit(struct x86_vm *vm, void *user, size_t size)
{
	struct kvm_pit_state2 state = { 0 };
	int result = irqchip_get_pit2(vm->irqchip, &state);

	return result < 0 ? result : user_write(user, &state, size);
}

static int set_pit(struct x86_vm *vm, const void *user, size_t size)
{
	struct kvm_pit_state2 state = { 0 };
	int result = user_read(&state, user, size);

	return result < 0 ? result : irqchip_set_pit2(vm->irqchip, &state);
}

static int reinject_control(struct x86_vm *vm, const void *user)
{
	struct kvm_reinject_control control;
	int result = user_read(&control, user, sizeof(control));

	return result < 0 ? result : irqchip_pit_reinject(vm->irqchip, control.pit_reinject);
}

static int irq_line(struct x86_vm *vm, void *user, bool wants_status)
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

static int signal_msi(struct x86_vm *vm, const void *user)
{
	struct kvm_msi msi;
	int result = user_read_plain(&msi, user, sizeof(msi));

	if (result < 0)
		return result;
	if (!irqchip_has_lapics(vm->irqchip) || msi.flags)
		return -EINVAL;
	return irqchip_send_msi(vm->irqchip, &msi);
}

static int set_routing(struct x86_vm *vm, const struct kvm_irq_routing *user)
{
	struct kvm_irq_routing_entry *entries = NULL;
	struct kvm_irq_routing routing;
	int result = user_read(&routing, user, sizeof(routing));

	if (result < 0)
		return result;
	if (!irqchip_has_lapics(vm->irqchip) || routing.nr > VM_GSI_MAX || routing.flags)
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

static int irqfd(struct x86_vm *vm, const void *user)
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

int x86_vm_interrupt_ioctl(struct x86_vm *vm, unsigned long request, void *argument)
{
	switch (request) {
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
	default: return -ENOTTY;
	}
}
