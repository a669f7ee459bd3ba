/*
 * The local APIC (Intel SDM vol. 3 chapter 11): priorities, MMIO, interprocessor interrupts among
 * three of them in xAPIC and x2APIC mode, IA32_APIC_BASE, errors.
 */
#include <errno.h>

#include "irqchip_fixture.h"

#define ICR_LEVEL_ASSERT (1u << 14)
#define X2APIC_BASE      (APIC_PAGE | 0xc00)

static void send_vector(struct fake_vm *vm, unsigned cpu, uint8_t vector)
{
	struct kvm_msi msi = {.address_lo = 0xfee00000 | cpu << 12, .data = vector};

	assert_int_equal(irqchip_send_msi(vm->chip, &msi), 1);
}

static void send_ipi(struct fake_vm *vm, unsigned cpu, uint32_t high, uint32_t low)
{
	apic_write(vm, cpu, 0x310, high);
	apic_write(vm, cpu, 0x300, low);
}

static int msr_write(struct fake_vm *vm, unsigned cpu, uint32_t index, uint64_t value)
{
	return lapic_msr_write(vm->vcpus[cpu].lapic, index, value);
}

static uint64_t msr_read(struct fake_vm *vm, unsigned cpu, uint32_t index)
{
	uint64_t value = 0;

	assert_int_equal(lapic_msr_read(vm->vcpus[cpu].lapic, index, &value), 0);
	return value;
}

static void enter_x2apic(struct fake_vm *vm)
{
	unsigned i;

	for (i = 0; i < vm->count; i++)
		assert_int_equal(msr_write(vm, i, 0x1b, X2APIC_BASE | (i ? 0 : 0x100)), 0);
}

static void test_reset_state(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 2);
	lapic_reset(vm.vcpus[0].lapic, false);
	lapic_reset(vm.vcpus[1].lapic, false);
	assert_int_equal(lapic_get_base(vm.vcpus[0].lapic), APIC_PAGE | 0x900);
	assert_int_equal(lapic_get_base(vm.vcpus[1].lapic), APIC_PAGE | 0x800);
	assert_int_equal(apic_read(&vm, 1, 0x20), 1u << 24);
	assert_int_equal(apic_read(&vm, 0, 0x30), 0x50014);
	assert_int_equal(apic_read(&vm, 0, 0xe0), 0xffffffff);
	assert_int_equal(apic_read(&vm, 0, 0xf0), 0xff);
	assert_int_equal(apic_read(&vm, 0, 0x320), 0x10000);
	assert_int_equal(apic_read(&vm, 0, 0x350), 0x700);
	assert_int_equal(apic_read(&vm, 1, 0x350), 0x10000);
	/* Software-disabled, an entry cannot be unmasked. */
	apic_write(&vm, 0, 0x370, 0x33);
	assert_int_equal(apic_read(&vm, 0, 0x370), 0x10033);
	/* INIT keeps the base and the id. */
	assert_int_equal(lapic_set_base(vm.vcpus[1].lapic, X2APIC_BASE), 0);
	lapic_reset(vm.vcpus[1].lapic, true);
	assert_int_equal(lapic_get_base(vm.vcpus[1].lapic), X2APIC_BASE);
	assert_int_equal(msr_read(&vm, 1, 0x802), 1);
	vm_teardown(&vm);
}

static void test_priorities(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	send_vector(&vm, 0, 0x45);
	send_vector(&vm, 0, 0x81);
	send_vector(&vm, 0, 0x4f);
	assert_int_equal(apic_read(&vm, 0, 0x240), 1 << 1);
	assert_int_equal(acknowledge(&vm, 0), 0x81);
	assert_int_equal(apic_read(&vm, 0, 0x140), 1 << 1);
	assert_int_equal(apic_read(&vm, 0, 0xa0), 0x80);
	assert_false(pending(&vm, 0));
	/* Same class does not nest, a higher one does. */
	send_vector(&vm, 0, 0x8f);
	assert_false(pending(&vm, 0));
	send_vector(&vm, 0, 0x90);
	assert_int_equal(acknowledge(&vm, 0), 0x90);
	end_of_interrupt(&vm, 0);
	assert_false(pending(&vm, 0));
	end_of_interrupt(&vm, 0);
	assert_int_equal(acknowledge(&vm, 0), 0x8f);
	end_of_interrupt(&vm, 0);
	assert_int_equal(acknowledge(&vm, 0), 0x4f);
	end_of_interrupt(&vm, 0);
	assert_int_equal(acknowledge(&vm, 0), 0x45);
	end_of_interrupt(&vm, 0);
	end_of_interrupt(&vm, 0); /* with nothing in service: nothing */
	assert_int_equal(apic_read(&vm, 0, 0xa0), 0);
	vm_teardown(&vm);
}

