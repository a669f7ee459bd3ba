/* Lines that guests cause: how many are shown, that the rest is counted, that nobody waits. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/log.h"

#define FLOOD     100000
#define LINES_MAX 100

static int saved_stderr, reading_end;

/* Standard error is a pipe that is read here, without O_NONBLOCK for those who write. */
static int setup(void **state)
{
	int ends[2];

	(void)state;
	saved_stderr = dup(STDERR_FILENO);
	assert_int_equal(pipe(ends), 0);
	reading_end = ends[0];
	fcntl(reading_end, F_SETFL, O_NONBLOCK);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	log_open();
	log_set_level(LOG_INFO);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(reading_end);
	return 0;
}

static char text[1 << 20];

/* What was written since the last call, as a string. Returns the number of lines. */
static unsigned read_lines(void)
{
	size_t used = 0, i;
	ssize_t count;
	unsigned lines = 0;

	while ((count = read(reading_end, text + used, sizeof(text) - 1 - used)) > 0)
		used += count;
	text[used] = 0;
	for (i = 0; i < used; i++)
		lines += text[i] == '\n';
	return lines;
}

static void test_flood(void **state)
{
	struct timespec two_seconds = {.tv_sec = 2};
	unsigned i, shown;
	unsigned long left_out;

	(void)state;
	read_lines();
	for (i = 0; i < FLOOD; i++)
		log_guest("line %u", i);
	shown = read_lines();
	assert_in_range(shown, 1, LINES_MAX);
	assert_non_null(strstr(text, "kvik: line 0\n"));
	nanosleep(&two_seconds, NULL);
	log_guest("the last");
	assert_int_equal(read_lines(), 2);
	assert_int_equal(sscanf(text, "kvik: %lu lines", &left_out), 1);
	assert_int_equal(left_out, FLOOD - shown);
	assert_non_null(strstr(text, "kvik: the last\n"));
	/* It is told once. */
	log_guest_flush();
	assert_int_equal(read_lines(), 0);
	/* Any level has the same limit. */
	for (i = 0; i < FLOOD; i++)
		log_guest_at(LOG_WARNING, "warning %u", i);
	assert_in_range(read_lines(), 0, LINES_MAX);
	log_guest_flush();
	assert_int_equal(read_lines(), 1);
}

static void test_stalled_reader(void **state)
{
	char filler[4096];
	struct timespec second = {.tv_sec = 1};
	unsigned lines = 0;
	int flags;

	(void)state;
	memset(filler, 'x', sizeof(filler));
	read_lines();
	nanosleep(&second, NULL); /* so that a line is allowed */
	flags = fcntl(STDERR_FILENO, F_GETFL);
	/* What others see of the pipe is as it was. */
	assert_int_equal(flags & O_NONBLOCK, 0);
	fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
	while (write(STDERR_FILENO, filler, sizeof(filler)) > 0)
		lines++;
	fcntl(STDERR_FILENO, F_SETFL, flags);
	assert_true(lines > 0);
	/* Neither returns only when somebody reads. */
	log_guest("nobody reads this");
	log_error("nor this");
	read_lines();
	assert_null(strstr(text, "reads this"));
	log_guest_flush();
	assert_int_equal(read_lines(), 1);
	log_error("but this");
	assert_int_equal(read_lines(), 1);
	assert_string_equal(text, "kvik: but this\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_flood),
	    cmocka_unit_test(test_stalled_reader),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
