/*
 * What CPUs of a VM tell one another of programs and address spaces: it is there for all, one takes another's place, and
 * who cannot look goes on without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>

#include "engine/run/direct/experience.h"

#define HASH   0x12345601u
#define ROUNDS 20000

static struct experiences experiences;

static int setup(void **state)
{
	(void)state;
	experiences = (struct experiences){ 0 };
	return 0;
}

static void test_programs(void **state)
{
	/* The same place. */
	const uint64_t other = HASH + ((uint64_t)EXPERIENCES << 8);
	struct experience *experience;

	(void)state;
	assert_null(experience_get(&experiences, 0, true));
	assert_null(experience_get(&experiences, HASH, false));
	experience = experience_get(&experiences, HASH, true);
	assert_non_null(experience);
	for (unsigned i = 0; i < 10; i++)
		experience_lived(experience, true);
	assert_true(experience_lives_long(experience));
	experience_put(&experiences);
	experience = experience_get(&experiences, HASH, false);
	assert_non_null(experience);
	/* So many are not forgotten by one, and not remembered for ever. */
	experience_lived(experience, false);
	assert_true(experience_lives_long(experience));
	for (unsigned i = 0; i < 10; i++)
		experience_lived(experience, false);
	assert_false(experience_lives_long(experience));
	experience_put(&experiences);
	assert_null(experience_get(&experiences, other, false));
	experience = experience_get(&experiences, other, true);
	assert_int_equal(experience->score, 0);
	experience_put(&experiences);
	assert_null(experience_get(&experiences, HASH, false));
}

static void test_held(void **state)
{
	struct known_space space = { .owner = 0x1000, .root = 0x2000, .policy.mode = POLICY_DIRECT };

	(void)state;
	assert_non_null(experience_get(&experiences, HASH, true));
	assert_null(experience_get(&experiences, HASH, true));
	experience_tell_space(&experiences, &space);
	assert_false(experience_ask_space(&experiences, &space));
	experience_put(&experiences);
	assert_false(experience_ask_space(&experiences, &space));
	assert_non_null(experience_get(&experiences, HASH, false));
	experience_put(&experiences);
}

static void test_spaces(void **state)
{
	const struct known_space told = { .owner = 0x1000, .root = 0x2000, .hash = HASH, .policy = { .mode = POLICY_DIRECT, .direct = 7 } };
	struct known_space asked = { .owner = 0x1000, .root = 0x3000 };

	(void)state;
	experience_tell_space(&experiences, &told);
	/* Another one's tables in the same memory. */
	assert_false(experience_ask_space(&experiences, &asked));
	asked.root = told.root;
	assert_true(experience_ask_space(&experiences, &asked));
	assert_int_equal(asked.hash, HASH);
	assert_int_equal(asked.policy.mode, POLICY_DIRECT);
	assert_int_equal(asked.policy.direct, 7);
	/* One that is new takes nobody's place but that of what was there before. */
	asked = (struct known_space){ .owner = told.owner + ((uint64_t)KNOWN_SPACES << 28), .root = 1 };
	experience_tell_space(&experiences, &asked);
	asked = told;
	assert_true(experience_ask_space(&experiences, &asked));
	asked.policy.mode = POLICY_NEW;
	experience_tell_space(&experiences, &asked);
	assert_false(experience_ask_space(&experiences, &asked));
}

static void *count(void *unused)
{
	uintptr_t counted = 0;

	(void)unused;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct experience *experience = experience_get(&experiences, HASH, true);

		if (!experience)
			continue;
		experience->habit.direct++;
		counted++;
		experience_put(&experiences);
	}
	return (void *)counted;
}

static void test_threads(void **state)
{
	pthread_t threads[3];
	uintptr_t sum = 0;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		void *counted;

		pthread_join(threads[i], &counted);
		sum += (uintptr_t)counted;
	}
	assert_true(sum > 0);
	assert_int_equal(experiences.all[(HASH >> 8) % EXPERIENCES].habit.direct, sum);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_programs, setup),
		cmocka_unit_test_setup(test_held, setup),
		cmocka_unit_test_setup(test_spaces, setup),
		cmocka_unit_test_setup(test_threads, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
