/*
 * What the translator allocates is bounded by the size of its code cache, whatever the guest's code is
 * like: a little on each page, or much that needs next to no host code.
 */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "x86_platform.h"

#define CACHE_SIZE (1u << 20)
#define PAGES      ((X86_TEST_MEMORY - X86_TEST_DATA) / 4096)
#define ROUNDS     2

static struct x86_test test;

static int setup(void **state)
{
	struct jit_options options = JIT_OPTIONS_DEFAULT;

	(void)state;
	options.cache_size = CACHE_SIZE;
	options.warmth = 0;
	/* Where there is no translator the tests skip themselves. */
	return x86_test_create_with(&test, 64, RUN_BEST, &options);
}

static int teardown(void **state)
{
	(void)state;
	x86_test_destroy(&test);
	return 0;
}

static size_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/* Call the code of all pages in turn, ROUNDS times; what the heap has grown by. */
static size_t run(void)
{
	static const uint8_t code[] = {
		0xff, 0xd7,                               /* 1: call *%rdi */
		0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, /* add $0x1000, %rdi */
		0x48, 0xff, 0xc9,                         /* dec %rcx */
		0x75, 0xf2,                               /* jnz 1b */
		0x0f, 0x0b,                               /* ud2 */
	};
	struct cpu *cpu = &test.cpu;
	size_t before = allocated();

	memcpy(test.memory + X86_TEST_CODE, code, sizeof(code));
	for (unsigned i = 0; i < ROUNDS; i++) {
		cpu->rip = X86_TEST_CODE;
		cpu->gpr[CPU_RDI] = X86_TEST_DATA;
		cpu->gpr[CPU_RCX] = PAGES;
		x86_test_run(&test);
		assert_true(cpu->exception.pending);
		assert_int_equal(cpu->exception.vector, EXCEPTION_UD);
		assert_int_equal(cpu->rip, X86_TEST_CODE + sizeof(code) - 2);
	}
	return allocated() - before;
}

static void test_little_on_each_page(void **state)
{
	(void)state;
	if (!test.vm.translations)
		skip();
	for (unsigned i = 0; i < PAGES; i++)
		test.memory[X86_TEST_DATA + i * 4096] = 0xc3;
	assert_in_range(run(), 0, CACHE_SIZE / 2);
}

static void test_pages_of_nops(void **state)
{
	static const uint8_t nop[15] = {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x2e,
					0x0f, 0x1f, 0x84, 0,    0,    0,    0,    0};
	struct jit_statistics statistics;

	(void)state;
	if (!test.vm.translations)
		skip();
	for (unsigned i = 0; i < PAGES; i++) {
		uint8_t *page = test.memory + X86_TEST_DATA + i * 4096;

		for (unsigned at = 0; at + sizeof(nop) < 4096; at += sizeof(nop))
			memcpy(page + at, nop, sizeof(nop));
		page[4095] = 0xc3;
	}
	assert_in_range(run(), 0, CACHE_SIZE / 2);
	/* They were translated all the same. */
	jit_get_statistics(&test.cpu, &statistics);
	assert_true(statistics.blocks > PAGES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_little_on_each_page, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pages_of_nops, setup, teardown),
	};

	return cmocka_run_group_tests_name("jit_memory", tests, NULL, NULL);
}
