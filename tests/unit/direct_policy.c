/*
 * When programs run directly: long stays always do, short ones where that took less time; what the host's
 * other programs take does not count, and code that is not run directly is not visited again and again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/run/direct/policy.h"

#define SHORT 1000u /* ticks */

static struct policy policy;
static uint64_t now;

static int setup(void **state)
{
	(void)state;
	policy = (struct policy){ 0 };
	now = 1000000000;
	return 0;
}

/* Stays that take so long directly and so long translated; how many of them were direct. */
static unsigned stay(unsigned count, uint64_t direct, uint64_t translated)
{
	unsigned directly = 0;

	for (unsigned i = 0; i < count; i++) {
		bool is_direct = policy_is_direct(&policy, now);

		directly += is_direct;
		now += is_direct ? direct : translated;
		policy_note(&policy, is_direct ? direct : translated, SHORT, true);
	}
	return directly;
}

static void test_long_stays(void **state)
{
	(void)state;
	assert_int_equal(stay(100000, 2 * SHORT, SHORT), 100000);
}

/* One system call after the other: a hundredth is direct, in the end. */
static void test_short_stays(void **state)
{
	(void)state;
	assert_in_range(stay(2000, SHORT / 2, SHORT / 20), POLICY_WINDOW, 2 * POLICY_WINDOW);
	assert_in_range(stay(1000000, SHORT / 2, SHORT / 20), 0, 10000);
	/* The program becomes another: long stays, or such as take longer translated. */
	assert_in_range(stay(10000, SHORT / 2, 4 * SHORT), 9000, 10000);
}

/* Short stays that would take longer translated: few are tried. */
static void test_lost_trials(void **state)
{
	(void)state;
	assert_in_range(stay(1000000, SHORT / 2, SHORT), 985000, 1000000);
	assert_in_range(stay(1000000, SHORT / 2, 20 * SHORT), 999000, 1000000);
}

/* A stay in a hundred is interrupted by another program of the host's for a long time. */
static void test_interrupted(void **state)
{
	unsigned directly = 0;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		bool is_direct = policy_is_direct(&policy, now);
		uint64_t ticks = (is_direct ? SHORT / 2 : SHORT / 20) + (i % 100 ? 0 : 1000 * SHORT);

		directly += is_direct;
		now += ticks;
		policy_note(&policy, ticks, SHORT, true);
	}
	assert_in_range(directly, 0, 20000);
}

/* A program that starts: nearly all its stays are short, and end by faults. */
static void test_faults(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100000; i++, now += SHORT / 2) {
		assert_true(policy_is_direct(&policy, now));
		policy_note(&policy, SHORT / 2, SHORT, i % 4 == 0);
	}
}

/* It has been translated for its system calls, and now computes: interrupts tell. */
static void test_computing(void **state)
{
	(void)state;
	stay(10000, SHORT / 2, SHORT / 20);
	assert_false(policy_is_direct(&policy, now));
	/* One may have been another program's of the host. */
	policy_note(&policy, 1000 * SHORT, SHORT, false);
	assert_false(policy_is_direct(&policy, now));
	policy_note(&policy, 1000 * SHORT, SHORT, false);
	policy_note(&policy, 1000 * SHORT, SHORT, false);
	assert_true(policy_is_direct(&policy, now));
}

static void test_visits(void **state)
{
	unsigned visits = 0, translated = 0;

	(void)state;
	/* Rare ones: always. */
	for (unsigned i = 0; i < 10000; i++, now += 10 * SHORT)
		assert_true(policy_visit(&policy, now, SHORT));
	/* One a short stay: few, and all else translated meanwhile. */
	for (uint64_t end = now + 10000000ull * SHORT; now < end; now += SHORT / 2) {
		if (!policy_is_direct(&policy, now)) {
			translated++;
			continue;
		}
		visits++;
		policy_visit(&policy, now, SHORT);
	}
	assert_in_range(visits, 512, translated / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_long_stays, setup),
		cmocka_unit_test_setup(test_short_stays, setup),
		cmocka_unit_test_setup(test_lost_trials, setup),
		cmocka_unit_test_setup(test_interrupted, setup),
		cmocka_unit_test_setup(test_faults, setup),
		cmocka_unit_test_setup(test_computing, setup),
		cmocka_unit_test_setup(test_visits, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