static void test_task_priority(void **state)
{
	struct fake_vm vm;
	unsigned notified;

	(void)state;
	vm_setup(&vm, 1);
	lapic_set_cr8(vm.vcpus[0].lapic, 5);
	assert_int_equal(apic_read(&vm, 0, 0x80), 0x50);
	assert_int_equal(apic_read(&vm, 0, 0xa0), 0x50);
	notified = vm.vcpus[0].notified;
	send_vector(&vm, 0, 0x5f);
	assert_false(pending(&vm, 0));
	assert_int_equal(vm.vcpus[0].notified, notified);
	send_vector(&vm, 0, 0x60);
	assert_int_equal(vm.vcpus[0].notified, notified + 1);
	assert_int_equal(acknowledge(&vm, 0), 0x60);
	end_of_interrupt(&vm, 0);
	assert_false(pending(&vm, 0));
	/* Lowering it lets the waiting one through, and says so. */
	lapic_set_cr8(vm.vcpus[0].lapic, 4);
	assert_int_equal(vm.vcpus[0].notified, notified + 2);
	assert_int_equal(acknowledge(&vm, 0), 0x5f);
	assert_int_equal(lapic_get_cr8(vm.vcpus[0].lapic), 4);
	apic_write(&vm, 0, 0x80, 0x12f);
	assert_int_equal(apic_read(&vm, 0, 0x80), 0x2f);
	vm_teardown(&vm);
}

static void test_ipi_shorthands(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 3);
	send_ipi(&vm, 1, 0, 1 << 18 | ICR_LEVEL_ASSERT | 0x41); /* self */
	assert_false(pending(&vm, 0));
	assert_int_equal(acknowledge(&vm, 1), 0x41);
	send_ipi(&vm, 1, 0, 2 << 18 | ICR_LEVEL_ASSERT | 0x52); /* all */
	assert_int_equal(acknowledge(&vm, 0), 0x52);
	assert_int_equal(acknowledge(&vm, 1), 0x52);
	assert_int_equal(acknowledge(&vm, 2), 0x52);
	send_ipi(&vm, 1, 0, 3 << 18 | ICR_LEVEL_ASSERT | 0x63); /* all but self */
	assert_int_equal(acknowledge(&vm, 0), 0x63);
	assert_false(pending(&vm, 1));
	assert_int_equal(acknowledge(&vm, 2), 0x63);
	assert_int_equal(apic_read(&vm, 1, 0x300) & 1 << 12, 0);
	vm_teardown(&vm);
}

static void test_ipi_destinations(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 3);
	send_ipi(&vm, 0, 2u << 24, 0x41);
	assert_int_equal(acknowledge(&vm, 2), 0x41);
	send_ipi(&vm, 0, 0xffu << 24, 0x52);
	assert_int_equal(acknowledge(&vm, 0), 0x52);
	assert_int_equal(acknowledge(&vm, 1), 0x52);
	assert_int_equal(acknowledge(&vm, 2), 0x52);
	/* Cluster model: cluster 1, members 0, 1, 2. */
	apic_write(&vm, 0, 0xe0, 0x0fffffff);
	apic_write(&vm, 1, 0xe0, 0x0fffffff);
	apic_write(&vm, 2, 0xe0, 0x0fffffff);
	apic_write(&vm, 0, 0xd0, 0x11u << 24);
	apic_write(&vm, 1, 0xd0, 0x12u << 24);
	apic_write(&vm, 2, 0xd0, 0x24u << 24);
	send_ipi(&vm, 0, 0x16u << 24, 1 << 11 | 0x63);
	assert_false(pending(&vm, 0));
	assert_int_equal(acknowledge(&vm, 1), 0x63);
	assert_false(pending(&vm, 2));
	/* A guest may renumber its APICs. */
	apic_write(&vm, 1, 0x20, 9u << 24);
	send_ipi(&vm, 0, 9u << 24, 0x74);
	assert_int_equal(acknowledge(&vm, 1), 0x74);
	send_ipi(&vm, 0, 1u << 24, 0x85);
	assert_false(pending(&vm, 1));
	vm_teardown(&vm);
}

