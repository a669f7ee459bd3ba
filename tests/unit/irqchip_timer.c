/*
 * The local APIC's timer (Intel SDM vol. 3 §11.5.4) on the real clock: nothing here depends on how
 * quickly a thread runs, only on what must not happen early and what must happen at all.
 */
#include <pthread.h>
#include <stdlib.h>

#include "irqchip_fixture.h"

#define MS         1000000u
#define PERIODIC   (1u << 17)
#define DEADLINE   (2u << 17)
#define MASKED     (1u << 16)
#define DIVIDE_BY_1 0xbu

static void start(struct fake_vm *vm, unsigned cpu, uint32_t lvt, uint32_t count)
{
	apic_write(vm, cpu, 0x3e0, DIVIDE_BY_1);
	apic_write(vm, cpu, 0x320, lvt);
	apic_write(vm, cpu, 0x380, count);
}

static void test_one_shot(void **state)
{
	struct fake_vm vm;
	uint64_t begin;

	(void)state;
	vm_setup(&vm, 1);
	begin = now_ns();
	start(&vm, 0, 0xec, 20 * MS);
	assert_in_range(apic_read(&vm, 0, 0x390), 1, 20 * MS);
	assert_true(wait_pending(&vm, 0));
	assert_true(now_ns() - begin >= 20 * MS);
	assert_int_equal(acknowledge(&vm, 0), 0xec);
	assert_int_equal(apic_read(&vm, 0, 0x390), 0);
	end_of_interrupt(&vm, 0);
	sleep_ms(30);
	assert_false(pending(&vm, 0));
	/* A write of 0 stops it, a new count starts it anew. */
	apic_write(&vm, 0, 0x380, 5 * MS);
	apic_write(&vm, 0, 0x380, 0);
	sleep_ms(10);
	assert_false(pending(&vm, 0));
	vm_teardown(&vm);
}

static void test_divide(void **state)
{
	struct fake_vm vm;
	uint32_t before, after;

	(void)state;
	vm_setup(&vm, 1);
	start(&vm, 0, 0xec, 4000000000u);
	assert_true(apic_read(&vm, 0, 0x390) > 2000000000u);
	apic_write(&vm, 0, 0x3e0, 0xa); /* by 128 */
	before = apic_read(&vm, 0, 0x390);
	sleep_ms(50);
	after = apic_read(&vm, 0, 0x390);
	assert_true(before > after);
	assert_true(before - after >= 50 * MS / 128 - 1);
	/* A hundred times slower than that is a machine too busy for any test. */
	assert_true(before - after < 50 * MS);
	vm_teardown(&vm);
}

static void test_periodic(void **state)
{
	struct fake_vm vm;
	uint64_t begin;
	unsigned i;

	(void)state;
	vm_setup(&vm, 1);
	begin = now_ns();
	start(&vm, 0, PERIODIC | 0xec, 2 * MS);
	for (i = 0; i < 5; i++) {
		assert_true(wait_pending(&vm, 0));
		assert_int_equal(acknowledge(&vm, 0), 0xec);
		end_of_interrupt(&vm, 0);
	}
	assert_true(now_ns() - begin >= 10 * MS);
	/* A mask holds the interrupt back, not the count. */
	apic_write(&vm, 0, 0x320, MASKED | PERIODIC | 0xec);
	if (pending(&vm, 0)) {
		acknowledge(&vm, 0);
		end_of_interrupt(&vm, 0);
	}
	sleep_ms(6);
	assert_false(pending(&vm, 0));
	apic_write(&vm, 0, 0x320, PERIODIC | 0xec);
	assert_true(wait_pending(&vm, 0));
	vm_teardown(&vm);
}

