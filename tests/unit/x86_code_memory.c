/*
 * Memory for made code: guards on all sides, never writable and executable in one place, and, where
 * the CPU has protection keys, writable by nobody who has not asked.
 *
 * With KVIK_TEST_PROTECTION_KEYS set, a CPU without them fails.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "engine/run/interp/store.h"
#include "engine/x86/host/code_memory.h"
#include "util/guarded.h"
#include "faults.h"

#define SIZE ((size_t)64 << 10)

static void test_guards(void **state)
{
	uint8_t *memory;
	int at_random;

	(void)state;
	for (at_random = 0; at_random < 2; at_random++) {
		memory = guarded_map(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
				     at_random);
		assert_non_null(memory);
		assert_true(fault_stands_alone(memory, SIZE, GUARD_BYTES));
		guarded_unmap(memory, SIZE);
		assert_true(fault_of(fault_read, memory));
	}
	assert_null(guarded_map(SIZE_MAX & -4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, false));
}

static void create(struct code_memory *memory)
{
	assert_int_equal(code_memory_create(memory, "test", SIZE), 0);
}

static void test_decoded_code(void **state)
{
	struct interp_store *store;
	struct code_index index;

	(void)state;
	code_index_init(&index);
	assert_int_equal(interp_store_create(&index, 1 << 20, 2 << 20, &store), 0);
	assert_true(fault_stands_alone(store->arena, 2 << 20, GUARD_BYTES));
	interp_store_destroy(store);
	code_index_destroy(&index);
}

static void test_sides(void **state)
{
	struct code_memory memory, other;
	uint32_t rights;

	(void)state;
	create(&memory);
	create(&other);
	rights = code_memory_open();
	assert_true(fault_stands_alone(memory.executable, SIZE, GUARD_BYTES));
	/* Handlers run without the right, and longjmp leaves one. */
	code_memory_close(rights);
	code_memory_open();
	assert_int_equal(fault_of(fault_write, memory.writable), 0);
	assert_int_equal(fault_of(fault_execute, memory.executable), 0);
	assert_int_equal(fault_of(fault_write, memory.executable), SEGV_ACCERR);
	code_memory_open();
	assert_true(fault_of(fault_execute, memory.writable));
	code_memory_close(rights);
	/* Nothing of one tells where the other is. */
	assert_true(labs(memory.writable - memory.executable) > (long)(SIZE + 2 * GUARD_BYTES));
	assert_true(memory.writable - memory.executable != other.writable - other.executable);
	code_memory_destroy(&memory);
	code_memory_destroy(&other);
}

static pthread_barrier_t is_open;

static void *write_in_thread(void *address)
{
	pthread_barrier_wait(&is_open);
	return (void *)(intptr_t)fault_of(fault_write, address);
}

static uint8_t *handled;
static volatile int handler_saw;

static void handle(int number)
{
	(void)number;
	handler_saw = fault_of(fault_write, handled);
}

static void test_key(void **state)
{
	struct code_memory memory;
	uint32_t outer, inner;
	pthread_t thread;
	void *result;

	(void)state;
	create(&memory);
	if (code_memory_key < 0) {
		code_memory_destroy(&memory);
		assert_null(getenv("KVIK_TEST_PROTECTION_KEYS"));
		printf("no protection keys here\n");
		skip();
	}
	assert_int_equal(fault_of(fault_write, memory.writable), SEGV_PKUERR);
	assert_int_equal(fault_of(fault_read, memory.writable), SEGV_PKUERR);
	/* Threads are born with their maker's rights. */
	pthread_barrier_init(&is_open, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, write_in_thread, memory.writable), 0);
	outer = code_memory_open();
	assert_int_equal(fault_of(fault_write, memory.writable), 0);
	inner = code_memory_open();
	code_memory_close(inner);
	assert_int_equal(fault_of(fault_write, memory.writable + 1), 0);

	/* Neither others nor this one's handlers share the right. */
	pthread_barrier_wait(&is_open);
	pthread_join(thread, &result);
	assert_int_equal((intptr_t)result, SEGV_PKUERR);
	handled = memory.writable;
	signal(SIGUSR1, handle);
	raise(SIGUSR1);
	assert_int_equal(handler_saw, SEGV_PKUERR);
	assert_int_equal(fault_of(fault_write, memory.writable), 0);

	code_memory_close(outer);
	assert_int_equal(fault_of(fault_write, memory.writable), SEGV_PKUERR);
	/* What was written is code. */
	assert_int_equal(fault_of(fault_execute, memory.executable), 0);
	code_memory_destroy(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guards),
		cmocka_unit_test(test_decoded_code),
		cmocka_unit_test(test_sides),
		cmocka_unit_test(test_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
