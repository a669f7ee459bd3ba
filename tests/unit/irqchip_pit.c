/*
 * The 8254 PIT (Intel 231164): modes, latches, read-back, BCD, the gate of channel 2 through port
 * 0x61, IRQ 0 with and without reinjection.
 */
#include <errno.h>

#include "irqchip_fixture.h"

#define GATE2   0x01
#define SPEAKER 0x02
#define REFRESH 0x10
#define OUT2    0x20

static void setup(struct fake_vm *vm)
{
	struct kvm_pit_config config = {.flags = KVM_PIT_SPEAKER_DUMMY};

	vm_setup(vm, 1);
	assert_int_equal(irqchip_create_pit(vm->chip, &config), 0);
	assert_int_equal(irqchip_create_pit(vm->chip, &config), -EEXIST);
}

static void load(struct fake_vm *vm, unsigned channel, uint8_t control, uint16_t count)
{
	out(vm, 0x43, channel << 6 | control);
	out(vm, 0x40 + channel, count);
	out(vm, 0x40 + channel, count >> 8);
}

static uint16_t read_word(struct fake_vm *vm, unsigned channel)
{
	uint16_t low = in(vm, 0x40 + channel);

	return low | in(vm, 0x40 + channel) << 8;
}

static bool wait_out2(struct fake_vm *vm)
{
	uint64_t deadline = now_ns() + 5000000000ull;

	while (!(in(vm, 0x61) & OUT2) && now_ns() < deadline)
		;
	return in(vm, 0x61) & OUT2;
}

static void test_ports(void **state)
{
	struct fake_vm vm;
	struct kvm_pit_config config = {0};
	uint8_t value = 0;

	(void)state;
	vm_setup(&vm, 1);
	assert_false(irqchip_pio(vm.chip, 0x40, &value, 1, false));
	assert_int_equal(irqchip_create_pit(vm.chip, &config), 0);
	assert_true(irqchip_pio(vm.chip, 0x40, &value, 1, false));
	assert_false(irqchip_pio(vm.chip, 0x61, &value, 1, false));
	assert_false(irqchip_pio(vm.chip, 0x44, &value, 1, false));
	vm_teardown(&vm);
}

static void test_mode_0(void **state)
{
	struct fake_vm vm;
	uint64_t begin;

	(void)state;
	setup(&vm);
	out(&vm, 0x61, GATE2);
	/* How Linux calibrates its TSC. */
	begin = now_ns();
	load(&vm, 2, 0x30, 11932); /* 10 ms */
	assert_int_equal(in(&vm, 0x61) & OUT2, 0);
	assert_true(wait_out2(&vm));
	assert_true(now_ns() - begin >= 9990000);
	vm_teardown(&vm);
}

static void test_gate(void **state)
{
	struct fake_vm vm;
	uint16_t first;

	(void)state;
	setup(&vm);
	out(&vm, 0x61, 0);
	load(&vm, 2, 0x30, 2000);
	sleep_ms(5);
	assert_int_equal(read_word(&vm, 2), 2000);
	assert_int_equal(in(&vm, 0x61) & (OUT2 | GATE2), 0);
	out(&vm, 0x61, GATE2);
	assert_true(wait_out2(&vm));
	/* Falling stops the count, rising lets it go on. */
	load(&vm, 2, 0x30, 60000);
	sleep_ms(2);
	out(&vm, 0x61, 0);
	first = read_word(&vm, 2);
	assert_true(first < 60000 - 2000);
	sleep_ms(2);
	assert_int_equal(read_word(&vm, 2), first);
	/* Mode 1 waits for the rise. */
	load(&vm, 2, 0x32, 2000);
	assert_int_equal(in(&vm, 0x61) & OUT2, OUT2);
	out(&vm, 0x61, GATE2);
	assert_true(wait_out2(&vm));
	/* Modes 2 and 3 without gate hold OUT high. */
	out(&vm, 0x61, 0);
	load(&vm, 2, 0x36, 2000);
	assert_int_equal(in(&vm, 0x61) & OUT2, OUT2);
	sleep_ms(1);
	assert_int_equal(in(&vm, 0x61) & OUT2, OUT2);
	vm_teardown(&vm);
}