static void test_tsc_deadline(void **state)
{
	struct fake_vm vm;
	struct lapic *lapic;
	uint64_t value, deadline;

	(void)state;
	vm_setup(&vm, 1);
	lapic = vm.vcpus[0].lapic;
	/* In another mode a write does nothing. */
	assert_int_equal(lapic_msr_write(lapic, 0x6e0, now_ns() + 1), 0);
	assert_int_equal(lapic_msr_read(lapic, 0x6e0, &value), 0);
	assert_int_equal(value, 0);
	apic_write(&vm, 0, 0x320, DEADLINE | 0xec);
	deadline = now_ns() + 300 * MS; /* some slow hosts take long to the next line */
	assert_int_equal(lapic_msr_write(lapic, 0x6e0, deadline), 0);
	assert_int_equal(lapic_msr_read(lapic, 0x6e0, &value), 0);
	assert_int_equal(value, deadline);
	assert_int_equal(apic_read(&vm, 0, 0x390), 0);
	assert_true(wait_pending(&vm, 0));
	assert_true(now_ns() >= deadline);
	assert_int_equal(acknowledge(&vm, 0), 0xec);
	end_of_interrupt(&vm, 0);
	assert_int_equal(lapic_msr_read(lapic, 0x6e0, &value), 0);
	assert_int_equal(value, 0);
	/* The past fires at once, on this thread. */
	assert_int_equal(lapic_msr_write(lapic, 0x6e0, 1), 0);
	assert_true(pending(&vm, 0));
	acknowledge(&vm, 0);
	end_of_interrupt(&vm, 0);
	/* Zero disarms; leaving the mode does too. */
	lapic_msr_write(lapic, 0x6e0, now_ns() + 5 * MS);
	lapic_msr_write(lapic, 0x6e0, 0);
	sleep_ms(10);
	assert_false(pending(&vm, 0));
	lapic_msr_write(lapic, 0x6e0, now_ns() + 5 * MS);
	apic_write(&vm, 0, 0x320, 0xec);
	sleep_ms(10);
	assert_false(pending(&vm, 0));
	/* The end of time must not overflow into now. */
	apic_write(&vm, 0, 0x320, DEADLINE | 0xec);
	lapic_msr_write(lapic, 0x6e0, UINT64_MAX);
	sleep_ms(2);
	assert_false(pending(&vm, 0));
	vm_teardown(&vm);
}

static void test_many(void **state)
{
	struct fake_vm vm;
	unsigned i, round;

	(void)state;
	vm_setup(&vm, 3);
	for (round = 0; round < 5; round++) {
		start(&vm, 0, 0xec, 9 * MS);
		start(&vm, 1, 0xec, 3 * MS);
		start(&vm, 2, 0xec, 6 * MS);
		start(&vm, 1, 0xec, 12 * MS);
		for (i = 0; i < 3; i++) {
			assert_true(wait_pending(&vm, i));
			assert_int_equal(acknowledge(&vm, i), 0xec);
			end_of_interrupt(&vm, i);
		}
	}
	vm_teardown(&vm);
}

