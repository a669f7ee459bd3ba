/*
 * The I/O APIC (Intel 290566): registers, edges, levels with remote IRR and re-trigger,
 * destinations, and GSI routing with MSIs.
 */
#include <errno.h>

#include "irqchip_fixture.h"

#define LEVEL  (1u << 15)
#define MASKED (1u << 16)
#define LOGICAL (1u << 11)
#define REMOTE_IRR (1u << 14)

/* ISA interrupts reach the PIC too: keep it off the CPU. */
static void mask_lint0(struct fake_vm *vm)
{
	apic_write(vm, 0, 0x350, MASKED);
}

static void test_registers(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	assert_int_equal(ioapic_read(&vm, 1), 0x170011);
	ioapic_write(&vm, 0, 0xff000000);
	assert_int_equal(ioapic_read(&vm, 0), 0x0f000000);
	assert_int_equal(ioapic_read(&vm, 0x10), MASKED);
	ioapic_write(&vm, 0x10, 0xffffffff);
	/* Delivery status and remote IRR are the chip's. */
	assert_int_equal(ioapic_read(&vm, 0x10) & (1 << 12 | REMOTE_IRR), 0);
	ioapic_write(&vm, 0x40, 0x12345678); /* past the table */
	assert_int_equal(ioapic_read(&vm, 0x40), 0xffffffff);
	vm_teardown(&vm);
}

static void test_edge(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	ioapic_route(&vm, 16, 0x41, 0);
	raise_line(&vm, 16);
	assert_int_equal(acknowledge(&vm, 0), 0x41);
	end_of_interrupt(&vm, 0);
	/* Still high is not a new edge. */
	assert_int_equal(irqchip_set_line(vm.chip, 0, 16, 1), 0);
	assert_false(pending(&vm, 0));
	lower_line(&vm, 16);
	raise_line(&vm, 16);
	assert_int_equal(acknowledge(&vm, 0), 0x41);
	end_of_interrupt(&vm, 0);
	lower_line(&vm, 16);
	/* An edge on a masked entry is lost. */
	ioapic_route(&vm, 16, 0x41 | MASKED, 0);
	raise_line(&vm, 16);
	ioapic_route(&vm, 16, 0x41, 0);
	assert_false(pending(&vm, 0));
	vm_teardown(&vm);
}

static void test_level(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	ioapic_route(&vm, 20, 0x51 | LEVEL, 0);
	raise_line(&vm, 20);
	assert_true(ioapic_read(&vm, 0x10 + 40) & REMOTE_IRR);
	assert_int_equal(acknowledge(&vm, 0), 0x51);
	assert_false(pending(&vm, 0));
	end_of_interrupt(&vm, 0);
	/* Still asserted: the EOI triggers it again. */
	assert_true(ioapic_read(&vm, 0x10 + 40) & REMOTE_IRR);
	assert_int_equal(acknowledge(&vm, 0), 0x51);
	lower_line(&vm, 20);
	end_of_interrupt(&vm, 0);
	assert_false(ioapic_read(&vm, 0x10 + 40) & REMOTE_IRR);
	assert_false(pending(&vm, 0));
	vm_teardown(&vm);
}

static void test_level_unmask(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	ioapic_route(&vm, 20, 0x51 | LEVEL | MASKED, 0);
	raise_line(&vm, 20);
	assert_false(pending(&vm, 0));
	ioapic_route(&vm, 20, 0x51 | LEVEL, 0);
	assert_int_equal(acknowledge(&vm, 0), 0x51);
	/* Edge and back is how Linux and Xen clear a stuck remote IRR. */
	ioapic_write(&vm, 0x10 + 40, 0x51 | MASKED);
	assert_false(ioapic_read(&vm, 0x10 + 40) & REMOTE_IRR);
	vm_teardown(&vm);
}

