/*
 * Promise: each message comes once, in order, between processes that look and between ones that sleep; who sleeps is woken; what
 * a hostile side says of the ring is seen; and one that has gone is noticed.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "share/exchange.h"

#define ROUNDS 20000

static uint8_t *memory;
static int sockets[2];
static struct exchange_end ours, theirs;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
	memory = mmap(NULL, EXCHANGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(memory != MAP_FAILED);
	exchange_open(&ours, memory, false, sockets[0]);
	exchange_open(&theirs, memory, true, sockets[1]);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	munmap(memory, EXCHANGE_BYTES);
	close(sockets[0]);
	close(sockets[1]);
	return 0;
}

static bool is_readable(int socket)
{
	struct pollfd ready = {socket, POLLIN, 0};

	return poll(&ready, 1, 0) == 1;
}

/* Sleep until there is one; false: the other side has gone. */
static bool wait_for(struct exchange_end *end, struct exchange_message *message)
{
	struct pollfd ready = {end->socket, POLLIN, 0};

	while (exchange_sleep(end)) {
		poll(&ready, 1, -1);
		if (exchange_hear(end) < 0)
			return false;
	}
	return exchange_take(end, message) == 1;
}

static void test_order(void **state)
{
	struct exchange_message message = {0};
	unsigned i, round;

	(void)state;
	for (round = 0; round < 5; round++) {
		for (i = 0; i < EXCHANGE_MESSAGES; i++)
			assert_int_equal(exchange_put(&ours, &(struct exchange_message){i, round, 7}), 0);
		assert_true(exchange_look(&theirs));
		assert_false(exchange_has_message(&ours));
		for (i = 0; i < EXCHANGE_MESSAGES; i++) {
			assert_int_equal(exchange_take(&theirs, &message), 1);
			assert_int_equal(message.slot, i);
			assert_int_equal(message.size, round);
			assert_int_equal(message.room, 7);
		}
		assert_int_equal(exchange_take(&theirs, &message), 0);
	}
	/* Nobody slept. */
	assert_false(is_readable(sockets[1]));
}

static void test_sleep(void **state)
{
	struct exchange_message message = {1, 2, 3};

	(void)state;
	assert_true(exchange_sleep(&theirs));
	assert_int_equal(exchange_put(&ours, &message), 0);
	assert_int_equal(exchange_put(&ours, &message), 0);
	assert_true(is_readable(sockets[1]));
	assert_int_equal(exchange_hear(&theirs), 0);
	/* Woken once; and who has something to do does not sleep. */
	assert_false(is_readable(sockets[1]));
	assert_false(exchange_sleep(&theirs));
	assert_int_equal(exchange_take(&theirs, &message), 1);
	assert_int_equal(exchange_take(&theirs, &message), 1);
	assert_true(exchange_sleep(&theirs));
	exchange_wake(&theirs);
	assert_int_equal(exchange_put(&ours, &message), 0);
	assert_false(is_readable(sockets[1]));
	assert_int_equal(exchange_hear(&theirs), 0); /* nothing is there */
}

static void test_lies(void **state)
{
	struct exchange_message message = {0};

	(void)state;
	theirs.put += EXCHANGE_MESSAGES;
	assert_int_equal(exchange_put(&theirs, &message), 0);
	assert_int_equal(exchange_take(&ours, &message), -EPROTO);
	theirs.put = UINT32_MAX;
	assert_int_equal(exchange_put(&theirs, &message), 0);
	assert_false(exchange_has_message(&ours));
	theirs.put -= 2;
	assert_int_equal(exchange_put(&theirs, &message), 0);
	assert_int_equal(exchange_take(&ours, &message), -EPROTO);
}

/* Answers each message; now and then sleeps, now and then looks. */
static void answer_all(void)
{
	struct exchange_message message;
	unsigned i;

	for (i = 0;; i++) {
		if (i % 7 && exchange_look(&theirs)) {
			if (exchange_take(&theirs, &message) != 1)
				_exit(2);
		} else if (!wait_for(&theirs, &message)) {
			_exit(0);
		}
		exchange_wake(&theirs);
		message.size++;
		if (exchange_put(&theirs, &message) < 0)
			_exit(0);
	}
}

static void test_processes(void **state)
{
	struct exchange_message message;
	unsigned i, asked = 0, answered = 0;
	pid_t child = fork();
	int status;

	(void)state;
	assert_true(child >= 0);
	if (child == 0) {
		close(sockets[0]);
		answer_all();
	}
	close(sockets[1]);
	for (i = 0; i < ROUNDS; i++) {
		while (asked - answered < 1 + i % EXCHANGE_MESSAGES) {
			assert_int_equal(exchange_put(&ours, &(struct exchange_message){asked, asked, 0}), 0);
			asked++;
		}
		if (i % 5 == 0 || !exchange_look(&ours))
			assert_true(wait_for(&ours, &message));
		else
			assert_int_equal(exchange_take(&ours, &message), 1);
		exchange_wake(&ours);
		assert_int_equal(message.slot, answered);
		assert_int_equal(message.size, answered + 1);
		answered++;
	}
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	/* What it said before is still there, then it is gone. */
	while (wait_for(&ours, &message))
		answered++;
	assert_true(answered <= asked);
	/* A connection that is reset with words unread says so before it hands out what came earlier (unix(7)). */
	for (i = 0; i < ROUNDS && exchange_hear(&ours) == 0; i++)
		;
	assert_true(i < ROUNDS);
	sockets[1] = -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sleep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lies, setup, teardown),
		cmocka_unit_test_setup_teardown(test_processes, setup, teardown),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
