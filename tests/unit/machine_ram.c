/* The log of written pages: what the monitor writes is in it beside what vCPUs write. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "machine/ram.h"
#include "util/guarded.h"
#include "faults.h"

#define RAM_BYTES (16u << 20)

struct setting {
	struct kvm_system system;
	struct kvm_vm vm;
	struct ram ram;
	uint64_t words[RAM_BYTES / 4096 / 64];
};

static int setup(void **state)
{
	static struct setting setting;
	struct error error;

	memset(&setting, 0, sizeof(setting));
	assert_int_equal(kvm_system_open(&setting.system, &kvm_backend_engine, NULL, &error), 0);
	assert_int_equal(kvm_vm_create(&setting.vm, &setting.system, &error), 0);
	assert_int_equal(ram_create(&setting.ram, RAM_BYTES, &error), 0);
	assert_int_equal(ram_attach(&setting.ram, &setting.vm, &error), 0);
	*state = &setting;
	return 0;
}

static int teardown(void **state)
{
	struct setting *setting = *state;

	kvm_vm_close(&setting->vm);
	kvm_system_close(&setting->system);
	ram_destroy(&setting->ram);
	return 0;
}

/* The pages of region `index` in the log, as a number of them and their sum. */
static unsigned read_log(struct setting *setting, unsigned index, unsigned *sum)
{
	struct error error;
	unsigned page, count = 0;

	memset(setting->words, 0, sizeof(setting->words));
	assert_int_equal(ram_log_read(&setting->ram, &setting->vm, index, setting->words, &error),
			 0);
	for (page = *sum = 0; page < RAM_BYTES / 4096; page++) {
		if (!(setting->words[page / 64] >> (page % 64) & 1))
			continue;
		count++;
		*sum += page;
	}
	return count;
}

static void test_log(void **state)
{
	struct setting *setting = *state;
	struct guest_memory *memory = &setting->ram.memory;
	uint8_t bytes[3 * 4096];
	struct error error;
	unsigned sum;

	memset(bytes, 1, sizeof(bytes));
	/* Before it is on: not logged, and not readable. */
	assert_int_equal(guest_memory_write(memory, 0x1000, bytes, 1), 0);
	assert_true(ram_log_read(&setting->ram, &setting->vm, 0, setting->words, &error) < 0);
	assert_int_equal(ram_log_start(&setting->ram, &setting->vm, &error), 0);
	assert_int_equal(read_log(setting, 0, &sum), 0);
	/* The last byte of page 2 to the first of page 5. */
	assert_int_equal(guest_memory_write(memory, 0x2fff, bytes, 2 * 4096 + 2), 0);
	assert_int_equal(guest_memory_clear(memory, 0x9f000, 4096), 0);
	assert_int_equal(read_log(setting, 0, &sum), 5);
	assert_int_equal(sum, 2 + 3 + 4 + 5 + 0x9f);
	assert_int_equal(read_log(setting, 0, &sum), 0);
	/* Reading memory is no write; nor is a write that is refused. */
	assert_int_equal(guest_memory_read(memory, 0x5000, bytes, 4096), 0);
	assert_int_equal(guest_memory_write(memory, 0x9ffff, bytes, 2), -EFAULT);
	assert_int_equal(read_log(setting, 0, &sum), 0);
	/* Another region's pages are counted from its start; a pointer's user says what he wrote. */
	assert_int_equal(guest_memory_write(memory, 0xc1000, bytes, 1), 0);
	assert_non_null(guest_memory_for_writing(memory, 0x100000, 4096));
	guest_memory_written(memory, 0x100000, 4096);
	assert_int_equal(read_log(setting, 0, &sum), 0);
	assert_int_equal(read_log(setting, 1, &sum), 2);
	assert_int_equal(sum, 1 + 0x40);
	/* Off and on again: clean. */
	assert_int_equal(guest_memory_write(memory, 0x2000, bytes, 1), 0);
	assert_int_equal(ram_log_stop(&setting->ram, &setting->vm, &error), 0);
	assert_int_equal(ram_log_start(&setting->ram, &setting->vm, &error), 0);
	assert_int_equal(read_log(setting, 0, &sum), 0);
}

/* Nothing else is near it. */
static void test_guards(void **state)
{
	struct setting *setting = *state;

	assert_true(fault_stands_alone(setting->ram.base, RAM_BYTES, GUARD_BYTES));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_log, setup, teardown),
		cmocka_unit_test_setup_teardown(test_guards, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
