/*
 * When programs run directly: not while they are new, then where that takes less time. What the host's other
 * programs take does not count; crossings that nothing can be compared with, and code that is not run directly,
 * do not go on and on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/run/direct/policy.h"

#define CROSSING 1000u /* ticks */

static struct policy policy;
static uint64_t now;
static unsigned measured; /* stays */

static int setup(void **state)
{
	(void)state;
	policy = (struct policy){ 0 };
	now = 1000000000;
	measured = 0;
	return 0;
}

/* One stay: whether it was direct. */
static bool stay_once(uint64_t direct, uint64_t translated, enum policy_end end)
{
	bool is_direct = policy_is_direct(&policy, now), is_held = now < policy.held_until;
	bool is_skipped = policy_skips(&policy);

	now += is_direct ? direct : translated;
	measured += !is_skipped;
	if (is_direct)
		policy_cross(&policy, now, direct, CROSSING);
	if (is_skipped)
		policy_note_skipped(&policy, end);
	else if (!is_held)
		policy_note(&policy, is_direct ? direct : translated, is_direct, CROSSING, end);
	return is_direct;
}

/* Stays that take so long directly and so long translated, each with one crossing; how many were direct. */
static unsigned stay(unsigned count, uint64_t direct, uint64_t translated)
{
	unsigned directly = 0;

	for (unsigned i = 0; i < count; i++)
		directly += stay_once(direct, translated, POLICY_EVENT);
	return directly;
}

/* No longer new. */
static int setup_old(void **state)
{
	setup(state);
	while (!policy_is_direct(&policy, now))
		stay(1, 0, 100 * CROSSING);
	return 0;
}

/* Stays that are skipped together, behind one, are as many as one by one: each eighth is measured, whether all of them come or
 * some are given back. */
static void test_skipped_together(void **state)
{
	unsigned stays = 0, seen = 0;

	(void)state;
	policy.step = 8;
	for (unsigned i = 0; i < 800; i++, stays++) {
		unsigned more, back;

		if (!policy_skips(&policy)) {
			seen++;
			continue;
		}
		more = policy_skip_more(&policy);
		back = i % 3 < more ? i % 3 : more;
		policy_give_back(&policy, back);
		stays += more - back;
	}
	assert_in_range(seen, stays / 8 - 1, stays / 8 + 1);
}

/* Direct from a thousand crossings' time on, whatever its stays are like. */
static void test_new(void **state)
{
	assert_in_range(stay(10000, 20 * CROSSING, 10 * CROSSING), 9850, 9900);
	setup(state);
	assert_int_equal(stay(30, CROSSING, 10 * CROSSING), 0);
	/* One that computes is seen by the first interrupts. */
	setup(state);
	for (unsigned i = 0; i < 2; i++)
		stay_once(1000 * CROSSING, 1000 * CROSSING, POLICY_OTHER);
	assert_true(policy_is_direct(&policy, now));
}

static void test_long_stays(void **state)
{
	(void)state;
	assert_int_equal(stay(100000, 12 * CROSSING, CROSSING), 100000);
}

/* What a crossing brings may be dearer than it is. */
static void test_dear_crossings(void **state)
{
	(void)state;
	assert_in_range(stay(100000, 6 * CROSSING, 2 * CROSSING), 0, 10000);
	setup_old(state);
	assert_in_range(stay(100000, 6 * CROSSING, 8 * CROSSING), 97000, 100000);
}

/* A window in four is short: no reason to try what the other three would take. */
static void test_uneven(void **state)
{
	unsigned directly = 0, i;

	(void)state;
	for (i = 0; i < 400; i++)
		directly += stay(POLICY_WINDOW, (i % 4 ? 20 : 4) * CROSSING, CROSSING);
	assert_int_equal(directly, 400 * POLICY_WINDOW);
}

/* One system call after the other: a hundredth is direct, in the end. */
static void test_short_stays(void **state)
{
	(void)state;
	assert_in_range(stay(3000, CROSSING, CROSSING / 10), POLICY_WINDOW, 6 * POLICY_WINDOW);
	assert_in_range(stay(1000000, CROSSING, CROSSING / 10), 0, 10000);
	/* Nearly all of them without a look at the clock. */
	assert_in_range(measured, 1000000 / 8, 1000000 / 7);
	/* The program becomes another: long stays, or such as take longer translated. */
	assert_in_range(stay(10000, CROSSING, 8 * CROSSING), 9000, 10000);
}