static void test_shared_level(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	ioapic_route(&vm, 21, 0x52 | LEVEL, 0);
	irqchip_set_line(vm.chip, IRQCHIP_SOURCE_USER, 21, 1);
	irqchip_set_line(vm.chip, IRQCHIP_SOURCE_RESAMPLE, 21, 1);
	assert_int_equal(acknowledge(&vm, 0), 0x52);
	irqchip_set_line(vm.chip, IRQCHIP_SOURCE_USER, 21, 0);
	end_of_interrupt(&vm, 0);
	assert_int_equal(acknowledge(&vm, 0), 0x52);
	irqchip_set_line(vm.chip, IRQCHIP_SOURCE_RESAMPLE, 21, 0);
	end_of_interrupt(&vm, 0);
	assert_false(pending(&vm, 0));
	vm_teardown(&vm);
}

static void test_destinations(void **state)
{
	struct fake_vm vm;
	unsigned i;

	(void)state;
	vm_setup(&vm, 3);
	ioapic_route(&vm, 16, 0x61, 2);
	pulse_line(&vm, 16);
	assert_false(pending(&vm, 0));
	assert_int_equal(acknowledge(&vm, 2), 0x61);
	/* Flat logical: a bit each. */
	for (i = 0; i < 3; i++)
		apic_write(&vm, i, 0xd0, 1u << (24 + i));
	ioapic_route(&vm, 17, 0x62 | LOGICAL, 0x3);
	pulse_line(&vm, 17);
	assert_int_equal(acknowledge(&vm, 0), 0x62);
	assert_int_equal(acknowledge(&vm, 1), 0x62);
	assert_false(pending(&vm, 2));
	/* Physical broadcast. */
	ioapic_route(&vm, 18, 0x73, 0xff);
	pulse_line(&vm, 18);
	for (i = 0; i < 3; i++)
		assert_int_equal(acknowledge(&vm, i), 0x73);
	/* NMI. */
	ioapic_route(&vm, 19, 0x400, 1);
	pulse_line(&vm, 19);
	assert_false(lapic_take_nmis(vm.vcpus[0].lapic));
	assert_true(lapic_take_nmis(vm.vcpus[1].lapic));
	assert_false(lapic_take_nmis(vm.vcpus[1].lapic));
	vm_teardown(&vm);
}

static void test_lowest_priority(void **state)
{
	struct fake_vm vm;
	unsigned i, got[3] = {0, 0, 0};

	(void)state;
	vm_setup(&vm, 3);
	for (i = 0; i < 3; i++)
		apic_write(&vm, i, 0xd0, 1u << (24 + i));
	apic_write(&vm, 0, 0x80, 0x30);
	ioapic_route(&vm, 17, 0x62 | LOGICAL | 1 << 8, 0x7);
	for (i = 0; i < 8; i++) {
		unsigned cpu;

		pulse_line(&vm, 17);
		for (cpu = 0; cpu < 3; cpu++)
			if (pending(&vm, cpu)) {
				assert_int_equal(acknowledge(&vm, cpu), 0x62);
				end_of_interrupt(&vm, cpu);
				got[cpu]++;
			}
	}
	/* One each; never the CPU with the higher task priority; ties take turns. */
	assert_int_equal(got[0], 0);
	assert_int_equal(got[1], 4);
	assert_int_equal(got[2], 4);
	vm_teardown(&vm);
}

static void test_nobody(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	ioapic_route(&vm, 20, 0x51 | LEVEL, 7);
	assert_true(irqchip_set_line(vm.chip, 0, 20, 1) < 0);
	/* Nobody will end it: remote IRR must not be set, and a better destination gets it. */
	ioapic_route(&vm, 20, 0x51 | LEVEL, 0);
	assert_int_equal(acknowledge(&vm, 0), 0x51);
	vm_teardown(&vm);
}

