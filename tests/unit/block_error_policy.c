/*
 * Promise: what becomes of a request that fails is the disk's policy: it is reported, ignored, or held until it is tried
 * again or given up, told to whoever watches, and never lost; nobody waits for what is held; and it is no matter of
 * requests that are not a guest's, nor of those that are wrong.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "block/disk.h"
#include "block/error_policy.h"

#define DISK (1u << 20)
#define PIECE 4096u

static void wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore) < 0)
		;
}

/* A medium that fails as it is told. */
static sem_t at_gate;
static int fails_with; /* an errno; atomic */
static const struct node_driver *real;
static sem_t *gate; /* how a write ends is certain before it, and told behind it; NULL: there is none */

static int map(struct node *node, uint64_t offset, uint64_t size, bool is_write, struct extent *extents)
{
	(void)node, (void)offset, (void)size, (void)is_write, (void)extents;
	return -EAGAIN;
}

static int read_some(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector, unsigned count)
{
	int error = __atomic_load_n(&fails_with, __ATOMIC_SEQ_CST);

	return error ? -error : real->read(node, offset, size, vector, count);
}

static int write_some(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector, unsigned count)
{
	int error = __atomic_load_n(&fails_with, __ATOMIC_SEQ_CST);

	if (gate) {
		sem_post(&at_gate);
		wait_for(gate);
	}
	return error ? -error : real->write(node, offset, size, vector, count);
}

static void fail_with(int error)
{
	__atomic_store_n(&fails_with, error, __ATOMIC_SEQ_CST);
}

/* Who watches, and the requests. */
static sem_t told, held, done;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct block_held count = {.lock = &lock, .changed = &changed};
static struct node_driver faulty;

static void failed(void *context, bool is_held)
{
	assert_ptr_equal(context, &told);
	sem_post(&told);
	if (is_held)
		sem_post(&held);
}

static const struct block *closed;

static void closes(void *context, const struct block *block)
{
	assert_ptr_equal(context, &told);
	closed = block;
}

static struct block *make_disk(enum block_on_error on_read, enum block_on_error on_write, bool is_watched)
{
	const struct block_options options = {.format = "raw", .unlocked = true, .aio = BLOCK_AIO_THREADS};
	const struct block_error_policy policy = {on_read, on_write};
	const struct block_failure_watch watch = {failed, closes, &told};
	struct error error = {""};
	struct block *block;
	int fd = memfd_create("disk", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, DISK) == 0);
	assert_int_equal(block_open_fd(fd, "disk", &options, &block, &error), 0);
	close(fd);
	real = block->node->driver;
	faulty = *real;
	faulty.map = map;
	faulty.read = read_some;
	faulty.write = write_some;
	block->node->driver = &faulty;
	block_set_error_policy(block, &policy);
	if (is_watched)
		block_watch_failures(block, &watch);
	assert_int_equal(block_start(block, &error), 0);
	sem_init(&told, 0, 0);
	sem_init(&held, 0, 0);
	sem_init(&done, 0, 0);
	count.count = 0;
	fail_with(0);
	return block;
}

struct flight {
	struct block_request request;
	struct iovec vector;
	uint8_t bytes[PIECE];
	int result;
};

static void landed(struct block_request *request, int result)
{
	((struct flight *)request->context)->result = result;
	sem_post(&done);
}

static void submit(struct block *block, struct flight *flight, enum block_operation operation, unsigned flags,
		   uint64_t offset)
{
	struct block_request *request = &flight->request;

	flight->vector = (struct iovec){flight->bytes, PIECE};
	flight->result = 1;
	*request = (struct block_request){.operation = operation, .flags = flags, .offset = offset, .size = PIECE,
					  .vector = &flight->vector, .vector_count = 1, .complete = landed,
					  .context = flight, .held = flags & BLOCK_HOLDABLE ? &count : NULL};
	block_submit(block, &request, 1);
}

static int value_of(sem_t *semaphore)
{
	int value;

	sem_getvalue(semaphore, &value);
	return value;
}

/* One request from its beginning to its end, which is not to be held. */
static int run(struct block *block, enum block_operation operation, unsigned flags, uint64_t offset)
{
	static struct flight flight;

	submit(block, &flight, operation, flags, offset);
	wait_for(&done);
	return flight.result;
}

