/* Looking at a machine that runs, without anybody being told: inspect.h. */
#include <errno.h>
#include <string.h>

#include "machine/inspect.h"
#include "machine/machine_parts.h"

int machine_look_begin(struct machine *machine, struct error *error)
{
	if (machine_park(machine) == 0)
		return 0;
	machine_settle(machine);
	return error_set(error, EBUSY, "the machine does not stand still");
}

void machine_look_end(struct machine *machine)
{
	machine_settle(machine);
}

int machine_read_chip(struct machine *machine, struct kvm_irqchip *chip)
{
	return machine->interrupts.split ? -ENOTSUP : kvm_vm_ioctl(&machine->vm, KVM_GET_IRQCHIP, chip);
}

#define LVT_LINT1	  0x360 /* SDM vol. 3 §10.5.1 */
#define LVT_MASKED	  (1u << 16)
#define LVT_DELIVERY	  0x700u
#define LVT_DELIVERY_NMI  0x400u

void machine_press_nmi_button(struct machine *machine)
{
	struct kvm_lapic_state apic;
	uint32_t entry;
	unsigned i;

	for (i = 0; i < machine->vcpu_count; i++) {
		if (kvm_vcpu_ioctl(&machine->vcpus[i].kvm, KVM_GET_LAPIC, &apic) < 0)
			continue;
		memcpy(&entry, apic.regs + LVT_LINT1, sizeof(entry));
		if (!(entry & LVT_MASKED) && (entry & LVT_DELIVERY) == LVT_DELIVERY_NMI)
			kvm_vcpu_ioctl(&machine->vcpus[i].kvm, KVM_NMI, NULL);
	}
}

uint32_t machine_read_port(struct machine *machine, uint16_t port, unsigned size)
{
	return pio_bus_read(machine->pio, port, size);
}

void machine_write_port(struct machine *machine, uint16_t port, unsigned size, uint32_t value)
{
	pio_bus_write(machine->pio, port, size, value);
}

void machine_visit_windows(struct machine *machine, bool is_ports,
			   void (*visit)(void *context, uint64_t first, uint64_t last, const char *name),
			   void *context)
{
	if (is_ports)
		pio_bus_visit(machine->pio, visit, context);
	else
		mmio_bus_visit(machine->mmio, visit, context);
}

void machine_visit_devices(const struct machine *machine, void (*visit)(void *context, const char *name), void *context)
{
	board_visit_devices(machine->board, visit, context);
}

bool machine_usb_device(const struct machine *machine, unsigned port, struct machine_usb_device *device)
{
	return board_describe_usb(machine->board, port, &device->product, &device->mbits_per_s);
}

bool machine_find_vmcoreinfo(const struct machine *machine, uint64_t *gpa, uint32_t *size)
{
	return board_find_vmcoreinfo(machine->board, gpa, size);
}

void machine_visit_counters(struct machine *machine, unsigned cpu,
			    void (*visit)(void *context, const char *name, uint64_t value), void *context)
{
	if (machine->system.backend->read_statistics)
		machine->system.backend->read_statistics(machine->vcpus[cpu].kvm.fd, visit, context);
}
