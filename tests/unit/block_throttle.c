/*
 * Promise: a disk does no more a second than its limits say, but for what may come at once; nothing else of it waits; disks
 * of one throttle have the limits together; and who closes a disk waits for no limit.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "block/block.h"
#include "block/throttle.h"
#include "util/clock.h"

#define DISK  (16u << 20)
#define PIECE 4096u
#define MANY  60

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned done;

static uint8_t bytes[PIECE];
static struct iovec vector = {bytes, PIECE};
static struct block_request list[2][MANY], *pointers[2][MANY];

static void landed(struct block_request *request, int result)
{
	(void)request;
	assert_int_equal(result, 0);
	pthread_mutex_lock(&lock);
	done++;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static struct block *make_disk(void)
{
	const struct block_options options = {.format = "raw", .unlocked = true};
	struct error error = {""};
	struct block *block;
	int fd = memfd_create("disk", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, DISK) == 0);
	if (block_open_fd(fd, "disk", &options, &block, &error) < 0 || block_start(block, &error) < 0)
		fail_msg("%s", error.message);
	close(fd);
	return block;
}

static void submit(struct block *block, unsigned set, enum block_operation operation, unsigned flags)
{
	unsigned i;

	for (i = 0; i < MANY; i++) {
		list[set][i] = (struct block_request){.operation = operation,
						      .flags = flags,
						      .offset = i * PIECE,
						      .size = PIECE,
						      .vector = &vector,
						      .vector_count = 1,
						      .complete = landed};
		pointers[set][i] = &list[set][i];
	}
	block_submit(block, pointers[set], MANY);
}

static void wait_for(unsigned count)
{
	pthread_mutex_lock(&lock);
	while (done < count)
		pthread_cond_wait(&changed, &lock);
	done = 0;
	pthread_mutex_unlock(&lock);
}

static unsigned count_done(void)
{
	unsigned count;

	pthread_mutex_lock(&lock);
	count = done;
	pthread_mutex_unlock(&lock);
	return count;
}

static void limit(struct block *block, const struct block_limits *limits, struct block *other)
{
	struct error error = {""};

	if (block_set_limits(block, limits, other, &error) < 0)
		fail_msg("%s", error.message);
}

/* Milliseconds that so many take. */
static uint64_t time_of(struct block *block, enum block_operation operation)
{
	uint64_t begin = monotonic_ns();

	submit(block, 0, operation, 0);
	wait_for(MANY);
	return (monotonic_ns() - begin) / 1000000;
}

/* Of 60, 11 may come at once (a tenth of a second's, and one that finds that there is room); the others wait. */
static void test_rates(void **state)
{
	const struct block_limits operations = {.operations[BLOCK_RATE_TOTAL] = {.average = 100}};
	const struct block_limits reads = {.bytes[BLOCK_RATE_READ] = {.average = 100 * PIECE}};
	const struct block_limits halves = {.operations[BLOCK_RATE_WRITE] = {.average = 200}, .operation_bytes = PIECE / 2};
	const struct block_limits none = {.operation_bytes = 0};
	struct block *block = make_disk();

	(void)state;
	limit(block, &operations, NULL);
	assert_true(time_of(block, BLOCK_WRITE) >= 480);
	assert_int_equal(block_read_limits(block)->operations[BLOCK_RATE_TOTAL].average, 100);
	limit(block, &reads, NULL);
	assert_true(time_of(block, BLOCK_READ) >= 480);
	limit(block, &halves, NULL);
	assert_true(time_of(block, BLOCK_WRITE_ZEROES) >= 480);
	/* What waits goes on when the limit goes. */
	limit(block, &(struct block_limits){.operations[BLOCK_RATE_TOTAL] = {.average = 1}}, NULL);
	submit(block, 0, BLOCK_WRITE, 0);
	usleep(20000);
	assert_true(count_done() < 5);
	limit(block, &none, NULL);
	wait_for(MANY);
	assert_int_equal(block_close(block, NULL), 0);
}

/* Flushes, discards, and what is not the guest's. */
static void test_others(void **state)
{
	const struct block_limits limits = {.operations[BLOCK_RATE_TOTAL] = {.average = 1}};
	struct block *block = make_disk();
	struct block_request flush = {.operation = BLOCK_FLUSH, .complete = landed}, *one = &flush;

	(void)state;
	limit(block, &limits, NULL);
	submit(block, 0, BLOCK_WRITE, 0);
	submit(block, 1, BLOCK_READ, BLOCK_FREELY);
	block_submit(block, &one, 1);
	pthread_mutex_lock(&lock);
	while (done < MANY + 1)
		pthread_cond_wait(&changed, &lock);
	assert_true(done < MANY + 6);
	pthread_mutex_unlock(&lock);
	/* The writes would take a minute. */
	assert_int_equal(block_close(block, NULL), 0);
	wait_for(2 * MANY + 1);
}

static void test_group(void **state)
{
	const struct block_limits limits = {.operations[BLOCK_RATE_TOTAL] = {.average = 200, .burst = 200}};
	struct block *first = make_disk(), *second = make_disk();
	uint64_t begin;

	(void)state;
	limit(first, &limits, NULL);
	limit(second, &limits, first);
	/* What may come at once, 200, is gone after three times 60 and a part of the fourth. All is timed from the begin:
	 * whenever a busy host lets the rest begin, this is the least that it takes. */
	begin = monotonic_ns();
	time_of(first, BLOCK_WRITE);
	time_of(first, BLOCK_WRITE);
	time_of(first, BLOCK_WRITE);
	submit(first, 0, BLOCK_WRITE, 0);
	submit(second, 1, BLOCK_WRITE, 0);
	wait_for(2 * MANY);
	assert_true(monotonic_ns() - begin >= 400000000);
	assert_int_equal(block_close(first, NULL), 0);
	time_of(second, BLOCK_WRITE);
	assert_true(monotonic_ns() - begin >= 700000000);
	assert_int_equal(block_close(second, NULL), 0);
}

static void test_contradictions(void **state)
{
	static const struct block_limits wrong[] = {
		{.bytes = {{.average = 1}, {.average = 1}}},
		{.bytes = {{.burst = 1}}},
		{.operations = {{.average = 2, .burst = 1}}},
		{.operations = {{.average = 2, .burst_seconds = 2}}},
		{.operations = {{.average = BLOCK_RATE_MAX + 1}}},
		{.operation_bytes = 4096},
	};
	struct block *block = make_disk();
	struct error error;
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(block_set_limits(block, &wrong[i], NULL, &error), -EINVAL);
	assert_null(block_read_limits(block));
	assert_int_equal(block_close(block, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rates), cmocka_unit_test(test_others),
					   cmocka_unit_test(test_group), cmocka_unit_test(test_contradictions)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
