/*
 * The record of what stubs have mapped: what is lost by page, by address space and by guest-physical page,
 * and that whatever is lost is remembered until it is unmapped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "engine/run/direct/shadow.h"
#include "util/zeroes.h"

#define GVA 0x7f0000000000ull
#define GPA 0x12345000ull
#define ROOT(number) ((number) * 0x1000ull)

static struct shadow *shadow;

static int setup(void **state)
{
	(void)state;
	shadow = zeroes_map(sizeof(*shadow));
	return shadow ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	zeroes_unmap(shadow, sizeof(*shadow));
	return 0;
}

static void test_pages(void **state)
{
	struct shadow_space *space = shadow_space_take(shadow, ROOT(5), 5);

	(void)state;
	assert_ptr_equal(shadow_space_find(shadow, ROOT(5)), space);
	assert_null(shadow_space_find(shadow, ROOT(6)));
	assert_null(shadow_find(space, GVA));
	assert_true(shadow_set(shadow, space, GVA + 7, GPA + 9, 0, SHADOW_WRITE));
	assert_int_equal(shadow_find(space, GVA + 4095)->gpa, GPA);
	assert_null(shadow_find(space, GVA + 4096));
	assert_true(shadow_may_write(shadow, GPA));
	assert_false(shadow_may_write(shadow, GPA + 0x1000));
	/* Exactly, where counts are shared. */
	assert_true(shadow_writes(shadow, GPA + 9));
	assert_true(shadow_may_write(shadow, GPA + SHADOW_WRITERS * 0x1000ull));
	assert_false(shadow_writes(shadow, GPA + SHADOW_WRITERS * 0x1000ull));
	/* A page that is there changes. */
	assert_true(shadow_set(shadow, space, GVA, GPA + 0x1000, 0, SHADOW_EXECUTE));
	assert_int_equal(space->count, 1);
	assert_int_equal(shadow_find(space, GVA)->rights, SHADOW_EXECUTE);
	assert_false(shadow_may_write(shadow, GPA));
	assert_false(shadow_may_write(shadow, GPA + 0x1000));
	shadow_lose_page(shadow, space, GVA + 1);
	assert_null(shadow_find(space, GVA));
	assert_int_equal(space->loss_count, 1);
	assert_int_equal(space->losses[0], GVA);
	assert_false(space->is_lost);
	/* What is not there is no loss. */
	shadow_lose_page(shadow, space, GVA);
	assert_int_equal(space->loss_count, 1);
}

static void test_writes(void **state)
{
	struct shadow_space *a = shadow_space_take(shadow, ROOT(1), 1);
	struct shadow_space *b = shadow_space_take(shadow, ROOT(2), 2);

	(void)state;
	assert_ptr_not_equal(a, b);
	assert_true(shadow_set(shadow, a, GVA, GPA, 0, SHADOW_WRITE));
	assert_true(shadow_set(shadow, a, GVA + 0x1000, GPA, 0, 0));
	assert_true(shadow_set(shadow, b, GVA + 0x5000, GPA, 0, SHADOW_WRITE));
	assert_true(shadow_set(shadow, b, GVA + 0x6000, GPA + 0x1000, 0, SHADOW_WRITE));
	shadow_lose_writes(shadow, GPA + 17);
	assert_null(shadow_find(a, GVA));
	assert_non_null(shadow_find(a, GVA + 0x1000));
	assert_null(shadow_find(b, GVA + 0x5000));
	assert_non_null(shadow_find(b, GVA + 0x6000));
	assert_int_equal(a->loss_count, 1);
	assert_int_equal(b->loss_count, 1);
	assert_int_equal(b->losses[0], GVA + 0x5000);
}

