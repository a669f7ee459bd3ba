/*
 * No LOCK of the guest's becomes one of the host's that crosses cache lines: the interpreter and the
 * translator run these in an exclusive section. What stays in a line, aligned or not, needs none.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "x86_platform.h"

static struct x86_test test;
static struct cpu_platform platform;
static unsigned sections, ended;

static void exclusive_begin(void *context)
{
	(void)context;
	sections++;
}

static void exclusive_end(void *context)
{
	(void)context;
	ended++;
}

static int setup_with(enum run_choice choice, unsigned promotion)
{
	int result = x86_test_create_eager(&test, choice, promotion);

	if (result < 0)
		return result;
	platform = x86_test_platform;
	platform.exclusive_begin = exclusive_begin;
	platform.exclusive_end = exclusive_end;
	test.cpu.platform = &platform;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_with(RUN_INTERPRETED, 0);
}

/* Where there is no translator the test skips itself. */
static int setup_translator(void **state)
{
	(void)state;
	return setup_with(RUN_BEST, 0);
}

static int setup_lean(void **state)
{
	(void)state;
	return setup_with(RUN_BEST, JIT_PROMOTION);
}

static int teardown(void **state)
{
	(void)state;
	x86_test_destroy(&test);
	return 0;
}

/* Instructions with (%rsi) as operand, and what they make of 01 01 ... while RCX is 5, RBX is 0, and
 * RAX and EDX:EAX are what is there. */
static const struct form {
	const char *name;
	uint8_t code[8], length, size;
	uint64_t result;
} forms[] = {
	{"lock add %cx", {0xf0, 0x66, 0x01, 0x0e}, 4, 2, 0x0106},
	{"lock inc", {0xf0, 0xff, 0x06}, 3, 4, 0x01010102},
	{"lock not", {0xf0, 0x48, 0xf7, 0x16}, 4, 8, 0xfefefefefefefefe},
	{"lock xadd", {0xf0, 0x0f, 0xc1, 0x0e}, 4, 4, 0x01010106},
	{"lock cmpxchg", {0xf0, 0x48, 0x0f, 0xb1, 0x0e}, 5, 8, 5},
	{"lock cmpxchg8b", {0xf0, 0x0f, 0xc7, 0x0e}, 4, 8, 0x500000000},
	{"lock bts $9", {0xf0, 0x0f, 0xba, 0x2e, 0x09}, 5, 4, 0x01010301},
	{"lock btc %rcx", {0xf0, 0x48, 0x0f, 0xbb, 0x0e}, 5, 8, 0x0101010101010121},
	{"xchg", {0x48, 0x87, 0x0e}, 3, 8, 5},
	{"lock xchg", {0xf0, 0x87, 0x0e}, 3, 4, 5},
};

/* The code, and with `is_flag_live` what sets and reads flags around it. */
static void prepare(const struct form *form, unsigned offset, bool is_flag_live)
{
	struct cpu *cpu = &test.cpu;
	uint8_t code[32] = {0xf9}; /* stc */
	unsigned size = 0;

	if (is_flag_live)
		size = 1;
	memcpy(code + size, form->code, form->length);
	size += form->length;
	if (is_flag_live)
		code[size++] = 0x9c; /* pushf */
	code[size++] = 0x0f; /* ud2 */
	code[size++] = 0x0b;
	memcpy(test.memory + X86_TEST_CODE, code, sizeof(code));
	cpu->code_epoch++;
	memset(test.memory + X86_TEST_DATA, 0x01, 256);
	cpu->rip = X86_TEST_CODE;
	cpu->gpr[CPU_RSP] = X86_TEST_STACK;
	cpu->gpr[CPU_RSI] = X86_TEST_DATA + offset;
	cpu->gpr[CPU_RBX] = 0;
	cpu->gpr[CPU_RAX] = 0x0101010101010101;
	cpu->gpr[CPU_RDX] = 0x01010101;
	cpu->gpr[CPU_RCX] = 5;
}

/* Once to have the code decoded or translated, which takes sections of its own, and the page in the
 * TLB, and then for good. */
static void check_form(const struct form *form, unsigned offset, bool is_flag_live)
{
	bool is_split = offset % 64 + form->size > 64;
	uint64_t result = 0;

	for (unsigned i = 0; i < 3; i++) {
		prepare(form, offset, is_flag_live);
		sections = 0;
		assert_int_equal(x86_test_run(&test), EXCEPTION_UD);
	}
	memcpy(&result, test.memory + X86_TEST_DATA + offset, form->size);
	if (result != form->result || sections != is_split)
		print_message("%s at %u: %#llx, %u sections\n", form->name, offset,
			      (unsigned long long)result, sections);
	assert_int_equal(result, form->result);
	assert_int_equal(sections, is_split);
}

static void test_forms(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		for (unsigned offset = 48; offset < 72; offset++)
			for (unsigned k = 0; k < 2; k++)
				check_form(&forms[i], offset, k);
}

static void test_forms_translated(void **state)
{
	if (!test.vm.translations)
		skip();
	test_forms(state);
}

/* A section ends, too, when its instruction does not get to its end: a device has to answer first. */
static void test_device(void **state)
{
	static const struct form add = {"lock add", {0xf0, 0x48, 0x01, 0x0e}, 4, 8, 0};
	static uint8_t run[4096] __attribute__((aligned(4096)));
	struct cpu *cpu = &test.cpu;

	(void)state;
	cpu->run = (struct kvm_run *)run;
	for (unsigned i = 0; i < 3; i++) {
		prepare(&add, 0, i & 1);
		cpu->gpr[CPU_RSI] = 2 * X86_TEST_MEMORY;
		sections = ended = 0;
		assert_int_equal(x86_test_run(&test), -1);
		assert_int_equal(cpu->run->exit_reason, KVM_EXIT_MMIO);
		assert_true(sections > 0);
		assert_int_equal(ended, sections);
		assert_false(cpu->exclusive);
		cpu->io = (struct cpu_io){.done = 0};
	}
}

static void test_device_translated(void **state)
{
	if (!test.vm.translations)
		skip();
	test_device(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_forms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forms_translated, setup_translator, teardown),
		cmocka_unit_test_setup_teardown(test_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_device_translated, setup_translator, teardown),
		cmocka_unit_test_setup_teardown(test_forms_translated, setup_lean, teardown),
	};

	return cmocka_run_group_tests_name("jit_split_lock", tests, NULL, NULL);
}
