/*
 * Copies of code pages with traps: what they hold, that any change of the page shows, that the oldest gives way, and
 * that nobody can map them to write.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>

#include "engine/run/direct/copies.h"

static struct copies copies;
static uint8_t page[4096];

static int setup(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(page); i++)
		page[i] = (uint8_t)(i * 7);
	return copies_create(&copies);
}

static int teardown(void **state)
{
	(void)state;
	copies_destroy(&copies);
	return 0;
}

static unsigned put(uint64_t gpa, const struct scan_traps *traps)
{
	unsigned index = copies_place(&copies);

	assert_memory_equal(copies_put(&copies, index, gpa, page), page, sizeof(page));
	copies_trap(&copies, index, traps, 0);
	return index;
}

static void test_traps(void **state)
{
	const struct scan_traps traps = { .count = 3, .at = { 4095, 0, 1000 } };
	const uint8_t *copy;
	unsigned index;

	(void)state;
	page[0] = page[1000] = page[4095] = 0x0f;
	index = put(0x5123, &traps);
	assert_int_equal(copies_find(&copies, 0x5fff), index);
	assert_int_equal(copies_find(&copies, 0x6000), COPIES_NONE);
	copy = copies.base + index * 4096;
	for (unsigned i = 0; i < sizeof(page); i++)
		assert_int_equal(copy[i], i == 0 || i == 1000 || i == 4095 ? 0xf4 : page[i]);
}

static void test_same(void **state)
{
	const struct scan_traps traps = { .count = 2, .at = { 17, 3000 } };
	unsigned index;

	(void)state;
	page[17] = page[3000] = 0x0f;
	index = put(0x5000, &traps);
	assert_true(copies_is_same(&copies, index, 0x5000, page, 0));
	assert_true(copies_is_same(&copies, index, 0x5abc, page, 0));
	assert_false(copies_is_same(&copies, index, 0x6000, page, 0));
	assert_false(copies_is_same(&copies, index, 0x5000, page, ALLOW_RDTSC));
	for (unsigned i = 0; i < sizeof(page); i++) {
		uint8_t before = page[i];

		page[i] ^= 0x20;
		assert_false(copies_is_same(&copies, index, 0x5000, page, 0));
		page[i] = before ^ 0x0f ^ 0xf4;
		assert_false(copies_is_same(&copies, index, 0x5000, page, 0));
		page[i] = before;
	}
	/* A trap that the guest wrote itself. */
	page[17] = 0xf4;
	assert_false(copies_is_same(&copies, index, 0x5000, page, 0));
	page[17] = 0x0f;
	assert_true(copies_is_same(&copies, index, 0x5000, page, 0));
	copies_forget(&copies, index);
	assert_false(copies_is_same(&copies, index, 0x5000, page, 0));
	assert_int_equal(copies_find(&copies, 0x5000), COPIES_NONE);
}

static void test_places(void **state)
{
	const struct scan_traps none = { .count = 0 };

	(void)state;
	for (unsigned i = 0; i < COPIES; i++)
		assert_int_equal(put(0x10000 + i * 4096ull, &none), i);
	copies_use(&copies, 0);
	assert_int_equal(copies_place(&copies), 1);
	copies_forget(&copies, 9);
	assert_int_equal(copies_place(&copies), 9);
}

static void test_file(void **state)
{
	void *view;

	(void)state;
	put(0x5000, &(struct scan_traps){ .count = 0 });
	view = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, copies.fd, 0);
	assert_ptr_not_equal(view, MAP_FAILED);
	assert_memory_equal(view, page, sizeof(page));
	assert_int_equal(mprotect(view, 4096, PROT_READ | PROT_WRITE), -1);
	munmap(view, 4096);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, copies.fd, 0), MAP_FAILED);
	assert_int_equal(errno, EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_traps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_same, setup, teardown),
		cmocka_unit_test_setup_teardown(test_places, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