static void test_save_restore(void **state)
{
	struct fake_vm vm, other;
	struct kvm_lapic_state saved;
	uint64_t begin;

	(void)state;
	vm_setup(&vm, 1);
	start(&vm, 0, 0xec, 4000000000u);
	assert_int_equal(lapic_get_state(vm.vcpus[0].lapic, &saved), 0);
	vm_setup(&other, 1);
	assert_int_equal(lapic_set_state(other.vcpus[0].lapic, &saved), 0);
	assert_in_range(apic_read(&other, 0, 0x390), 1000000000u, 4000000000u);
	vm_teardown(&other);

	/* A running periodic timer goes on by itself, from where it was. */
	start(&vm, 0, PERIODIC | 0xec, 30 * MS);
	sleep_ms(5);
	assert_int_equal(lapic_get_state(vm.vcpus[0].lapic, &saved), 0);
	vm_setup(&other, 1);
	begin = now_ns();
	assert_int_equal(lapic_set_state(other.vcpus[0].lapic, &saved), 0);
	assert_true(wait_pending(&other, 0));
	acknowledge(&other, 0);
	end_of_interrupt(&other, 0);
	assert_true(wait_pending(&other, 0));
	assert_true(now_ns() - begin >= 30 * MS);
	vm_teardown(&other);

	/* A one-shot whose count has run out fires: who saved it may not know the count. */
	apic_write(&vm, 0, 0x380, 0);
	while (pending(&vm, 0)) {
		acknowledge(&vm, 0);
		end_of_interrupt(&vm, 0);
	}
	start(&vm, 0, 0xec, MS);
	assert_true(wait_pending(&vm, 0));
	acknowledge(&vm, 0);
	end_of_interrupt(&vm, 0);
	assert_int_equal(lapic_get_state(vm.vcpus[0].lapic, &saved), 0);
	vm_setup(&other, 1);
	assert_int_equal(lapic_set_state(other.vcpus[0].lapic, &saved), 0);
	assert_true(wait_pending(&other, 0));
	acknowledge(&other, 0);
	end_of_interrupt(&other, 0);
	sleep_ms(5);
	assert_false(pending(&other, 0));
	/* One that was never started does not. */
	assert_int_equal(lapic_get_state(other.vcpus[0].lapic, &saved), 0);
	memset(saved.regs + 0x380, 0, 4);
	assert_int_equal(lapic_set_state(other.vcpus[0].lapic, &saved), 0);
	sleep_ms(5);
	assert_false(pending(&other, 0));
	vm_teardown(&other);
	vm_teardown(&vm);
}

static void *send_ipis(void *context)
{
	struct fake_vm *vm = context;
	unsigned i;

	for (i = 0; i < 2000; i++) {
		apic_write(vm, 0, 0x310, 1u << 24);
		apic_write(vm, 0, 0x300, 0x40 + i % 64);
	}
	return NULL;
}

/* The sender, the timer thread and the receiver at once: for the thread sanitizer. */
static void test_threads(void **state)
{
	struct fake_vm vm;
	pthread_t sender;
	unsigned taken = 0, ticks = 0;
	int vector;

	(void)state;
	vm_setup(&vm, 2);
	start(&vm, 1, PERIODIC | 0xec, MS);
	assert_int_equal(pthread_create(&sender, NULL, send_ipis, &vm), 0);
	while (taken < 20 || ticks < 3) {
		if (!wait_pending(&vm, 1))
			break;
		lapic_set_cr8(vm.vcpus[1].lapic, 0);
		vector = acknowledge(&vm, 1);
		if (vector == 0xec)
			ticks++;
		else if (vector >= 0)
			taken++;
		end_of_interrupt(&vm, 1);
		/* The sender may be done: its last ones may have coalesced. */
		if (ticks > 50)
			break;
	}
	pthread_join(sender, NULL);
	assert_true(ticks >= 3);
	assert_true(vm.vcpus[1].notified > 0);
	vm_teardown(&vm);
}

/* Saved at any moment around its end, a count has some of it left, or has left its interrupt. */
static void test_save_at_the_end(void **state)
{
	struct kvm_lapic_state saved;
	struct fake_vm vm;
	uint32_t count, requested;
	unsigned i;

	(void)state;
	vm_setup(&vm, 1);
	for (i = 0; i < 3000; i++) {
		start(&vm, 0, 0xec, 30000 + i * 7 % 60000);
		do {
			assert_int_equal(lapic_get_state(vm.vcpus[0].lapic, &saved), 0);
			memcpy(&count, saved.regs + 0x390, sizeof(count));
			memcpy(&requested, saved.regs + 0x200 + 0xec / 32 * 0x10, sizeof(requested));
			requested &= 1u << 0xec % 32;
			assert_true(count || requested);
		} while (!requested);
		assert_true(wait_pending(&vm, 0));
		assert_int_equal(acknowledge(&vm, 0), 0xec);
		end_of_interrupt(&vm, 0);
	}
	vm_teardown(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_shot),
		cmocka_unit_test(test_divide),
		cmocka_unit_test(test_periodic),
		cmocka_unit_test(test_tsc_deadline),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_save_restore),
		cmocka_unit_test(test_save_at_the_end),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