static void test_startup(void **state)
{
	struct fake_vm vm;
	uint8_t vector = 0;

	(void)state;
	vm_setup(&vm, 3);
	assert_false(lapic_event_pending(vm.vcpus[1].lapic));
	send_ipi(&vm, 0, 0, 3 << 18 | 5 << 8 | ICR_LEVEL_ASSERT | 1 << 15);
	assert_true(lapic_event_pending(vm.vcpus[1].lapic));
	assert_false(lapic_event_pending(vm.vcpus[0].lapic));
	/* De-assert is nothing. */
	assert_true(lapic_take_init(vm.vcpus[1].lapic));
	send_ipi(&vm, 0, 0, 3 << 18 | 5 << 8 | 1 << 15);
	assert_false(lapic_take_init(vm.vcpus[1].lapic));
	lapic_reset(vm.vcpus[1].lapic, true);
	send_ipi(&vm, 0, 1u << 24, 6 << 8 | ICR_LEVEL_ASSERT | 0x9a);
	assert_true(lapic_take_sipi(vm.vcpus[1].lapic, &vector));
	assert_int_equal(vector, 0x9a);
	assert_false(lapic_take_sipi(vm.vcpus[1].lapic, &vector));
	/* INIT after SIPI takes the SIPI away. */
	send_ipi(&vm, 0, 2u << 24, 6 << 8 | ICR_LEVEL_ASSERT | 0x9a);
	send_ipi(&vm, 0, 2u << 24, 5 << 8 | ICR_LEVEL_ASSERT);
	assert_true(lapic_take_init(vm.vcpus[2].lapic));
	assert_false(lapic_take_sipi(vm.vcpus[2].lapic, &vector));
	send_ipi(&vm, 0, 2u << 24, 4 << 8 | ICR_LEVEL_ASSERT);
	assert_int_equal(lapic_take_nmis(vm.vcpus[2].lapic), 1);
	assert_int_equal(lapic_take_nmis(vm.vcpus[2].lapic), 0);
	for (unsigned i = 0; i < 3; i++)
		send_ipi(&vm, 0, 2u << 24, 4 << 8 | ICR_LEVEL_ASSERT);
	assert_int_equal(lapic_take_nmis(vm.vcpus[2].lapic), 2);
	vm_teardown(&vm);
}

static void test_x2apic(void **state)
{
	struct fake_vm vm;
	uint64_t value;
	uint32_t ones = 0;

	(void)state;
	vm_setup(&vm, 3);
	assert_int_equal(lapic_msr_read(vm.vcpus[0].lapic, 0x802, &value), -EINVAL);
	enter_x2apic(&vm);
	assert_int_equal(msr_read(&vm, 2, 0x802), 2);
	assert_int_equal(msr_read(&vm, 2, 0x80d), 4);
	assert_true(lapic_mmio(vm.vcpus[0].lapic, APIC_PAGE + 0x30, &ones, 4, false));
	assert_int_equal(ones, 0xffffffff);
	/* Physical, logical, broadcast. */
	assert_int_equal(msr_write(&vm, 0, 0x830, 2ull << 32 | 0x41), 0);
	assert_int_equal(msr_read(&vm, 0, 0x830), 2ull << 32 | 0x41);
	assert_int_equal(acknowledge(&vm, 2), 0x41);
	assert_int_equal(msr_write(&vm, 0, 0x830, 6ull << 32 | 1 << 11 | 0x52), 0);
	assert_false(pending(&vm, 0));
	assert_int_equal(acknowledge(&vm, 1), 0x52);
	assert_int_equal(acknowledge(&vm, 2), 0x52);
	assert_int_equal(msr_write(&vm, 0, 0x830, 0xffffffffull << 32 | 0x63), 0);
	assert_int_equal(acknowledge(&vm, 0), 0x63);
	assert_int_equal(acknowledge(&vm, 1), 0x63);
	assert_int_equal(acknowledge(&vm, 2), 0x63);
	/* 0xff is an id like any other. */
	assert_int_equal(msr_write(&vm, 0, 0x830, 0xffull << 32 | 0x74), 0);
	assert_false(pending(&vm, 1));
	/* Self-IPI, EOI, TPR. */
	assert_int_equal(msr_write(&vm, 1, 0x83f, 0x85), 0);
	assert_int_equal(acknowledge(&vm, 1), 0x85);
	assert_int_equal(msr_write(&vm, 1, 0x80b, 0), 0);
	assert_int_equal(msr_read(&vm, 1, 0x80a), 0x60);
	assert_int_equal(msr_write(&vm, 1, 0x808, 0x70), 0);
	assert_int_equal(lapic_get_cr8(vm.vcpus[1].lapic), 7);
	/* What is #GP. */
	assert_int_equal(msr_write(&vm, 1, 0x80b, 1), -EINVAL);
	assert_int_equal(msr_write(&vm, 1, 0x808, 0x100), -EINVAL);
	assert_int_equal(msr_write(&vm, 1, 0x802, 1), -EINVAL);
	assert_int_equal(msr_write(&vm, 1, 0x80d, 1), -EINVAL);
	assert_int_equal(msr_write(&vm, 1, 0x80e, 1), -EINVAL);
	assert_int_equal(msr_write(&vm, 1, 0x831, 0), -EINVAL);
	assert_int_equal(msr_write(&vm, 1, 0x83f, 0x100), -EINVAL);
	assert_int_equal(msr_write(&vm, 1, 0x80f, 1ull << 32), -EINVAL);
	assert_int_equal(msr_write(&vm, 1, 0x830, 1 << 13), -EINVAL);
	assert_int_equal(msr_write(&vm, 1, 0x8ff, 0), -EINVAL);
	assert_int_equal(lapic_msr_read(vm.vcpus[1].lapic, 0x80b, &value), -EINVAL);
	assert_int_equal(lapic_msr_read(vm.vcpus[1].lapic, 0x80e, &value), -EINVAL);
	assert_int_equal(lapic_msr_read(vm.vcpus[1].lapic, 0x831, &value), -EINVAL);
	assert_int_equal(lapic_msr_read(vm.vcpus[1].lapic, 0x900, &value), -ENOENT);
	assert_int_equal(msr_write(&vm, 1, 0x10, 0), -ENOENT);
	vm_teardown(&vm);
}