static void test_port_61(void **state)
{
	struct fake_vm vm;
	uint64_t deadline = now_ns() + 5000000000ull;
	uint8_t first;

	(void)state;
	setup(&vm);
	out(&vm, 0x61, 0xff);
	assert_int_equal(in(&vm, 0x61) & 0x0f, SPEAKER | GATE2);
	out(&vm, 0x61, 0);
	assert_int_equal(in(&vm, 0x61) & 0x0f, 0);
	/* Programs count these toggles to wait. */
	first = in(&vm, 0x61) & REFRESH;
	while ((in(&vm, 0x61) & REFRESH) == first && now_ns() < deadline)
		;
	assert_true(now_ns() < deadline);
	vm_teardown(&vm);
}

static void test_latch(void **state)
{
	struct fake_vm vm;
	uint16_t value;

	(void)state;
	setup(&vm);
	load(&vm, 0, 0x34, 50000);
	out(&vm, 0x43, 0x00); /* latch channel 0 */
	sleep_ms(2);
	out(&vm, 0x43, 0x00); /* a second latch is ignored until the first is read */
	value = read_word(&vm, 0);
	assert_in_range(value, 1, 50000);
	assert_true(read_word(&vm, 0) != value);
	vm_teardown(&vm);
}

static void test_read_back(void **state)
{
	struct fake_vm vm;

	(void)state;
	setup(&vm);
	out(&vm, 0x61, 0);
	load(&vm, 2, 0x30, 0x1234);
	out(&vm, 0x43, 0xe8); /* status of channel 2 */
	assert_int_equal(in(&vm, 0x42), 0x30);
	out(&vm, 0x43, 0xc8); /* status and count: the status comes first */
	assert_int_equal(in(&vm, 0x42), 0x30);
	assert_int_equal(read_word(&vm, 2), 0x1234);
	/* Low byte only, high byte only; mode 6 is mode 2. */
	out(&vm, 0x43, 0x9c);
	out(&vm, 0x42, 0x77);
	out(&vm, 0x43, 0xe8);
	assert_int_equal(in(&vm, 0x42) & 0x7f, 0x14);
	assert_int_equal(in(&vm, 0x42), 0x77);
	out(&vm, 0x43, 0xa0);
	out(&vm, 0x42, 0x12);
	assert_int_equal(in(&vm, 0x42), 0x12);
	assert_int_equal(in(&vm, 0x43), 0);
	vm_teardown(&vm);
}

static void test_bcd(void **state)
{
	struct fake_vm vm;

	(void)state;
	setup(&vm);
	out(&vm, 0x61, 0);
	load(&vm, 2, 0x31, 0x4321);
	assert_int_equal(read_word(&vm, 2), 0x4321);
	out(&vm, 0x61, GATE2);
	sleep_ms(1);
	out(&vm, 0x61, 0);
	assert_true(read_word(&vm, 2) != 0x4321);
	vm_teardown(&vm);
}

static void test_irq_0(void **state)
{
	struct fake_vm vm;
	unsigned i;

	(void)state;
	setup(&vm);
	pic_setup(&vm, 0x01);
	/* Nothing ticks before the guest has programmed it; BIOSes choose 55 ms. */
	sleep_ms(80);
	assert_false(pending(&vm, 0));
	/* Periodic. */
	load(&vm, 0, 0x34, 1193);
	for (i = 0; i < 3; i++) {
		assert_true(wait_pending(&vm, 0));
		assert_int_equal(acknowledge(&vm, 0), 0x20);
		out(&vm, 0x20, 0x20);
	}
	/* One shot; the control word alone stops what was there. */
	out(&vm, 0x43, 0x30);
	while (pending(&vm, 0)) {
		acknowledge(&vm, 0);
		out(&vm, 0x20, 0x20);
	}
	sleep_ms(5);
	assert_false(pending(&vm, 0));
	out(&vm, 0x40, 0);
	out(&vm, 0x40, 1);
	assert_true(wait_pending(&vm, 0));
	acknowledge(&vm, 0);
	out(&vm, 0x20, 0x20);
	sleep_ms(5);
	assert_false(pending(&vm, 0));
	vm_teardown(&vm);
}