/* What may be executed goes, in all spaces, and nothing else of the range. */
static void test_code(void **state)
{
	struct shadow_space *a = shadow_space_take(shadow, ROOT(1), 1);
	struct shadow_space *b = shadow_space_take(shadow, ROOT(2), 2);

	(void)state;
	assert_true(shadow_set(shadow, a, GVA, GPA, 0, SHADOW_EXECUTE));
	assert_true(shadow_set(shadow, b, GVA + 0x5000, GPA, 0, SHADOW_EXECUTE));
	assert_true(shadow_set(shadow, a, GVA + 0x1000, GPA, 0, 0));
	assert_true(shadow_set(shadow, b, GVA + 0x6000, GPA + 0x1000, 0, SHADOW_WRITE));
	assert_true(shadow_set(shadow, b, GVA + 0x7000, GPA + 0x2000, 0, SHADOW_EXECUTE));
	assert_false(shadow_lose_code(shadow, GPA + 0x1000, GPA + 0x1fff));
	assert_true(shadow_lose_code(shadow, GPA + 64, GPA + 127));
	assert_null(shadow_find(a, GVA));
	assert_null(shadow_find(b, GVA + 0x5000));
	assert_non_null(shadow_find(a, GVA + 0x1000));
	assert_non_null(shadow_find(b, GVA + 0x7000));
	assert_true(shadow_lose_code(shadow, GPA, GPA + 0x2000));
	assert_null(shadow_find(b, GVA + 0x7000));
	assert_non_null(shadow_find(b, GVA + 0x6000));
	assert_true(shadow_set(shadow, a, GVA, GPA, 0, SHADOW_EXECUTE));
	assert_true(shadow_lose_code(shadow, 0, UINT64_MAX));
	assert_null(shadow_find(a, GVA));
	/* More than can be remembered: none of it stays. */
	a = shadow_space_take(shadow, ROOT(3), 3);
	for (unsigned i = 0; i < SHADOW_LOSSES + 9; i++)
		assert_true(shadow_set(shadow, a, GVA + i * 0x1000ull, GPA, 0, SHADOW_EXECUTE));
	assert_true(shadow_lose_code(shadow, GPA, GPA + 63));
	assert_int_equal(a->count, 0);
	assert_true(a->is_lost);
}

/* More losses than a space remembers by name put it in doubt; what it cannot remember to unmap stays. */
static void test_many_losses(void **state)
{
	struct shadow_space *space = shadow_space_take(shadow, ROOT(0), 0);
	unsigned left = 0;

	(void)state;
	for (unsigned i = 0; i < SHADOW_LOSSES + 2; i++)
		assert_true(shadow_set(shadow, space, GVA + i * 0x1000ull, GPA, 0, SHADOW_WRITE));
	shadow_lose_writes(shadow, GPA);
	assert_true(space->is_in_doubt);
	assert_false(space->is_lost);
	assert_int_equal(space->loss_count, SHADOW_LOSSES);
	for (unsigned i = 0; i < SHADOW_LOSSES + 2; i++)
		left += shadow_find(space, GVA + i * 0x1000ull) != NULL;
	assert_int_equal(left, 2);
	assert_int_equal(space->count, 2);
	assert_true(shadow_may_write(shadow, GPA));
	assert_true(shadow_writes(shadow, GPA));
	/* It can lose everything, and be filled anew. */
	shadow_lose_space(shadow, space);
	assert_false(shadow_may_write(shadow, GPA));
	assert_false(shadow_writes(shadow, GPA));
	assert_true(space->is_lost);
	assert_false(space->is_in_doubt);
	assert_int_equal(space->loss_count, 0);
	assert_int_equal(space->count, 0);
	assert_true(shadow_set(shadow, space, GVA, GPA, 0, 0));
	shadow_lose_writes(shadow, GPA);
	assert_non_null(shadow_find(space, GVA));
}

/* A PCID's loss concerns the spaces that were used with it last. */
static void test_doubt(void **state)
{
	struct shadow_space *a = shadow_space_take(shadow, ROOT(1), 1);
	struct shadow_space *b = shadow_space_take(shadow, ROOT(2), 2);

	(void)state;
	assert_true(shadow_set(shadow, a, GVA, GPA, 0, 0));
	shadow_doubt_pcid(shadow, 1);
	assert_true(a->is_in_doubt);
	assert_false(b->is_in_doubt);
	assert_non_null(shadow_find(a, GVA));
	a->is_in_doubt = false;
	b->pcid = 1;
	shadow_doubt_pcid(shadow, 2);
	assert_false(a->is_in_doubt || b->is_in_doubt);
	shadow_doubt_all(shadow, false);
	assert_true(a->is_in_doubt && b->is_in_doubt);
	assert_false(a->doubts_memory || b->doubts_memory);
	shadow_doubt_all(shadow, true);
	assert_true(a->is_in_doubt && b->is_in_doubt);
	assert_true(a->doubts_memory && b->doubts_memory);
	/* A page that is forgotten leaves the rest, and no loss. */
	assert_true(shadow_set(shadow, a, GVA + 0x1000, GPA, 1, SHADOW_WRITE));
	shadow_forget_page(shadow, a, shadow_find(a, GVA));
	assert_null(shadow_find(a, GVA));
	assert_int_equal(shadow_find(a, GVA + 0x1000)->offset, 1);
	assert_int_equal(a->loss_count, 0);
}

