/*
 * Translations are shared by those CPUs of a VM to which code means the same: one whose CPUID has no LZCNT executes BSR
 * where another has translated LZCNT, whichever of them was first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "engine/run/jit/jit.h"
#include "engine/x86/host/host.h"
#include "engine/x86/system/cpuid.h"
#include "x86_platform.h"

#define RUNS 3

/* A second CPU, with the first one's memory. */
static struct x86_test first, second;

static int setup(void **state)
{
	(void)state;
	if (x86_test_create_eager(&first, RUN_TRANSLATED, 1))
		return -1;
	memset(&second, 0, sizeof(second));
	second.memory = first.memory;
	if (runner_create(&second.runner, &first.vm, RUN_TRANSLATED, 1, NULL, &x86_test_platform, &second))
		return -1;
	x86_test_set_mode(&second.cpu, second.memory, 64);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	runner_destroy(&second.runner);
	x86_test_destroy(&first);
	return 0;
}

/* A CPUID with nothing in it but its first leaves, and LZCNT perhaps. */
static void give(struct cpu *cpu, bool has_lzcnt)
{
	struct kvm_cpuid_entry2 *entries = calloc(2, sizeof(*entries));

	entries[0].function = 1;
	entries[1].function = 0x80000001;
	entries[1].ecx = has_lzcnt ? 1 << 5 : 0;
	assert_int_equal(cpu_set_cpuid(cpu, entries, 2), 0);
}

static uint32_t bits_of_one(struct x86_test *test)
{
	static const uint8_t code[] = { 0xf3, 0x0f, 0xbd, 0xc1, 0x0f, 0x0b }; /* lzcnt or bsr eax, ecx; ud2 */

	test->cpu.rip = X86_TEST_CODE;
	test->cpu.gpr[CPU_RCX] = 1;
	assert_int_equal(x86_test_run_code(test, code, sizeof(code)), EXCEPTION_UD);
	return (uint32_t)test->cpu.gpr[CPU_RAX];
}

static uint64_t translated_by(struct x86_test *test)
{
	struct jit_statistics statistics;

	jit_get_statistics(&test->cpu, &statistics);
	return statistics.blocks;
}

static void test_different(void **state)
{
	(void)state;
	if (!host_has(HOST_LZCNT))
		skip();
	give(&first.cpu, true);
	give(&second.cpu, false);
	for (unsigned i = 0; i < RUNS; i++) {
		assert_int_equal(bits_of_one(&first), 31);
		assert_int_equal(bits_of_one(&second), 0);
	}
	assert_true(translated_by(&first) > 0);
	assert_int_equal(translated_by(&second), 0);
}

static void test_without_first(void **state)
{
	(void)state;
	if (!host_has(HOST_LZCNT))
		skip();
	give(&first.cpu, false);
	give(&second.cpu, true);
	for (unsigned i = 0; i < RUNS; i++) {
		assert_int_equal(bits_of_one(&first), 0);
		assert_int_equal(bits_of_one(&second), 31);
	}
}

static void test_alike(void **state)
{
	(void)state;
	give(&first.cpu, true);
	give(&second.cpu, true);
	assert_int_equal(bits_of_one(&second), host_has(HOST_LZCNT) ? 31 : 0);
	assert_true(translated_by(&second) > 0);
	assert_int_equal(bits_of_one(&first), host_has(HOST_LZCNT) ? 31 : 0);
	assert_int_equal(translated_by(&first), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_different, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_alike, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
