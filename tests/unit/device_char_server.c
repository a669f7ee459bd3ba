/*
 * A stream on a socket, whose peers end their side of it before they have read what there is for them: they get it, but
 * hold up nobody, neither the line nor the next peer.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/char/char.h"
#include "util/loop_thread.h"

/* More than a socket takes by itself, and than the line stays ready with; two of them fit in the queue. */
#define ANSWER_BYTES 250000

static struct {
	struct char_stream *stream;
	struct loop_thread thread;
	char path[64];
	/* Atomic: */
	bool is_full; /* there is no room */
	unsigned came, went; /* peers */
	unsigned got;	     /* bytes, which are answered unless they are 0 */
} world;

static size_t room(void *context)
{
	(void)context;
	return __atomic_load_n(&world.is_full, __ATOMIC_SEQ_CST) ? 0 : 64;
}

/* A long answer to each byte, of that byte. */
static void receive(void *context, const uint8_t *data, size_t size)
{
	static uint8_t answer[ANSWER_BYTES];
	size_t i;

	(void)context;
	for (i = 0; i < size; i++) {
		__atomic_add_fetch(&world.got, 1, __ATOMIC_SEQ_CST);
		if (!data[i])
			continue;
		memset(answer, data[i], sizeof(answer));
		char_write(world.stream, answer, sizeof(answer));
	}
}

static void attached(void *context, bool is_attached)
{
	(void)context;
	__atomic_add_fetch(is_attached ? &world.came : &world.went, 1, __ATOMIC_SEQ_CST);
}

static void open_server(void)
{
	const struct char_reader reader = {.room = room, .receive = receive, .attached = attached};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct error error;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(world.path, sizeof(world.path), "/tmp/kvik-char-%d", getpid());
	unlink(world.path);
	strcpy(address.sun_path, world.path);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 4), 0);
	assert_int_equal(loop_thread_create(&world.thread, "test", &error), 0);
	world.stream = char_server_create(world.thread.loop, listener, -1, &error);
	assert_non_null(world.stream);
	char_set_reader(world.stream, &reader);
	assert_int_equal(loop_thread_start(&world.thread, &error), 0);
}

static void close_server(void)
{
	loop_thread_stop(&world.thread);
	char_destroy(world.stream);
	loop_thread_destroy(&world.thread);
	unlink(world.path);
}

static int connect_peer(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, world.path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* One that says one byte, and that it says no more. */
static int ask(uint8_t byte)
{
	int fd = connect_peer();

	assert_int_equal(write(fd, &byte, 1), 1);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	return fd;
}

/* How much there is until the end; all of it must be `byte`. */
static size_t take(int fd, uint8_t byte)
{
	static uint8_t bytes[65536];
	size_t size = 0;
	ssize_t got, i;

	while ((got = read(fd, bytes, sizeof(bytes))) > 0) {
		for (i = 0; i < got; i++)
			assert_int_equal(bytes[i], byte);
		size += got;
	}
	assert_int_equal(got, 0);
	close(fd);
	return size;
}

static void test_answered(void **state)
{
	unsigned i;

	(void)state;
	open_server();
	for (i = 0; i < 20; i++)
		assert_int_equal(take(ask('a' + i), 'a' + i), ANSWER_BYTES);
	close_server();
}

static void wait_until_ready(void)
{
	unsigned i;

	for (i = 0; i < 10000 && !char_is_ready(world.stream); i++)
		usleep(1000);
	assert_true(char_is_ready(world.stream));
}

static void test_unread(void **state)
{
	int silent, gone;

	(void)state;
	open_server();
	silent = ask('s');
	usleep(20000);
	wait_until_ready();
	/* The next one is served, and nothing of what was the other's comes to it. */
	assert_int_equal(take(ask('n'), 'n'), ANSWER_BYTES);
	assert_true(take(silent, 's') < ANSWER_BYTES);
	/* One that has gone altogether. */
	gone = ask('g');
	close(gone);
	assert_int_equal(take(ask('m'), 'm'), ANSWER_BYTES);
	wait_until_ready();
	/* It ends with one that reads nothing. */
	silent = ask('e');
	usleep(20000);
	close_server();
	close(silent);
}

static void wait_for(const unsigned *count, unsigned wanted)
{
	unsigned i;

	for (i = 0; i < 10000 && __atomic_load_n(count, __ATOMIC_SEQ_CST) != wanted; i++)
		usleep(1000);
	assert_int_equal(__atomic_load_n(count, __ATOMIC_SEQ_CST), wanted);
}

/* While the reader has no room: who goes without a word is seen to have gone, and what others have said is kept. */
static void test_no_room(void **state)
{
	static const uint8_t zeroes[300];
	unsigned i;
	int fd;

	(void)state;
	world.is_full = true;
	world.came = world.went = world.got = 0;
	open_server();
	for (i = 1; i <= 3; i++) {
		fd = connect_peer();
		wait_for(&world.came, i);
		close(fd);
		wait_for(&world.went, i);
	}
	fd = connect_peer();
	wait_for(&world.came, i);
	assert_int_equal(write(fd, zeroes, sizeof(zeroes)), sizeof(zeroes));
	close(fd);
	usleep(50000);
	assert_int_equal(world.went, 3);
	assert_int_equal(world.got, 0);
	__atomic_store_n(&world.is_full, false, __ATOMIC_SEQ_CST);
	char_resume_input(world.stream);
	wait_for(&world.went, 4);
	assert_int_equal(world.got, sizeof(zeroes));
	close_server();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answered),
		cmocka_unit_test(test_unread),
		cmocka_unit_test(test_no_room),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
