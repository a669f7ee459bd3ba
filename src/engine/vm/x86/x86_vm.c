/* The x86 part of creating and ending a VM. */
#include "engine/vm/x86/x86_vm.h"

#include <errno.h>

#include "engine/x86/host/host_tsc.h"

static int create(struct vm *common, unsigned long type)
{
	struct x86_vm *vm = x86_vm_of(common);

	if (type != 0)
		return -EINVAL;
	vm->irqchip = irqchip_create(x86_members(common)->irqchip);
	if (!vm->irqchip)
		return -ENOMEM;
	vm_clock_init(&vm->clock);
	vm->created = vm->clock.base_tsc;
	vm->default_tsc_khz = host_tsc_khz();
	return 0;
}

static void stop(struct vm *vm)
{
	irqchip_stop(x86_vm_of(vm)->irqchip);
}

static void destroy(struct vm *common)
{
	struct x86_vm *vm = x86_vm_of(common);

	msr_filter_destroy(vm->msr_filter);
	vm_clock_destroy(&vm->clock);
	irqchip_destroy(vm->irqchip);
}

const struct vm_architecture x86_vm_architecture = {
	.size = sizeof(struct x86_vm),
	.create = create,
	.stop = stop,
	.destroy = destroy,
	.ioctl = x86_vm_ioctl,
	.check_capability = x86_vm_check_capability,
	.enable_capability = x86_vm_enable_capability,
};
