/*
 * What the translator makes of single instructions, given as bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/x86/fpu/thunk.h"
#include "jit_items.h"

static struct jit_item items[JIT_BLOCK_INSNS];

static bool moves_pointer(const char *code, unsigned size)
{
	assert_int_equal(items_decode(items, code, size, 0), 1);
	return items[0].form.is_x87;
}
#define MOVES_POINTER(code) moves_pointer(code, sizeof(code) - 1)

static void test_x87_pointer(void **state)
{
	(void)state;
	assert_true(MOVES_POINTER("\xd8\x07"));     /* fadd dword [rdi] */
	assert_true(MOVES_POINTER("\xd9\xc9"));     /* fxch st1 */
	assert_true(MOVES_POINTER("\xdf\x0f"));     /* fisttp word [rdi] */
	assert_false(MOVES_POINTER("\xdb\xe2"));    /* fnclex */
	assert_false(MOVES_POINTER("\xd9\x3f"));    /* fnstcw [rdi] */
	assert_false(MOVES_POINTER("\xdf\xe0"));    /* fnstsw ax */
	assert_false(MOVES_POINTER("\x9b"));        /* fwait */
	assert_false(MOVES_POINTER("\x0f\xfc\xc1")); /* paddb mm0, mm1 */
	assert_false(MOVES_POINTER("\x0f\x58\xc1")); /* addps xmm0, xmm1 */
}

static int kind_of(const char *code, unsigned size)
{
	assert_int_equal(items_decode(items, code, size, 0), 1);
	return items[0].kind;
}
#define KIND(code) kind_of(code, sizeof(code) - 1)

static void test_kinds(void **state)
{
	(void)state;
	assert_int_equal(KIND("\xe3\x10"), ITEM_JUMP_COUNT);     /* jrcxz */
	assert_int_equal(KIND("\x67\xe3\x10"), ITEM_JUMP_COUNT); /* jecxz */
	assert_int_equal(KIND("\xe2\xfe"), ITEM_JUMP_COUNT);     /* loop */
	assert_int_equal(items[0].flags_read, 0);
	assert_int_equal(KIND("\xe1\x10"), ITEM_JUMP_COUNT); /* loope */
	assert_int_equal(items[0].flags_read, 0x40);
	assert_int_equal(KIND("\xf2\xe1\x10"), ITEM_FALLBACK); /* loopne, to AMD's processors */
	assert_int_equal(KIND("\x9d"), ITEM_POP_FLAGS);        /* popfq */
	assert_int_equal(items[0].flags_killed, FLAGS_ARITHMETIC);
	assert_int_equal(KIND("\x66\x9d"), ITEM_FALLBACK);     /* popfw */
	assert_int_equal(KIND("\x0f\xae\x17"), ITEM_LOAD_MXCSR); /* ldmxcsr [rdi] */
	assert_int_equal(KIND("\xf3\x90"), ITEM_FALLBACK);     /* pause */
}

/* The last test: afterwards no thunk finds room, and instructions carry their bytes instead. */
static void test_thunks_full(void **state)
{
	struct thunk_traits traits = {.size = 0};
	struct thunk_code code = {.length = 16};
	uint64_t count = 0;

	do {
		memcpy(code.bytes, &count, sizeof(count));
		count++;
	} while (thunk_find(&code, &traits) != NULL);
	assert_true(MOVES_POINTER("\xdc\x4f\x08")); /* fmul qword [rdi + 8] */
	test_x87_pointer(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_x87_pointer),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_thunks_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