static void test_routing(void **state)
{
	struct fake_vm vm;
	struct kvm_irq_routing table = {.nr = 2};
	struct kvm_irq_routing_entry entries[3];

	(void)state;
	vm_setup(&vm, 2);
	mask_lint0(&vm);
	memset(entries, 0, sizeof(entries));
	entries[0].gsi = 40;
	entries[0].type = KVM_IRQ_ROUTING_MSI;
	entries[0].u.msi.address_lo = 0xfee00000 | 1 << 12;
	entries[0].u.msi.data = 0x77;
	entries[1].gsi = 0;
	entries[1].type = KVM_IRQ_ROUTING_IRQCHIP;
	entries[1].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
	entries[1].u.irqchip.pin = 2;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), 0);
	ioapic_route(&vm, 2, 0x42, 0);
	assert_int_equal(irqchip_set_line(vm.chip, 0, 0, 1), 1);
	assert_int_equal(acknowledge(&vm, 0), 0x42);
	assert_int_equal(irqchip_set_line(vm.chip, 0, 40, 1), 1);
	assert_int_equal(acknowledge(&vm, 1), 0x77);
	assert_int_equal(irqchip_set_line(vm.chip, 0, 40, 0), -1);
	/* The default routes are gone. */
	assert_int_equal(irqchip_set_line(vm.chip, 0, 4, 1), -1);

	/* One GSI, the same chip twice. */
	table.nr = 3;
	entries[2] = entries[1];
	entries[2].u.irqchip.pin = 3;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), -EINVAL);
	/* An MSI and a pin. */
	entries[2] = entries[1];
	entries[2].gsi = 40;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), -EINVAL);
	/* Two chips are right. */
	entries[2].gsi = 0;
	entries[2].u.irqchip.irqchip = KVM_IRQCHIP_PIC_SLAVE;
	entries[2].u.irqchip.pin = 7;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), 0);
	entries[2].u.irqchip.pin = 8;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), -EINVAL);
	entries[2].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
	entries[2].u.irqchip.pin = 24;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), -EINVAL);
	entries[2].u.irqchip.irqchip = 3;
	entries[2].u.irqchip.pin = 0;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), -EINVAL);
	entries[2] = entries[0];
	entries[2].gsi = 4096;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), -EINVAL);
	table.nr = 4097;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), -EINVAL);
	table.nr = 0;
	table.flags = 1;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), -EINVAL);
	/* None of the refused tables changed anything. */
	lower_line(&vm, 0);
	end_of_interrupt(&vm, 0);
	assert_true(irqchip_set_line(vm.chip, 0, 0, 1) > 0);
	assert_int_equal(acknowledge(&vm, 0), 0x42);
	vm_teardown(&vm);
}

static void test_msi(void **state)
{
	struct fake_vm vm;
	struct kvm_msi msi = {.address_lo = 0xfee00000 | 2 << 12, .data = 0x81};

	(void)state;
	vm_setup(&vm, 3);
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), 1);
	assert_int_equal(acknowledge(&vm, 2), 0x81);
	msi.address_lo = 0xfee00000 | 0xff << 12;
	msi.data = 0x92;
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), 3);
	msi.address_lo = 0xfee00000 | 9 << 12;
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), -1);
	msi.flags = 1;
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), -EINVAL);
	/* With 32-bit ids the high address carries the rest of the id, and nothing else. */
	msi.flags = 0;
	msi.address_lo = 0xfee00000 | 1 << 12;
	msi.address_hi = 0x100;
	msi.data = 0xa1;
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), 1);
	assert_int_equal(irqchip_set_x2apic_flags(vm.chip, KVM_X2APIC_API_USE_32BIT_IDS), 0);
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), -1);
	msi.address_hi = 1;
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), -EINVAL);
	assert_int_equal(irqchip_set_x2apic_flags(vm.chip, 1 << 2), -EINVAL);
	vm_teardown(&vm);
}

