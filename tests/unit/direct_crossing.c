/*
 * What a crossing costs is what the shortest of a stub's turns took, whatever guest code and the host's other
 * programs add to the others, and within bounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/run/direct/crossing.h"

#define TSC_KHZ 2000000u
#define US	(TSC_KHZ / 1000)

static struct crossing crossing;

static int setup(void **state)
{
	(void)state;
	crossing_init(&crossing, TSC_KHZ);
	return 0;
}

/* Turns of which every 32nd has next to no guest code in it. */
static void take_turns(unsigned count, uint64_t shortest)
{
	for (unsigned i = 0; i < count; i++)
		crossing_note(&crossing, i % 32 == 31 ? shortest : shortest * 7 + i);
}

static void test_presumed(void **state)
{
	(void)state;
	assert_int_equal(crossing.ticks, 4 * US);
	take_turns(CROSSING_TURNS - 1, 8 * US);
	assert_int_equal(crossing.ticks, 4 * US);
}

static void test_measured(void **state)
{
	(void)state;
	take_turns(30 * CROSSING_TURNS, 8 * US);
	assert_in_range(crossing.ticks, 8 * US - 10, 8 * US);
	take_turns(30 * CROSSING_TURNS, 3 * US);
	assert_in_range(crossing.ticks, 3 * US, 3 * US + 10);
}

/* Long stays alone do not say what their crossings took. */
static void test_bounds(void **state)
{
	(void)state;
	take_turns(60 * CROSSING_TURNS, 1000 * US);
	assert_in_range(crossing.ticks, 16 * US - 10, 16 * US);
	take_turns(60 * CROSSING_TURNS, 1);
	assert_in_range(crossing.ticks, 2 * US, 2 * US + 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_presumed, setup),
		cmocka_unit_test_setup(test_measured, setup),
		cmocka_unit_test_setup(test_bounds, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
