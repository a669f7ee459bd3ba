/*
 * The split irqchip: local APICs in the contract, PIC and I/O APIC in user space.
 *
 * MSIs reach the guest, KVM_INTERRUPT is the PIC's, and the EOI of a level-triggered route comes
 * back as KVM_EXIT_IOAPIC_EOI.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "contract.h"

#define VECTOR   0x41
#define EXTINT   0x51
#define PINS     24
#define HANDLERS 0x2000u

/*
 * Real mode with a DS of 4 GiB: APIC on, LINT0 = ExtINT, then wait.
 *	movl $0x1ff,0xfee000f0; movl $0x700,0xfee00350
 *	out %al,$0x40; sti; 1: hlt; jmp 1b
 */
static const char code[] = "\x66\x67\xc7\x05\xf0\x00\xe0\xfe\xff\x01\x00\x00"
			   "\x66\x67\xc7\x05\x50\x03\xe0\xfe\x00\x07\x00\x00"
			   "\xe6\x40\xfb\xf4\xeb\xfd";
/* out %al,$0x41; movl $0,0xfee000b0; out %al,$0x42; iret */
static const char handler[] = "\xe6\x41\x66\x67\xc7\x05\xb0\x00\xe0\xfe\x00\x00\x00\x00"
			      "\xe6\x42\xcf";
/* out %al,$0x51; iret */
static const char extint_handler[] = "\xe6\x51\xcf";

static void set_vector(struct machine *machine, unsigned vector, uint16_t address)
{
	uint16_t entry[2] = { address, 0 };

	memcpy(machine->ram + vector * 4, entry, sizeof(entry));
}

static void create(struct machine *machine, const struct kvm_system *system)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { PINS } };
	struct kvm_userspace_memory_region region = { .memory_size = RAM_SIZE };
	struct kvm_sregs sregs;
	struct error error;

	machine->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	region.userspace_addr = (uintptr_t)machine->ram;
	check_equal(kvm_vm_create(&machine->vm, system, &error), 0);
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_ENABLE_CAP, &split), 0);
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_ENABLE_CAP, &split), -EEXIST);
	check_equal(kvm_vm_ioctl(&machine->vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
	check_equal(kvm_vcpu_create(&machine->vcpu, &machine->vm, 0, &error), 0);
	machine_load(machine, code, sizeof(code) - 1);
	memcpy(machine->ram + HANDLERS, handler, sizeof(handler));
	memcpy(machine->ram + HANDLERS + 0x100, extint_handler, sizeof(extint_handler));
	set_vector(machine, VECTOR, HANDLERS);
	set_vector(machine, EXTINT, HANDLERS + 0x100);
	kvm_vcpu_ioctl(&machine->vcpu, KVM_GET_SREGS, &sregs);
	sregs.ds.limit = 0xffffffff;
	sregs.ds.g = 1;
	check_equal(kvm_vcpu_ioctl(&machine->vcpu, KVM_SET_SREGS, &sregs), 0);
}

static void expect_port(struct machine *machine, unsigned port)
{
	machine_expect(machine, KVM_EXIT_IO);
	check_equal(machine->vcpu.run->io.port, port);
}

int main(int argc, char **argv)
{
	struct {
		struct kvm_irq_routing header;
		struct kvm_irq_routing_entry entry;
	} routing = {
		.header.nr = 1,
		.entry = { .gsi = 5, .type = KVM_IRQ_ROUTING_MSI,
			   .u.msi = { .address_lo = 0xfee00000, .data = 0x8000 | VECTOR } },
	};
	struct kvm_irq_level level = { .irq = 5, .level = 1 };
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = VECTOR };
	struct kvm_interrupt interrupt = { .irq = EXTINT };
	struct kvm_irqchip chip = { 0 };
	struct kvm_system system;
	struct machine machine;

	contract_open(argc, argv, &system);
	create(&machine, &system);
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_GET_IRQCHIP, &chip), -ENXIO);

	expect_port(&machine, 0x40);
	/* An edge: no word of its EOI. */
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_SIGNAL_MSI, &msi), 1);
	expect_port(&machine, 0x41);
	expect_port(&machine, 0x42);

	/* A level, as user space's I/O APIC sends it. */
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_SET_GSI_ROUTING, &routing), 0);
	check_equal(kvm_vm_ioctl(&machine.vm, KVM_IRQ_LINE, &level), 0);
	expect_port(&machine, 0x41);
	machine_expect(&machine, KVM_EXIT_IOAPIC_EOI);
	check_equal(machine.vcpu.run->eoi.vector, VECTOR);
	expect_port(&machine, 0x42);

	/* The PIC in user space. */
	check_equal(kvm_vcpu_ioctl(&machine.vcpu, KVM_INTERRUPT, &interrupt), 0);
	check_equal(kvm_vcpu_ioctl(&machine.vcpu, KVM_INTERRUPT, &interrupt), -EEXIST);
	expect_port(&machine, 0x51);
	machine_destroy(&machine);
	return contract_close(&system);
}