static void need_failure(struct block *block, bool is_read, enum block_on_error action, int error)
{
	struct block_failure failure;

	assert_true(block_take_failure(block, &failure));
	assert_int_equal(failure.is_read, is_read);
	assert_int_equal(failure.action, action);
	assert_int_equal(failure.error, error);
	assert_false(block_take_failure(block, &failure));
}

static void test_report(void **state)
{
	struct block *block = make_disk(BLOCK_ON_ERROR_REPORT, BLOCK_ON_ERROR_ENOSPC, true);
	struct block_failure failure;

	(void)state;
	fail_with(EIO);
	assert_int_equal(run(block, BLOCK_READ, BLOCK_HOLDABLE, 0), -EIO);
	need_failure(block, true, BLOCK_ON_ERROR_REPORT, EIO);
	assert_int_equal(run(block, BLOCK_WRITE, BLOCK_HOLDABLE, 0), -EIO);
	need_failure(block, false, BLOCK_ON_ERROR_REPORT, EIO);
	assert_int_equal(value_of(&told), 2);
	/* The same again is told a second later at the earliest. */
	assert_int_equal(run(block, BLOCK_WRITE, BLOCK_HOLDABLE, 0), -EIO);
	assert_false(block_take_failure(block, &failure));
	assert_int_equal(value_of(&told), 2);
	assert_int_equal(block_health(block), BLOCK_HEALTHY);
	assert_int_equal(value_of(&held), 0);
	assert_int_equal(block_close(block, NULL), 0);
}

static void test_ignore(void **state)
{
	struct block *block = make_disk(BLOCK_ON_ERROR_IGNORE, BLOCK_ON_ERROR_IGNORE, true);

	(void)state;
	fail_with(ENOSPC);
	assert_int_equal(run(block, BLOCK_WRITE, BLOCK_HOLDABLE, 0), 0);
	need_failure(block, false, BLOCK_ON_ERROR_IGNORE, ENOSPC);
	assert_int_equal(run(block, BLOCK_READ, BLOCK_HOLDABLE, 0), 0);
	need_failure(block, true, BLOCK_ON_ERROR_IGNORE, ENOSPC);
	/* What is no guest's has no policy. */
	assert_int_equal(run(block, BLOCK_WRITE, 0, 0), -ENOSPC);
	assert_int_equal(block_close(block, NULL), 0);
}

static void test_stop(void **state)
{
	struct block *block = make_disk(BLOCK_ON_ERROR_STOP, BLOCK_ON_ERROR_ENOSPC, true);
	static struct flight write, read, after;

	(void)state;
	fail_with(ENOSPC);
	memset(write.bytes, 'w', PIECE);
	submit(block, &write, BLOCK_WRITE, BLOCK_HOLDABLE, 0);
	wait_for(&held);
	need_failure(block, false, BLOCK_ON_ERROR_STOP, ENOSPC);
	assert_int_equal(block_health(block), BLOCK_IS_FULL);
	assert_int_equal(count.count, 1);
	fail_with(EIO);
	submit(block, &read, BLOCK_READ, BLOCK_HOLDABLE, PIECE);
	wait_for(&held);
	need_failure(block, true, BLOCK_ON_ERROR_STOP, EIO);
	assert_int_equal(block_health(block), BLOCK_HAS_FAILED);
	assert_int_equal(count.count, 2);
	/* Nobody waits for them, and others go on. */
	block_drain(block);
	assert_int_equal(value_of(&done), 0);
	fail_with(0);
	assert_int_equal(run(block, BLOCK_WRITE, BLOCK_HOLDABLE, 2 * PIECE), 0);
	/* Again, and they fail again. */
	fail_with(ENOSPC);
	block_retry(block);
	wait_for(&held);
	wait_for(&held);
	assert_int_equal(count.count, 2);
	assert_int_equal(value_of(&done), 0);
	fail_with(0);
	block_retry(block);
	wait_for(&done);
	wait_for(&done);
	assert_int_equal(write.result, 0);
	assert_int_equal(read.result, 0);
	assert_int_equal(count.count, 0);
	assert_int_equal(block_health(block), BLOCK_HEALTHY);
	submit(block, &after, BLOCK_READ, 0, 0);
	wait_for(&done);
	assert_memory_equal(after.bytes, write.bytes, PIECE);
	/* There is nothing to try again. */
	block_retry(block);
	assert_int_equal(block_close(block, NULL), 0);
}

