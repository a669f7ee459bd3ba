/*
 * What is counted of translations, by their form: the same whether lookups are counted or not, though that is done by
 * code in them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "x86_platform.h"

enum { FULL, LEAN };

/* Accesses off a register, the stack and a frame pointer, flags kept and not, a call and a return. */
static const uint8_t code[] = {
	0x8b, 0x03,                   /* mov (%rbx), %eax */
	0x01, 0x03,                   /* add %eax, (%rbx) */
	0x8b, 0x4b, 0x08,             /* mov 8(%rbx), %ecx */
	0x50,                         /* push %rax */
	0x89, 0x45, 0xf8,             /* mov %eax, -8(%rbp) */
	0x58,                         /* pop %rax */
	0xe8, 0x02, 0x00, 0x00, 0x00, /* call 1f */
	0x0f, 0x0b,                   /* ud2 */
	0x11, 0x03,                   /* 1: adc %eax, (%rbx) */
	0xc3,                         /* ret */
};

/* False: there is no translator. */
static bool run(unsigned promotion, bool counts_lookups, struct jit_statistics *statistics)
{
	struct jit_options options = JIT_OPTIONS_DEFAULT;
	struct x86_test test;

	options.warmth = 0;
	options.promotion = (uint16_t)promotion;
	options.counts_lookups = options.measures_time = counts_lookups;
	assert_int_equal(x86_test_create_with(&test, 64, RUN_BEST, &options), 0);
	if (test.vm.translations) {
		test.cpu.gpr[CPU_RBX] = test.cpu.gpr[CPU_RBP] = X86_TEST_DATA + 64;
		assert_int_equal(x86_test_run_code(&test, code, sizeof(code)), EXCEPTION_UD);
		jit_get_statistics(&test.cpu, statistics);
	}
	x86_test_destroy(&test);
	return statistics->blocks;
}

static void check(const struct jit_statistics *plain, const struct jit_statistics *counted, unsigned form)
{
	const struct jit_form_statistics *a = &plain->forms[form], *b = &counted->forms[form];

	assert_int_equal(plain->forms[!form].blocks, 0);
	assert_int_equal(a->blocks, plain->blocks);
	assert_in_range(a->guest_bytes, sizeof(code) - 2, sizeof(code));
	assert_int_equal(a->guest_bytes, b->guest_bytes);
	assert_int_equal(a->guest_instructions, b->guest_instructions);
	assert_true(a->kept_bytes > a->blocks * 100);
	assert_true(b->ns > 0);
	assert_int_equal(a->ns, 0);
	/* In full, blocks are aligned, which depends on what is in front of them. */
	assert_in_range(b->host_bytes, a->host_bytes - (form == FULL ? 15 * a->blocks : 0),
			a->host_bytes + (form == FULL ? 15 * a->blocks : 0));
}

static void test_forms(void **state)
{
	(void)state;
	for (unsigned form = FULL; form <= LEAN; form++) {
		struct jit_statistics plain = { .blocks = 0 }, counted = { .blocks = 0 };
		unsigned promotion = form == LEAN ? JIT_PROMOTION : 0;

		if (!run(promotion, false, &plain))
			skip();
		run(promotion, true, &counted);
		check(&plain, &counted, form);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
	};

	return cmocka_run_group_tests_name("jit_counters", tests, NULL, NULL);
}
