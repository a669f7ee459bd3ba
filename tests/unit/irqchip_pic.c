/*
 * The 8259A pair (Intel 231468): priorities, cascade, EOI commands, rotation, modes, spurious
 * interrupts, and its way to the CPU through LINT0.
 */
#include "irqchip_fixture.h"

static void test_fixed_priority(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x01);
	assert_false(pending(&vm, 0));
	pulse_line(&vm, 6);
	pulse_line(&vm, 3);
	assert_true(pending(&vm, 0));
	assert_int_equal(acknowledge(&vm, 0), 0x23);
	/* 6 waits for 3, 1 does not. */
	assert_false(pending(&vm, 0));
	pulse_line(&vm, 1);
	assert_int_equal(acknowledge(&vm, 0), 0x21);
	out(&vm, 0x20, 0x0b);
	assert_int_equal(in(&vm, 0x20), 1 << 1 | 1 << 3);
	out(&vm, 0x20, 0x20); /* non-specific EOI ends the most urgent */
	assert_int_equal(in(&vm, 0x20), 1 << 3);
	out(&vm, 0x20, 0x63); /* specific EOI of 3 */
	assert_int_equal(acknowledge(&vm, 0), 0x26);
	assert_int_equal(acknowledge(&vm, 0), -1);
	vm_teardown(&vm);
}

static void test_cascade(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x01);
	pulse_line(&vm, 3);
	pulse_line(&vm, 12);
	pulse_line(&vm, 8);
	/* The slave sits at priority 2 of the master. */
	assert_int_equal(acknowledge(&vm, 0), 0x28);
	assert_false(pending(&vm, 0));
	out(&vm, 0xa0, 0x20);
	assert_false(pending(&vm, 0)); /* the master's IR2 is still in service */
	out(&vm, 0x20, 0x20);
	assert_int_equal(acknowledge(&vm, 0), 0x2c);
	out(&vm, 0xa0, 0x20);
	out(&vm, 0x20, 0x20);
	assert_int_equal(acknowledge(&vm, 0), 0x23);
	vm_teardown(&vm);
}

static void test_mask(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x01);
	out(&vm, 0x21, 1 << 4);
	pulse_line(&vm, 4);
	assert_false(pending(&vm, 0));
	out(&vm, 0x20, 0x0a);
	assert_int_equal(in(&vm, 0x20), 1 << 4);
	out(&vm, 0x21, 0);
	assert_int_equal(acknowledge(&vm, 0), 0x24);
	vm_teardown(&vm);
}

static void test_level(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x01);
	out(&vm, 0x4d0, 0xff);
	out(&vm, 0x4d1, 0xff);
	assert_int_equal(in(&vm, 0x4d0), 0xf8); /* 0, 1, 2 are edge-triggered for ever */
	assert_int_equal(in(&vm, 0x4d1), 0xde);
	raise_line(&vm, 5);
	assert_int_equal(acknowledge(&vm, 0), 0x25);
	out(&vm, 0x20, 0x20);
	/* Still asserted: again. */
	assert_int_equal(acknowledge(&vm, 0), 0x25);
	lower_line(&vm, 5);
	out(&vm, 0x20, 0x20);
	assert_false(pending(&vm, 0));
	/* A level that goes before the CPU looks leaves nothing. */
	raise_line(&vm, 5);
	lower_line(&vm, 5);
	assert_int_equal(acknowledge(&vm, 0), -1);
	vm_teardown(&vm);
}

static void test_shared_line(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x01);
	out(&vm, 0x4d1, 1 << 2);
	irqchip_set_line(vm.chip, IRQCHIP_SOURCE_USER, 10, 1);
	irqchip_set_line(vm.chip, IRQCHIP_SOURCE_RESAMPLE, 10, 1);
	irqchip_set_line(vm.chip, IRQCHIP_SOURCE_USER, 10, 0);
	assert_true(pending(&vm, 0));
	irqchip_set_line(vm.chip, IRQCHIP_SOURCE_RESAMPLE, 10, 0);
	out(&vm, 0xa0, 0x0a);
	assert_int_equal(in(&vm, 0xa0) & 1 << 2, 0);
	vm_teardown(&vm);
}

static void test_rotation(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x01);
	out(&vm, 0x20, 0xc3); /* 3 becomes the lowest, so 4 the highest */
	pulse_line(&vm, 0);
	pulse_line(&vm, 3);
	pulse_line(&vm, 4);
	assert_int_equal(acknowledge(&vm, 0), 0x24);
	out(&vm, 0x20, 0xa0); /* EOI with rotation: 4 becomes the lowest */
	assert_int_equal(acknowledge(&vm, 0), 0x20);
	out(&vm, 0x20, 0xe0); /* specific EOI of 0 with rotation */
	assert_int_equal(acknowledge(&vm, 0), 0x23);
	out(&vm, 0x20, 0x20);
	/* Now 1 is the highest and 0 the lowest. */
	pulse_line(&vm, 0);
	pulse_line(&vm, 7);
	assert_int_equal(acknowledge(&vm, 0), 0x27);
	vm_teardown(&vm);
}