static void test_broadcast_quirk(void **state)
{
	struct fake_vm vm;
	struct kvm_msi msi = {.address_lo = 0xfee00000 | 0xff << 12, .data = 0x41};

	(void)state;
	vm_setup(&vm, 2);
	enter_x2apic(&vm);
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), 2);
	assert_int_equal(irqchip_set_x2apic_flags(vm.chip, KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK),
			 0);
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), -1);
	vm_teardown(&vm);
}

static void test_base_transitions(void **state)
{
	struct fake_vm vm;
	uint32_t value = 0;

	(void)state;
	vm_setup(&vm, 1);
	assert_int_equal(msr_write(&vm, 0, 0x1b, APIC_PAGE | 0x901), -EINVAL);
	assert_int_equal(msr_write(&vm, 0, 0x1b, 1ull << 52 | APIC_PAGE | 0x900), -EINVAL);
	assert_int_equal(msr_write(&vm, 0, 0x1b, APIC_PAGE | 0x500), -EINVAL);
	/* xAPIC -> x2APIC -> (not xAPIC) -> off -> (not x2APIC) -> xAPIC */
	assert_int_equal(msr_write(&vm, 0, 0x1b, APIC_PAGE | 0xd00), 0);
	assert_int_equal(msr_write(&vm, 0, 0x1b, APIC_PAGE | 0x900), -EINVAL);
	assert_int_equal(msr_write(&vm, 0, 0x1b, APIC_PAGE | 0x100), 0);
	assert_int_equal(msr_write(&vm, 0, 0x1b, APIC_PAGE | 0xd00), -EINVAL);
	assert_int_equal(msr_write(&vm, 0, 0x1b, APIC_PAGE | 0x900), 0);
	/* The page may be moved. */
	assert_int_equal(msr_write(&vm, 0, 0x1b, 0xfe000000 | 0x900), 0);
	assert_false(lapic_mmio(vm.vcpus[0].lapic, APIC_PAGE + 0x30, &value, 4, false));
	assert_true(lapic_mmio(vm.vcpus[0].lapic, 0xfe000030, &value, 4, false));
	assert_int_equal(value, 0x50014);
	/* A host may do any transition between valid values. */
	assert_int_equal(lapic_set_base(vm.vcpus[0].lapic, APIC_PAGE | 0xd00), 0);
	assert_int_equal(lapic_set_base(vm.vcpus[0].lapic, APIC_PAGE | 0x900), 0);
	assert_int_equal(lapic_set_base(vm.vcpus[0].lapic, APIC_PAGE | 0x500), -EINVAL);
	vm_teardown(&vm);
}

