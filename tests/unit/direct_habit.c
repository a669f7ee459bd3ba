/*
 * Which tier the lives of a program begin in: the one in which they took less, and the other one seldom; a trial that is
 * hopeless ends early; a life that has compared leaves its answer to the next.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/run/direct/habit.h"

#define CROSSING 1000u /* ticks */

static struct habit habit;
static uint64_t direct, translated; /* ticks of all lives */

static int setup(void **state)
{
	(void)state;
	habit = (struct habit){ 0 };
	direct = translated = 0;
	return 0;
}

/* One life of so many events, each of which takes so long; whether all of it was direct. */
static bool live(unsigned events, uint64_t directly, uint64_t otherwise)
{
	struct policy policy = { 0 };
	enum habit_life life = habit_begin(&habit, true, &policy);
	uint64_t times[2] = { 0 };

	for (unsigned i = 0; i < events; i++) {
		bool is_direct = policy_is_direct(&policy, 1);

		times[is_direct] += is_direct ? directly : otherwise;
		policy_note(&policy, is_direct ? directly : otherwise, is_direct, CROSSING, POLICY_EVENT);
	}
	habit_end(&habit, life, &policy, times[1], times[0]);
	direct += times[1];
	translated += times[0];
	return !times[0];
}

static unsigned live_often(unsigned lives, unsigned events, uint64_t directly, uint64_t otherwise)
{
	unsigned count = 0;

	for (unsigned i = 0; i < lives; i++)
		count += live(events, directly, otherwise);
	return count;
}

static void test_translated(void **state)
{
	(void)state;
	assert_in_range(live_often(1000, 200, 6 * CROSSING, 4 * CROSSING), 3, 12);
	/* It becomes another program. */
	assert_in_range(live_often(1000, 200, 3 * CROSSING, 9 * CROSSING), 700, 999);
}

static void test_direct(void **state)
{
	(void)state;
	assert_in_range(live_often(1000, 200, 3 * CROSSING, 4 * CROSSING), 970, 992);
}

/* Now and then somebody else has had the processor for most of a life. */
static void test_disturbed(void **state)
{
	unsigned count = 0;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		count += live_often(49, 200, 3 * CROSSING, 5 * CROSSING);
		count += live(200, 60 * CROSSING, 100 * CROSSING);
	}
	assert_in_range(count, 950, 999);
}

/* Lives of 600 crossings directly, ten times that translated: trials cost what a few of them take, not all that they could. */
static void test_hopeless(void **state)
{
	(void)state;
	assert_in_range(live_often(100, 200, 3 * CROSSING, 30 * CROSSING), 90, 99);
	assert_in_range(translated, CROSSING, 10 * 3600 * CROSSING);
}

/* CPUs that begin lives before others have ended: one of them asks, and the answer is for all. */
static void test_side_by_side(void **state)
{
	struct policy policies[4];
	enum habit_life lives[4];
	unsigned trials = 0;

	(void)state;
	assert_int_equal(live_often(2, 200, 3 * CROSSING, 30 * CROSSING), 2);
	for (unsigned i = 0; i < 4; i++) {
		policies[i] = (struct policy){ 0 };
		lives[i] = habit_begin(&habit, true, &policies[i]);
		trials += lives[i] != HABIT_DIRECT;
	}
	assert_int_equal(trials, 1);
	/* One whose end nobody hears of is not waited for. */
	for (unsigned i = 0; i < 40; i++) {
		struct policy policy = { 0 };

		trials += habit_begin(&habit, true, &policy) != HABIT_DIRECT;
	}
	assert_in_range(trials, 2, 4);
	assert_in_range(live_often(100, 200, 3 * CROSSING, 30 * CROSSING), 90, 99);
}

/* Too little to tell by. */
static void test_few_events(void **state)
{
	(void)state;
	assert_int_equal(live_often(100, 8, 300 * CROSSING, 100 * CROSSING), 100);
	assert_int_equal(habit.direct, 0);
}

/* System calls one after the other: the first life finds it out, and the others begin with that. */
static void test_settled(void **state)
{
	(void)state;
	live(20000, CROSSING, CROSSING / 10);
	assert_in_range(direct, 100 * CROSSING, 2000 * CROSSING);
	direct = 0;
	assert_int_equal(live_often(100, 20000, CROSSING, CROSSING / 10), 0);
	assert_int_equal(direct, 0);
	/* Where each life begins with what is dear, too. */
	setup(NULL);
	live(20000, CROSSING, CROSSING / 10);
	direct = 0;
	for (unsigned i = 0; i < 100; i++) {
		struct policy policy = { 0 };
		enum habit_life life = habit_begin(&habit, true, &policy);

		for (unsigned j = 0; j < 4000; j++) {
			assert_false(policy_is_direct(&policy, 1));
			policy_note(&policy, j < 300 ? 8 * CROSSING : CROSSING / 10, 0, CROSSING, POLICY_EVENT);
		}
		habit_end(&habit, life, &policy, 0, 1);
	}
	/* One that computes is seen as early as any other. */
	assert_true(live_often(20, 1000, 2 * CROSSING, 60 * CROSSING) >= 15);
}

/* Not worth a stub: as policy.h has it. */
static void test_short(void **state)
{
	struct policy policy = { 0 };

	(void)state;
	assert_int_equal(habit_begin(&habit, false, &policy), HABIT_FREE);
	assert_int_equal(policy.mode, POLICY_NEW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_translated, setup),
		cmocka_unit_test_setup(test_direct, setup),
		cmocka_unit_test_setup(test_disturbed, setup),
		cmocka_unit_test_setup(test_hopeless, setup),
		cmocka_unit_test_setup(test_side_by_side, setup),
		cmocka_unit_test_setup(test_few_events, setup),
		cmocka_unit_test_setup(test_settled, setup),
		cmocka_unit_test_setup(test_short, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