/* INVLPG of any address in a large page loses all of it. */
static void test_large(void **state)
{
	struct shadow_space *space = shadow_space_take(shadow, ROOT(0), 0);

	(void)state;
	assert_true(shadow_set(shadow, space, GVA + 0x3000, GPA, 0, SHADOW_LARGE));
	assert_true(shadow_set(shadow, space, GVA + 0x9000, GPA + 0x6000, 0, SHADOW_LARGE | SHADOW_WRITE));
	assert_true(shadow_set(shadow, space, GVA + 0x200000, GPA, 0, 0));
	shadow_lose_page(shadow, space, GVA + 0x1ff000);
	assert_null(shadow_find(space, GVA + 0x3000));
	assert_null(shadow_find(space, GVA + 0x9000));
	assert_non_null(shadow_find(space, GVA + 0x200000));
	assert_int_equal(space->loss_count, 2);
}

/* A large page in one record: INVLPG of any address loses it, a right to write that one page of it loses leaves a
 * hole, and it takes the place of what was there. */
static void test_whole(void **state)
{
	const uint64_t gva = GVA + 5 * SHADOW_WHOLE_BYTES, gpa = 7 * SHADOW_WHOLE_BYTES;
	const uint32_t rights = SHADOW_WHOLE | SHADOW_LARGE | SHADOW_WRITE;
	struct shadow_space *space = shadow_space_take(shadow, ROOT(0), 0);

	(void)state;
	assert_true(shadow_set(shadow, space, gva + 0x3000, GPA, 0, SHADOW_EXECUTE));
	assert_true(shadow_set(shadow, space, gva + SHADOW_WHOLE_BYTES, GPA, 0, 0));
	assert_true(shadow_set(shadow, space, gva + 0x5123, gpa + 0x5123, 9, rights));
	assert_int_equal(space->count, 2);
	assert_null(shadow_find_small(space, gva + 0x3000));
	assert_int_equal(shadow_find(space, gva + SHADOW_WHOLE_BYTES - 1)->gpa, gpa);
	assert_int_equal(shadow_page_bytes(shadow_find(space, gva)), SHADOW_WHOLE_BYTES);
	assert_null(shadow_find(space, gva - 1));
	/* One of 4 KiB over it. */
	assert_true(shadow_set(shadow, space, gva + 0x4000, gpa + 0x4000, 0, SHADOW_EXECUTE | SHADOW_LARGE));
	assert_int_equal(shadow_find(space, gva + 0x4abc)->rights, SHADOW_EXECUTE | SHADOW_LARGE);
	assert_true(shadow_lose_code(shadow, gpa + 0x4000, gpa + 0x4fff));
	assert_int_equal(shadow_find(space, gva + 0x4abc)->rights, rights);
	space->loss_count = 0;

	shadow_lose_writes(shadow, gpa + 0x9040);
	assert_int_equal(space->loss_count, 1);
	assert_int_equal(space->losses[0], gva + 0x9000);
	assert_non_null(shadow_find(space, gva + 0x9000));
	shadow_lose_writes(shadow, gpa + SHADOW_WHOLE_BYTES);
	assert_int_equal(space->loss_count, 1);

	shadow_lose_page(shadow, space, gva + 0x1ff000);
	assert_null(shadow_find(space, gva));
	assert_non_null(shadow_find(space, gva + SHADOW_WHOLE_BYTES));
	assert_int_equal(space->whole_loss_count, 1);
	assert_int_equal(space->whole_losses[0], gva);
	assert_int_equal(space->whole_count, 0);

	/* What cannot be remembered stays, in doubt. */
	for (unsigned i = 0; i <= SHADOW_WHOLE_LOSSES; i++)
		assert_true(shadow_set(shadow, space, gva + i * SHADOW_WHOLE_BYTES, gpa, 0, rights));
	for (unsigned i = 0; i <= SHADOW_WHOLE_LOSSES; i++)
		shadow_lose_page(shadow, space, gva + i * SHADOW_WHOLE_BYTES);
	assert_true(space->is_in_doubt);
	assert_int_equal(space->whole_loss_count, SHADOW_WHOLE_LOSSES);
	assert_int_equal(space->whole_count, 2);
	shadow_lose_space(shadow, space);
	assert_int_equal(space->count, 0);
	assert_int_equal(space->whole_count, 0);
	assert_null(shadow_find(space, gva));
}