/* Short stays that would take longer translated: few are tried. */
static void test_lost_trials(void **state)
{
	(void)state;
	assert_in_range(stay(1000000, CROSSING, 2 * CROSSING), 985000, 1000000);
	assert_in_range(stay(1000000, CROSSING, 40 * CROSSING), 999000, 1000000);
}

/* A stay in a hundred is interrupted by another program of the host's for a long time. */
static void test_interrupted(void **state)
{
	unsigned directly = 0;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t more = i % 100 ? 0 : 1000 * CROSSING;

		directly += stay_once(CROSSING + more, CROSSING / 10 + more, POLICY_EVENT);
	}
	assert_in_range(directly, 0, 20000);
}

/* It has been translated for its system calls, and now computes: interrupts tell. */
static void test_computing(void **state)
{
	(void)state;
	stay(10000, CROSSING, CROSSING / 10);
	assert_false(policy_is_direct(&policy, now));
	/* One may have been another program's of the host. */
	stay_once(2000 * CROSSING, 2000 * CROSSING, POLICY_OTHER);
	assert_false(policy_is_direct(&policy, now));
	stay_once(2000 * CROSSING, 2000 * CROSSING, POLICY_OTHER);
	stay_once(2000 * CROSSING, 2000 * CROSSING, POLICY_OTHER);
	assert_true(policy_is_direct(&policy, now));
}

/* One stay in which there is nothing but crossings: of a second, a tenth is direct. */
static void test_crossings_alone(void **state)
{
	uint64_t directly = 0, end = now + 250000ull * CROSSING;

	(void)state;
	while (now < end) {
		if (!policy_is_direct(&policy, now)) {
			now += CROSSING;
			continue;
		}
		/* Until the kernel is entered, as it is by interrupts. */
		for (uint64_t took = 0; took < 1000 * CROSSING; took += CROSSING + CROSSING / 8) {
			now += CROSSING + CROSSING / 8;
			directly += CROSSING + CROSSING / 8;
			if (!policy_cross(&policy, now, took, CROSSING))
				break;
		}
		if (policy_is_direct(&policy, now))
			policy_note(&policy, 1000 * CROSSING, 1000, CROSSING, POLICY_OTHER);
	}
	assert_in_range(directly, 1000, 25000ull * CROSSING);
	/* With work between them they are no reason. */
	setup_old(state);
	for (unsigned i = 0; i < 100000; i++) {
		now += 4 * CROSSING;
		assert_true(policy_cross(&policy, now, (uint64_t)i * 4 * CROSSING, CROSSING));
	}
}

static void test_visits(void **state)
{
	unsigned visits = 0, translated = 0;

	(void)state;
	/* Rare ones: always. */
	for (unsigned i = 0; i < 10000; i++, now += 20 * CROSSING)
		assert_true(policy_visit(&policy, now, CROSSING));
	/* One a crossing: few, and all else translated meanwhile. */
	for (uint64_t end = now + 20000000ull * CROSSING; now < end; now += CROSSING) {
		if (!policy_is_direct(&policy, now)) {
			translated++;
			continue;
		}
		visits++;
		policy_visit(&policy, now, CROSSING);
	}
	assert_in_range(visits, 512, translated / 10);
}

/* What interrupts find at its LOCKs, and nowhere else, is translated for most of the time; what they find there now and then is
 * not. */
static void test_samples(void **state)
{
	const uint64_t tick = 1000 * CROSSING;
	unsigned directly = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++, now += tick)
		assert_true(policy_sample(&policy, now, CROSSING, i % 3));
	for (unsigned i = 0; i < 1000; i++, now += tick) {
		if (!policy_is_direct(&policy, now))
			continue;
		directly++;
		policy_sample(&policy, now, CROSSING, true);
	}
	assert_in_range(directly, 3, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_skipped_together, setup),
		cmocka_unit_test_setup(test_new, setup),
		cmocka_unit_test_setup(test_long_stays, setup_old),
		cmocka_unit_test_setup(test_uneven, setup_old),
		cmocka_unit_test_setup(test_dear_crossings, setup_old),
		cmocka_unit_test_setup(test_short_stays, setup_old),
		cmocka_unit_test_setup(test_lost_trials, setup_old),
		cmocka_unit_test_setup(test_interrupted, setup_old),
		cmocka_unit_test_setup(test_computing, setup_old),
		cmocka_unit_test_setup(test_crossings_alone, setup_old),
		cmocka_unit_test_setup(test_visits, setup_old),
		cmocka_unit_test_setup(test_samples, setup_old),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