static void test_split(void **state)
{
	struct fake_vm vm;
	struct kvm_irq_routing table = {.nr = 2};
	struct kvm_irq_routing_entry entries[2];
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
	struct kvm_pit_config pit = {0};
	uint32_t value = 0;

	(void)state;
	vm_setup_split(&vm, 1, 24);
	assert_false(irqchip_is_full(vm.chip));
	assert_true(irqchip_has_lapics(vm.chip));
	assert_false(irqchip_mmio(vm.chip, IOAPIC, &value, 4, false));
	assert_false(irqchip_pio(vm.chip, 0x21, &value, 1, false));
	assert_int_equal(irqchip_get(vm.chip, &chip), -ENXIO);
	assert_int_equal(irqchip_create_pit(vm.chip, &pit), -ENOENT);
	assert_int_equal(irqchip_enable_full(vm.chip), -EEXIST);
	memset(entries, 0, sizeof(entries));
	entries[0].gsi = 20;
	entries[0].type = KVM_IRQ_ROUTING_MSI;
	entries[0].u.msi.address_lo = 0xfee00000;
	entries[0].u.msi.data = LEVEL | 1 << 14 | 0x51;
	entries[1] = entries[0];
	entries[1].gsi = 30; /* not of a reserved pin */
	entries[1].u.msi.data = LEVEL | 1 << 14 | 0x61;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), 0);
	raise_line(&vm, 20);
	assert_int_equal(acknowledge(&vm, 0), 0x51);
	end_of_interrupt(&vm, 0);
	assert_int_equal(vm.vcpus[0].eoi_exits, 1);
	assert_int_equal(vm.vcpus[0].eoi_vector, 0x51);
	raise_line(&vm, 30);
	assert_int_equal(acknowledge(&vm, 0), 0x61);
	end_of_interrupt(&vm, 0);
	assert_int_equal(vm.vcpus[0].eoi_exits, 1);
	/* The PIC is outside: its vector comes by KVM_INTERRUPT and obeys LINT0. */
	assert_true(lapic_accepts_extint(vm.vcpus[0].lapic));
	assert_int_equal(lapic_inject_extint(vm.vcpus[0].lapic, 0x28), 0);
	assert_int_equal(lapic_inject_extint(vm.vcpus[0].lapic, 0x29), -EEXIST);
	assert_int_equal(acknowledge(&vm, 0), 0x28);
	assert_false(pending(&vm, 0));
	entries[0].type = KVM_IRQ_ROUTING_IRQCHIP;
	assert_int_equal(irqchip_set_routing(vm.chip, &table, entries), -EINVAL);
	vm_teardown(&vm);
}

static void test_before_creation(void **state)
{
	struct irqchip *chip = irqchip_create(&fake_host);
	struct kvm_irqchip get = {.chip_id = 0};
	struct kvm_irq_routing table = {.nr = 0};
	struct kvm_msi msi = {0};
	struct kvm_pit_state2 pit;

	(void)state;
	assert_int_equal(irqchip_get(chip, &get), -ENXIO);
	assert_int_equal(irqchip_set(chip, &get), -ENXIO);
	assert_int_equal(irqchip_set_line(chip, 0, 0, 1), -ENXIO);
	assert_int_equal(irqchip_set_routing(chip, &table, NULL), -EINVAL);
	assert_int_equal(irqchip_send_msi(chip, &msi), -EINVAL);
	assert_int_equal(irqchip_get_pit2(chip, &pit), -ENXIO);
	assert_int_equal(irqchip_enable_split(chip, 4097), -EINVAL);
	assert_int_equal(irqchip_enable_full(chip), 0);
	assert_int_equal(irqchip_enable_full(chip), -EEXIST);
	get.chip_id = 3;
	assert_int_equal(irqchip_get(chip, &get), -EINVAL);
	irqchip_destroy(chip);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_edge),
		cmocka_unit_test(test_level),
		cmocka_unit_test(test_level_unmask),
		cmocka_unit_test(test_shared_level),
		cmocka_unit_test(test_destinations),
		cmocka_unit_test(test_lowest_priority),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_routing),
		cmocka_unit_test(test_msi),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_before_creation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