static unsigned count_ticks_after_pause(struct fake_vm *vm)
{
	unsigned ticks = 0;

	pic_setup(vm, 0x01);
	load(vm, 0, 0x34, 11932); /* 10 ms */
	sleep_ms(65);
	/* Stop the clock, then see what the guest is still owed. */
	while (pending(vm, 0) && ticks < 1000) {
		assert_int_equal(acknowledge(vm, 0), 0x20);
		ticks++;
		if (ticks == 1)
			out(vm, 0x43, 0x30);
		out(vm, 0x20, 0x20);
	}
	return ticks;
}

/* A busy host may have kept the timers' thread from counting just then. */
static bool owes_after_pause(struct fake_vm *vm)
{
	unsigned attempt;

	for (attempt = 0; attempt < 20; attempt++)
		if (count_ticks_after_pause(vm) >= 5)
			return true;
	return false;
}

static void test_reinjection(void **state)
{
	struct fake_vm vm;

	(void)state;
	setup(&vm);
	assert_true(owes_after_pause(&vm));
	assert_int_equal(irqchip_pit_reinject(vm.chip, false), 0);
	assert_true(count_ticks_after_pause(&vm) <= 2);
	vm_teardown(&vm);
	vm_setup(&vm, 1);
	assert_int_equal(irqchip_pit_reinject(vm.chip, false), -ENXIO);
	vm_teardown(&vm);
}

static void test_state(void **state)
{
	struct fake_vm vm, other;
	struct kvm_pit_state2 saved, again;
	unsigned i;

	(void)state;
	setup(&vm);
	load(&vm, 0, 0x34, 1193);
	load(&vm, 2, 0xb6 & 0x3f, 4321);
	out(&vm, 0x61, SPEAKER | GATE2);
	assert_int_equal(irqchip_get_pit2(vm.chip, &saved), 0);
	assert_int_equal(saved.channels[0].mode, 2);
	assert_int_equal(saved.channels[0].count, 1193);
	assert_int_equal(saved.channels[2].gate, 1);
	assert_int_equal(saved.flags, KVM_PIT_FLAGS_SPEAKER_DATA_ON);

	setup(&other);
	pic_setup(&other, 0x01);
	assert_int_equal(irqchip_set_pit2(other.chip, &saved), 0);
	assert_int_equal(irqchip_get_pit2(other.chip, &again), 0);
	for (i = 0; i < 3; i++)
		saved.channels[i].count_load_time = again.channels[i].count_load_time = 0;
	assert_memory_equal(&saved, &again, sizeof(saved));
	/* It runs. */
	assert_true(wait_pending(&other, 0));
	assert_int_equal(acknowledge(&other, 0), 0x20);
	out(&other, 0x20, 0x20);
	/* Not any longer once the HPET has taken over. */
	saved.flags |= KVM_PIT_FLAGS_HPET_LEGACY;
	assert_int_equal(irqchip_set_pit2(other.chip, &saved), 0);
	while (pending(&other, 0)) {
		acknowledge(&other, 0);
		out(&other, 0x20, 0x20);
	}
	sleep_ms(5);
	assert_false(pending(&other, 0));
	/* Nonsense is made harmless. */
	memset(&saved, 0xff, sizeof(saved));
	assert_int_equal(irqchip_set_pit2(other.chip, &saved), 0);
	memset(&saved, 0, sizeof(saved));
	assert_int_equal(irqchip_set_pit2(other.chip, &saved), 0);
	for (i = 0; i < 3; i++)
		in(&other, 0x40 + i);
	in(&other, 0x61);
	vm_teardown(&other);
	vm_teardown(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_mode_0),
		cmocka_unit_test(test_gate),
		cmocka_unit_test(test_port_61),
		cmocka_unit_test(test_latch),
		cmocka_unit_test(test_read_back),
		cmocka_unit_test(test_bcd),
		cmocka_unit_test(test_irq_0),
		cmocka_unit_test(test_reinjection),
		cmocka_unit_test(test_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