static void test_disabled(void **state)
{
	struct fake_vm vm;
	struct kvm_msi msi = {.address_lo = 0xfee00000, .data = 0x41};

	(void)state;
	vm_setup(&vm, 1);
	send_vector(&vm, 0, 0x51);
	apic_write(&vm, 0, 0x370, 0x33);
	/* Software-disabled: what is pending stays, nothing new is taken, the LVT is masked. */
	apic_write(&vm, 0, 0xf0, 0xff);
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), 0);
	assert_int_equal(apic_read(&vm, 0, 0x370), 0x10033);
	assert_int_equal(acknowledge(&vm, 0), 0x51);
	msi.data = 0x400;
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), 1);
	assert_true(lapic_take_nmis(vm.vcpus[0].lapic));
	/* Off: not addressed at all. */
	assert_int_equal(lapic_set_base(vm.vcpus[0].lapic, APIC_PAGE | 0x100), 0);
	assert_int_equal(irqchip_send_msi(vm.chip, &msi), -1);
	vm_teardown(&vm);
}

static void test_errors(void **state)
{
	struct fake_vm vm;
	uint32_t value = 0;

	(void)state;
	vm_setup(&vm, 1);
	apic_write(&vm, 0, 0x370, 0xfe);
	apic_write(&vm, 0, 0x300, 1 << 18 | 0x05);
	assert_int_equal(apic_read(&vm, 0, 0x280), 0); /* latched by a write only */
	apic_write(&vm, 0, 0x280, 0);
	assert_int_equal(apic_read(&vm, 0, 0x280), 1 << 5);
	assert_int_equal(acknowledge(&vm, 0), 0xfe);
	end_of_interrupt(&vm, 0);
	apic_write(&vm, 0, 0x3a0, 0);
	apic_write(&vm, 0, 0x280, 0);
	assert_int_equal(apic_read(&vm, 0, 0x280), 1 << 7);
	assert_int_equal(acknowledge(&vm, 0), 0xfe);
	end_of_interrupt(&vm, 0);
	/* Received, and an illegal error vector: no endless regress. */
	apic_write(&vm, 0, 0x370, 0x01);
	apic_write(&vm, 0, 0x3a0, 0);
	apic_write(&vm, 0, 0x280, 0);
	assert_int_equal(apic_read(&vm, 0, 0x280), 1 << 7 | 1 << 6);
	/* Narrow reads see the register, wide and misaligned writes do nothing. */
	assert_true(lapic_mmio(vm.vcpus[0].lapic, APIC_PAGE + 0x32, &value, 1, false));
	assert_int_equal(value, 5);
	value = 0x77;
	assert_true(lapic_mmio(vm.vcpus[0].lapic, APIC_PAGE + 0x81, &value, 1, true));
	assert_true(lapic_mmio(vm.vcpus[0].lapic, APIC_PAGE + 0x84, &value, 4, true));
	assert_int_equal(apic_read(&vm, 0, 0x80), 0);
	vm_teardown(&vm);
}

static void test_many_at_once(void **state)
{
	struct irqchip_ipi ipi = {.ids = {5, 1}, .ids_in_word = 64, .icr = 0x41};
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 3);
	assert_int_equal(irqchip_send_ipi(vm.chip, &ipi), 2);
	assert_int_equal(acknowledge(&vm, 0), 0x41);
	assert_int_equal(acknowledge(&vm, 1), -1);
	assert_int_equal(acknowledge(&vm, 2), 0x41);
	ipi = (struct irqchip_ipi){.ids = {0, 2}, .ids_in_word = 32, .lowest = UINT32_MAX - 31,
				   .icr = 0x51};
	assert_int_equal(irqchip_send_ipi(vm.chip, &ipi), 0);
	/* Nor does it wrap around. */
	ipi = (struct irqchip_ipi){.ids = {~0ull, ~0ull}, .ids_in_word = 64,
				   .lowest = UINT64_MAX - 60, .icr = 0x51};
	assert_int_equal(irqchip_send_ipi(vm.chip, &ipi), 0);
	ipi.icr |= 1 << 18;
	assert_int_equal(irqchip_send_ipi(vm.chip, &ipi), -EINVAL);
	vm_teardown(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_at_once),
		cmocka_unit_test(test_reset_state),
		cmocka_unit_test(test_priorities),
		cmocka_unit_test(test_task_priority),
		cmocka_unit_test(test_ipi_shorthands),
		cmocka_unit_test(test_ipi_destinations),
		cmocka_unit_test(test_startup),
		cmocka_unit_test(test_x2apic),
		cmocka_unit_test(test_broadcast_quirk),
		cmocka_unit_test(test_base_transitions),
		cmocka_unit_test(test_disabled),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
