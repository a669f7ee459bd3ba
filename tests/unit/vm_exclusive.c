/*
 * Exclusive sections (vm/exclusive.h) among threads that are vCPUs: whom they wait for, and who goes on beside them.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>
#include <cmocka.h>

#include "engine/vm/exclusive.h"

#define TURNS 20000u

static struct exclusive exclusive;

struct cpu_thread {
	struct exclusive_member member; /* first */
	pthread_t thread;
	_Atomic bool is_asked; /* to pause */
	_Atomic bool must_return;
	_Atomic bool is_apart, is_back; /* what it says of itself */
	_Atomic unsigned stops;
};

static struct cpu_thread one;

static void pause_cpu(struct exclusive_member *member)
{
	atomic_store(&((struct cpu_thread *)member)->is_asked, true);
}

static int setup(void **state)
{
	(void)state;
	exclusive_init(&exclusive);
	one = (struct cpu_thread){ .member.pause = pause_cpu };
	exclusive_add(&exclusive, &one.member);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	exclusive_destroy(&exclusive);
	return 0;
}

static void wait_for(_Atomic bool *flag)
{
	while (!atomic_load(flag))
		usleep(100);
}

/* A vCPU that goes apart, and comes back when it is asked to pause or to return. */
static void *go_apart(void *context)
{
	struct cpu_thread *cpu = context;

	exclusive_enter(&exclusive, &cpu->member);
	exclusive_go_apart(&cpu->member);
	atomic_store(&cpu->is_apart, true);
	while (!atomic_load(&cpu->must_return) && !atomic_load(&cpu->is_asked))
		usleep(100);
	exclusive_come_back(&exclusive, &cpu->member);
	atomic_store(&cpu->is_back, true);
	exclusive_leave(&exclusive, &cpu->member);
	return NULL;
}

static void start_apart(void)
{
	pthread_create(&one.thread, NULL, go_apart, &one);
	wait_for(&one.is_apart);
}

static void test_beside(void **state)
{
	(void)state;
	start_apart();
	exclusive_begin_beside(&exclusive, NULL);
	assert_false(one.is_asked);
	/* It comes back, and gets no further. */
	atomic_store(&one.must_return, true);
	usleep(20000);
	assert_false(one.is_back);
	exclusive_end(&exclusive, NULL);
	pthread_join(one.thread, NULL);
	assert_true(one.is_back);
	assert_false(one.is_asked);
}

static void test_widened(void **state)
{
	(void)state;
	start_apart();
	exclusive_begin_beside(&exclusive, NULL);
	exclusive_widen(&exclusive);
	assert_true(one.is_asked);
	usleep(20000);
	assert_false(one.is_back);
	/* There is nobody left to wait for. */
	exclusive_widen(&exclusive);
	exclusive_end(&exclusive, NULL);
	pthread_join(one.thread, NULL);
	assert_true(one.is_back);
}

static void test_all(void **state)
{
	(void)state;
	start_apart();
	exclusive_begin(&exclusive, NULL);
	assert_true(one.is_asked);
	usleep(20000);
	assert_false(one.is_back);
	exclusive_end(&exclusive, NULL);
	pthread_join(one.thread, NULL);
}

/* -- many at once -- */

static struct cpu_thread many[3];
static unsigned inside;       /* changed inside sections, and where their thread is not apart */
static unsigned beside_count; /* likewise */

/* A vCPU that goes apart again and again, and has sections of all kinds in between. */
static void *work(void *context)
{
	struct cpu_thread *cpu = context;

	exclusive_enter(&exclusive, &cpu->member);
	for (unsigned i = 0; i < TURNS; i++) {
		if (atomic_exchange(&cpu->is_asked, false)) {
			cpu->stops++;
			exclusive_leave(&exclusive, &cpu->member);
			exclusive_enter(&exclusive, &cpu->member);
		}
		exclusive_go_apart(&cpu->member);
		exclusive_come_back(&exclusive, &cpu->member);
		if (i % 8)
			continue;
		if (i % 16)
			exclusive_begin_beside(&exclusive, &cpu->member);
		else
			exclusive_begin(&exclusive, &cpu->member);
		if (i % 32 == 8)
			exclusive_widen(&exclusive);
		if (inside++)
			beside_count++;
		inside--;
		exclusive_end(&exclusive, &cpu->member);
	}
	exclusive_leave(&exclusive, &cpu->member);
	return NULL;
}

static void test_many(void **state)
{
	(void)state;
	beside_count = 0;
	for (unsigned i = 0; i < 3; i++) {
		many[i] = (struct cpu_thread){ .member.pause = pause_cpu };
		exclusive_add(&exclusive, &many[i].member);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&many[i].thread, NULL, work, &many[i]);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(many[i].thread, NULL);
	assert_int_equal(inside, 0);
	assert_int_equal(beside_count, 0);
	assert_int_equal(exclusive.pending, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_beside, setup, teardown),
		cmocka_unit_test_setup_teardown(test_widened, setup, teardown),
		cmocka_unit_test_setup_teardown(test_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