/* One that is under way when the machine goes on fails behind that: its user has been told already, and it is tried again. */
static void test_overtaken(void **state)
{
	struct block *block = make_disk(BLOCK_ON_ERROR_STOP, BLOCK_ON_ERROR_STOP, true);
	static struct flight write;
	sem_t opened;

	(void)state;
	sem_init(&at_gate, 0, 0);
	sem_init(&opened, 0, 0);
	gate = &opened;
	fail_with(EIO);
	submit(block, &write, BLOCK_WRITE, BLOCK_HOLDABLE, 0);
	wait_for(&at_gate);
	fail_with(0);
	block_retry(block);
	sem_post(&opened);
	wait_for(&at_gate);
	sem_post(&opened);
	wait_for(&done);
	assert_int_equal(write.result, 0);
	assert_int_equal(value_of(&held), 0);
	assert_int_equal(value_of(&told), 0);
	gate = NULL;
	assert_int_equal(block_close(block, NULL), 0);
}

static void test_give_up(void **state)
{
	struct block *block = make_disk(BLOCK_ON_ERROR_STOP, BLOCK_ON_ERROR_STOP, true);
	static struct flight write, last;

	(void)state;
	fail_with(ENOSPC);
	submit(block, &write, BLOCK_WRITE, BLOCK_HOLDABLE, 0);
	wait_for(&held);
	block_give_up(block);
	wait_for(&done);
	assert_int_equal(write.result, -EIO);
	assert_int_equal(count.count, 0);
	assert_int_equal(run(block, BLOCK_WRITE, BLOCK_HOLDABLE, 0), -ENOSPC);
	block_keep(block);
	submit(block, &last, BLOCK_WRITE, BLOCK_HOLDABLE, 0);
	wait_for(&held);
	/* The end of the disk is the end of what it holds. */
	assert_int_equal(block_close(block, NULL), 0);
	assert_int_equal(value_of(&done), 1);
	assert_int_equal(last.result, -EIO);
	assert_ptr_equal(closed, block);
}

static void test_not_held(void **state)
{
	struct block *block = make_disk(BLOCK_ON_ERROR_STOP, BLOCK_ON_ERROR_STOP, true);
	struct block_failure failure;

	(void)state;
	/* Beyond the disk's end. */
	assert_int_equal(run(block, BLOCK_WRITE, BLOCK_HOLDABLE, DISK), -EINVAL);
	assert_false(block_take_failure(block, &failure));
	fail_with(EIO);
	assert_int_equal(run(block, BLOCK_READ, 0, 0), -EIO);
	assert_false(block_take_failure(block, &failure));
	assert_int_equal(value_of(&told), 0);
	assert_int_equal(block_close(block, NULL), 0);
	/* Where nobody watches nobody would let it go on. */
	block = make_disk(BLOCK_ON_ERROR_STOP, BLOCK_ON_ERROR_STOP, false);
	fail_with(EIO);
	assert_int_equal(run(block, BLOCK_READ, BLOCK_HOLDABLE, 0), -EIO);
	need_failure(block, true, BLOCK_ON_ERROR_REPORT, EIO);
	assert_int_equal(block_close(block, NULL), 0);
}

static void test_words(void **state)
{
	enum block_on_error policy;

	(void)state;
	for (unsigned i = 0; i < BLOCK_ON_ERRORS; i++) {
		assert_int_equal(block_on_error_parse(block_on_error_name(i), &policy), 0);
		assert_int_equal(policy, i);
	}
	assert_int_equal(block_on_error_parse("auto", &policy), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report), cmocka_unit_test(test_ignore),	cmocka_unit_test(test_stop),
		cmocka_unit_test(test_overtaken), cmocka_unit_test(test_give_up), cmocka_unit_test(test_not_held), cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