static void test_auto_eoi(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x03);
	pulse_line(&vm, 1);
	assert_int_equal(acknowledge(&vm, 0), 0x21);
	out(&vm, 0x20, 0x0b);
	assert_int_equal(in(&vm, 0x20), 0);
	/* Rotation in automatic EOI mode. */
	out(&vm, 0x20, 0x80);
	pulse_line(&vm, 1);
	assert_int_equal(acknowledge(&vm, 0), 0x21);
	pulse_line(&vm, 0);
	pulse_line(&vm, 3);
	assert_int_equal(acknowledge(&vm, 0), 0x23);
	assert_int_equal(acknowledge(&vm, 0), 0x20);
	vm_teardown(&vm);
}

static void test_special_mask(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x01);
	pulse_line(&vm, 3);
	assert_int_equal(acknowledge(&vm, 0), 0x23);
	pulse_line(&vm, 5);
	assert_false(pending(&vm, 0));
	out(&vm, 0x21, 1 << 3);
	assert_false(pending(&vm, 0));
	out(&vm, 0x20, 0x68);
	assert_int_equal(acknowledge(&vm, 0), 0x25);
	/* A non-specific EOI leaves the masked 3 alone. */
	out(&vm, 0x20, 0x20);
	out(&vm, 0x20, 0x0b);
	assert_int_equal(in(&vm, 0x20), 1 << 3);
	vm_teardown(&vm);
}

static void test_special_fully_nested(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x11);
	pulse_line(&vm, 12);
	assert_int_equal(acknowledge(&vm, 0), 0x2c);
	/* A more urgent one of the same slave need not wait for the master's EOI. */
	pulse_line(&vm, 9);
	assert_int_equal(acknowledge(&vm, 0), 0x29);
	vm_teardown(&vm);
}

static void test_poll(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x01);
	out(&vm, 0x20, 0x0c);
	assert_int_equal(in(&vm, 0x20), 0);
	pulse_line(&vm, 4);
	out(&vm, 0x20, 0x0c);
	assert_int_equal(in(&vm, 0x20), 0x84);
	assert_false(pending(&vm, 0));
	out(&vm, 0x20, 0x0b);
	assert_int_equal(in(&vm, 0x20), 1 << 4);
	vm_teardown(&vm);
}

static void test_spurious(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 1);
	pic_setup(&vm, 0x01);
	/* The slave's level goes away after the master latched its request: IRQ15 of the slave. */
	out(&vm, 0x4d1, 1 << 2);
	raise_line(&vm, 10);
	assert_true(pending(&vm, 0));
	lower_line(&vm, 10);
	assert_true(pending(&vm, 0));
	assert_int_equal(acknowledge(&vm, 0), 0x2f);
	out(&vm, 0xa0, 0x0b);
	assert_int_equal(in(&vm, 0xa0), 0);
	out(&vm, 0x20, 0x0b);
	assert_int_equal(in(&vm, 0x20), 1 << 2);
	vm_teardown(&vm);
}

static void test_lint0(void **state)
{
	struct fake_vm vm;

	(void)state;
	vm_setup(&vm, 2);
	pic_setup(&vm, 0x01);
	pulse_line(&vm, 1);
	/* Virtual wire mode on the boot CPU only. */
	assert_true(pending(&vm, 0));
	assert_false(pending(&vm, 1));
	assert_int_equal(vm.vcpus[0].notified, 1);
	apic_write(&vm, 0, 0x350, 0x10700);
	assert_false(pending(&vm, 0));
	apic_write(&vm, 1, 0x350, 0x700);
	assert_int_equal(acknowledge(&vm, 1), 0x21);
	out(&vm, 0x20, 0x20);
	/* TPR does not hold back ExtINT. */
	apic_write(&vm, 1, 0x80, 0xff);
	pulse_line(&vm, 1);
	assert_int_equal(acknowledge(&vm, 1), 0x21);
	out(&vm, 0x20, 0x20);
	/* LINT0 in fixed mode: the pin's rise is an interrupt of the local APIC. */
	apic_write(&vm, 1, 0x80, 0);
	apic_write(&vm, 1, 0x350, 0x55);
	pulse_line(&vm, 1);
	assert_int_equal(acknowledge(&vm, 1), 0x55);
	/* An APIC that is switched off leaves the pin to the CPU. */
	assert_int_equal(lapic_set_base(vm.vcpus[0].lapic, 0xfee00000), 0);
	assert_int_equal(acknowledge(&vm, 0), 0x21);
	vm_teardown(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fixed_priority),
		cmocka_unit_test(test_cascade),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_level),
		cmocka_unit_test(test_shared_line),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_auto_eoi),
		cmocka_unit_test(test_special_mask),
		cmocka_unit_test(test_special_fully_nested),
		cmocka_unit_test(test_poll),
		cmocka_unit_test(test_spurious),
		cmocka_unit_test(test_lint0),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