/* Every page of a space is asked to give way before one is asked again. */
static void test_victims(void **state)
{
	enum { PAGES = 40 };
	struct shadow_space *space = shadow_space_take(shadow, ROOT(0), 0);
	bool was[PAGES] = { false };

	(void)state;
	assert_null(shadow_victim(space));
	for (unsigned i = 0; i < PAGES; i++)
		assert_true(shadow_set(shadow, space, GVA + i * 0x1000ull, GPA, 0, 0));
	shadow_forget_page(shadow, space, shadow_find(space, GVA + 0x3000));
	for (unsigned i = 0; i < PAGES - 1; i++) {
		uint64_t index = (shadow_victim(space)->gva - GVA) >> 12;

		assert_true(index < PAGES && index != 3 && !was[index]);
		was[index] = true;
	}
	assert_non_null(shadow_victim(space));
}

/* Random sets and losses against a plain table. */
static void test_random(void **state)
{
	enum { PAGES = 700 };
	static uint64_t gpas[PAGES];
	static uint32_t rights[PAGES];
	struct shadow_space *space = shadow_space_take(shadow, ROOT(9), 9);
	uint64_t seed = 88172645463325252ull;

	(void)state;
	for (unsigned turn = 0; turn < 200000; turn++) {
		unsigned i;

		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		i = (unsigned)(seed >> 8) % PAGES;
		switch (seed >> 60) {
		case 0:
			shadow_lose_writes(shadow, gpas[i]);
			for (unsigned k = 0; k < PAGES; k++)
				if (k != i && gpas[k] == gpas[i] && (rights[k] & SHADOW_WRITE))
					gpas[k] = 0;
			if (rights[i] & SHADOW_WRITE)
				gpas[i] = 0;
			break;
		case 1:
		case 2:
			shadow_lose_page(shadow, space, GVA + i * 0x1000ull);
			gpas[i] = 0;
			break;
		default:
			gpas[i] = GPA + (seed >> 20 & 63) * 0x1000;
			rights[i] = (uint32_t)(seed >> 30) & (SHADOW_WRITE | SHADOW_EXECUTE);
			assert_true(shadow_set(shadow, space, GVA + i * 0x1000ull, gpas[i], 0, rights[i]));
			break;
		}
		if (seed >> 52 & 1 || space->is_in_doubt) {
			/* What stays in doubt is not known to the table. */
			if (space->is_in_doubt) {
				shadow_lose_space(shadow, space);
				memset(gpas, 0, sizeof(gpas));
			}
			space->loss_count = 0;
		}
		i = (unsigned)(seed >> 33) % PAGES;
		if (gpas[i]) {
			assert_non_null(shadow_find(space, GVA + i * 0x1000ull));
			assert_int_equal(shadow_find(space, GVA + i * 0x1000ull)->gpa, gpas[i]);
			assert_int_equal(shadow_find(space, GVA + i * 0x1000ull)->rights, rights[i]);
		} else {
			assert_null(shadow_find(space, GVA + i * 0x1000ull));
		}
	}
}

/* The oldest space gives way, with all that it has. */
static void test_spaces(void **state)
{
	struct shadow_space *space;

	(void)state;
	for (uint16_t i = 0; i < SHADOW_SPACES; i++) {
		space = shadow_space_take(shadow, ROOT(i), i);
		space->last_used = i + 1u;
		assert_true(shadow_set(shadow, space, GVA, GPA, 0, SHADOW_WRITE));
	}
	shadow_space_find(shadow, ROOT(0))->last_used = 100;
	space = shadow_space_take(shadow, ROOT(77), 77);
	assert_null(shadow_space_find(shadow, ROOT(1)));
	assert_true(space->is_lost);
	assert_null(shadow_find(space, GVA));
	assert_non_null(shadow_find(shadow_space_find(shadow, ROOT(0)), GVA));
}

/* More pages than a space can hold. */
static void test_full(void **state)
{
	struct shadow_space *space = shadow_space_take(shadow, ROOT(0), 0);

	(void)state;
	for (unsigned i = 0; i < SHADOW_PAGES; i++)
		assert_true(shadow_set(shadow, space, GVA + i * 0x1000ull, GPA + i * 0x1000ull, 0, 0));
	assert_false(shadow_set(shadow, space, GVA + SHADOW_PAGES * 0x1000ull, GPA, 0, 0));
	shadow_lose_page(shadow, space, GVA);
	assert_true(shadow_set(shadow, space, GVA + SHADOW_PAGES * 0x1000ull, GPA, 0, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_losses, setup, teardown),
	cmocka_unit_test_setup_teardown(test_code, setup, teardown),
		cmocka_unit_test_setup_teardown(test_doubt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large, setup, teardown),
		cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(test_victims, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spaces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
