/*
 * A small code cache keeps what is in use: functions that a loop calls in each turn are not made again because code
 * that runs once fills the cache over and over.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "x86_platform.h"

#define FUNCTIONS 40
#define FUNCTION_DISTANCE 0x140 /* several a page, and some that cross into the next */
#define HOT       X86_TEST_DATA
#define COLD      (X86_TEST_DATA + 0x100000)
#define COLD_PAGES 2500
#define DATA      0x60000u

static struct x86_test test;
static unsigned promotion;

static int setup(void **state)
{
	struct jit_options options = JIT_OPTIONS_DEFAULT;

	(void)state;
	options.cache_size = JIT_CACHE_SIZE_MIN;
	options.warmth = 0;
	options.promotion = (uint16_t)promotion;
	/* Where there is no translator the tests skip themselves. */
	return x86_test_create_with(&test, 64, RUN_BEST, &options);
}

static int setup_in_full(void **state)
{
	promotion = 0;
	return setup(state);
}

static int setup_lean(void **state)
{
	promotion = JIT_PROMOTION;
	return setup(state);
}

static int teardown(void **state)
{
	(void)state;
	x86_test_destroy(&test);
	return 0;
}

/* Functions that add to %rax, by way of the stack and memory, of themselves and of one another. */
static void make_functions(void)
{
	static const uint8_t code[] = {
		0x50,                               /* push %rax */
		0x48, 0x83, 0x03, 0x01,             /* addq $1, (%rbx) */
		0x48, 0x39, 0xc1,                   /* cmp %rax, %rcx */
		0x74, 0x07,                         /* je 1f */
		0x48, 0x81, 0x04, 0x24, 3, 0, 0, 0, /* addq $3, (%rsp) */
		0x90, 0x58,                         /* nop; 1: pop %rax */
		0xc3,                               /* ret */
	};
	uint8_t *at = test.memory + HOT;

	for (unsigned i = 0; i < FUNCTIONS; i++, at += FUNCTION_DISTANCE) {
		memcpy(at, code, sizeof(code));
		at[9] = 0x09; /* to the pop */
	}
}

/* Code that runs once, of many accesses. */
static void make_cold_page(unsigned number)
{
	uint8_t *page = test.memory + COLD + number * 4096;

	for (unsigned at = 0; at < 128; at += 2) { /* add (%rbx), %edx */
		page[at] = 0x03;
		page[at + 1] = 0x13;
	}
	page[128] = 0xc3;
}

/* The cold pages, and behind each all functions. */
static void make_loop(void)
{
	static const uint8_t code[] = {
		0xff, 0xd7,                               /* 1: call *%rdi */
		0x48, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, /* add $0x1000, %rdi */
		0x4c, 0x89, 0xc6,                         /* mov %r8, %rsi */
		0xbd, FUNCTIONS, 0, 0, 0,                 /* mov $FUNCTIONS, %ebp */
		0xff, 0xd6,                               /* 2: call *%rsi */
		0x48, 0x81, 0xc6, FUNCTION_DISTANCE & 0xff, FUNCTION_DISTANCE >> 8, 0, 0, /* add $..., %rsi */
		0xff, 0xcd,                               /* dec %ebp */
		0x75, 0xf3,                               /* jnz 2b */
		0x48, 0xff, 0xc9,                         /* dec %rcx */
		0x75, 0xdd,                               /* jnz 1b */
		0x0f, 0x0b,                               /* ud2 */
	};

	memcpy(test.memory + X86_TEST_CODE, code, sizeof(code));
}

static struct jit_statistics run(void)
{
	struct jit_statistics statistics;
	struct cpu *cpu = &test.cpu;
	uint64_t count = 0;

	make_functions();
	for (unsigned i = 0; i < COLD_PAGES; i++)
		make_cold_page(i);
	make_loop();
	cpu->code_epoch++;
	cpu->gpr[CPU_RDI] = COLD;
	cpu->gpr[CPU_RBX] = DATA;
	cpu->gpr[CPU_RCX] = COLD_PAGES;
	cpu->gpr[8] = HOT;
	assert_int_equal(x86_test_run(&test), EXCEPTION_UD);
	memcpy(&count, test.memory + DATA, 8);
	assert_int_equal(count, COLD_PAGES * FUNCTIONS);
	/* One of them has the count that RCX is compared with, now and then. */
	assert_in_range(cpu->gpr[CPU_RAX], 3 * (COLD_PAGES * FUNCTIONS - FUNCTIONS), 3 * COLD_PAGES * FUNCTIONS);
	jit_get_statistics(cpu, &statistics);
	return statistics;
}

static void test_used_blocks_stay(void **state)
{
	struct jit_statistics statistics;

	(void)state;
	if (!test.vm.translations)
		skip();
	statistics = run();
	print_message("%lu blocks, %lu chunks emptied, %lu blocks stayed\n", statistics.blocks, statistics.evictions,
		      statistics.stayed_blocks);
	assert_true(statistics.evictions > 20);
	assert_true(statistics.stayed_blocks > FUNCTIONS);
	/* Two for each page of code that runs once, at most; and what is in use, a few times. */
	assert_in_range(statistics.blocks, 0, COLD_PAGES * 2 + FUNCTIONS * 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_used_blocks_stay, setup_lean, teardown),
		cmocka_unit_test_setup_teardown(test_used_blocks_stay, setup_in_full, teardown),
	};

	return cmocka_run_group_tests_name("jit_keep", tests, NULL, NULL);
}
