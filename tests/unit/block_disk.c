/*
 * Promise: a disk is what was written to it, by any number of requests at once, on threads and on an
 * io_uring alike; what is wrong with a request is its result; and two programs never write to one
 * image.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "block/block.h"
#include "block/image.h"
#include "block/probe.h"
#include "block/range_lock.h"
#include "../block_wait.h"

#define MIB (1u << 20)

static char folder[] = "/tmp/kvik-block-XXXXXX";

static char *make_path(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static char *make_file(const char *name, uint64_t size)
{
	char *path = make_path(name);
	int fd;

	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
	return path;
}

static struct block *open_started(const char *path, const struct block_options *options)
{
	struct error error = {""};
	struct block *block;

	if (block_open(path, options, &block, &error) < 0 || block_start(block, &error) < 0)
		fail_msg("%s", error.message);
	return block;
}

struct flight {
	struct block_request request;
	struct iovec vector[3];
	uint8_t data[3 * 8192];
	bool is_under_way;
	int result;
	pthread_mutex_t *lock;
	pthread_cond_t *done;
};

static void landed(struct block_request *request, int result)
{
	struct flight *flight = request->context;

	pthread_mutex_lock(flight->lock);
	flight->is_under_way = false;
	flight->result = result;
	pthread_cond_broadcast(flight->done);
	pthread_mutex_unlock(flight->lock);
}

static bool overlap(const struct flight *one, uint64_t offset, uint64_t size)
{
	return one->is_under_way && offset < one->request.offset + one->request.size &&
	       one->request.offset < offset + size;
}

static char *make_image(const char *format, uint64_t size)
{
	struct image_creation creation = {
		.format = "qcow2",
		.size = size,
		.version = 3,
		.cluster_size = 16384,
		.refcount_bits = 16,
		.is_extended = true,
		.compression = "zlib",
	};
	char *path = make_file("random", size);
	struct error error;

	if (strcmp(format, "qcow2") == 0 && image_create(path, &creation, &error) < 0)
		fail_msg("%s", error.message);
	return path;
}

static void check_image(const char *path)
{
	struct block_options options = {.format = "qcow2", .readonly = true};
	struct image_check check;
	struct node *image;
	struct error error;

	assert_int_equal(image_open(path, &options, 0, &image, &error), 0);
	assert_int_equal(image_check(image, IMAGE_REPAIR_NONE, &check, NULL, NULL, &error), 0);
	assert_int_equal(check.corruptions, 0);
	assert_int_equal(check.leaks, 0);
	image_close(image);
}

static char *overlay_path(unsigned number)
{
	static const char *const names[] = {"top-0", "top-1", "top-2"};

	return make_path(names[number % 3]);
}

/* While requests are on their way: an image on top, a larger disk, the size that it had, another image, ... */
static void change_disk(struct block *block, unsigned number, uint64_t size)
{
	struct block_overlay_options options = {.fd = -1, .is_new = true};
	struct block_overlay *overlay;
	struct error error = {""};

	if (number % 3 == 1) {
		assert_int_equal(block_resize(block, size + MIB, &error), 0);
		assert_int_equal(block_size(block), size + MIB);
		return;
	}
	if (number % 3 == 2) {
		assert_int_equal(block_resize(block, size, &error), 0);
		return;
	}
	options.path = overlay_path(number / 3);
	unlink(options.path);
	if (block_overlay_open(block, &options, &overlay, &error) < 0 || block_overlays_place(&overlay, 1, &error) < 0)
		fail_msg("%s", error.message);
}

/* Random requests, up to 32 at once, none on top of another that writes; against a copy in memory. With `changes`, the disk
 * changes that often meanwhile. */
static void random_requests_and(const char *format, enum block_aio aio, enum block_cache cache, unsigned changes)
{
	enum { SIZE = 4 * MIB, FLIGHTS = 32, ROUNDS = 1000 };
	struct block_options options = {.format = format, .aio = aio, .cache = cache, .discard = true};
	struct block *block = open_started(make_image(format, SIZE), &options);
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t done = PTHREAD_COND_INITIALIZER;
	struct flight *flights = calloc(FLIGHTS, sizeof(*flights));
	uint8_t *model = calloc(1, SIZE), *check = malloc(SIZE);
	unsigned seed = time(NULL), i, k, round;

	print_message("seed %u\n", seed);
	srandom(seed);
	for (round = 0; round < ROUNDS; round++) {
		struct flight *flight = &flights[round % FLIGHTS];
		struct block_request *request = &flight->request;
		uint64_t offset = random() % (SIZE / 512) * 512, size = 0;
		unsigned kind = random() % 10;

		pthread_mutex_lock(&lock);
		while (flight->is_under_way)
			pthread_cond_wait(&done, &lock);
		assert_int_equal(flight->result, 0);
		for (i = 0; i < 3; i++) {
			flight->vector[i].iov_base = flight->data + i * 8192;
			flight->vector[i].iov_len = (1 + random() % 16) * 512;
			if (offset + size + flight->vector[i].iov_len > SIZE)
				flight->vector[i].iov_len = 0;
			size += flight->vector[i].iov_len;
		}
		*request = (struct block_request){
			.operation = kind < 6	? BLOCK_WRITE
				     : kind < 7 ? BLOCK_WRITE_ZEROES
				     : kind < 8 ? BLOCK_FLUSH
						: BLOCK_READ,
			.flags = random() % 2 ? BLOCK_UNMAP : 0,
			.offset = offset,
			.size = size,
			.vector = flight->vector,
			.vector_count = 3,
			.complete = landed,
			.context = flight,
		};
		for (i = 0; i < FLIGHTS; i++)
			while (overlap(&flights[i], offset, size))
				pthread_cond_wait(&done, &lock);
		for (i = 0; i < 3; i++)
			for (k = 0; k < flight->vector[i].iov_len; k++)
				flight->data[i * 8192 + k] = random();
		flight->is_under_way = true;
		flight->lock = &lock;
		flight->done = &done;
		if (request->operation == BLOCK_WRITE)
			for (i = 0; i < 3; i++) {
				memcpy(model + offset, flight->data + i * 8192,
				       flight->vector[i].iov_len);
				offset += flight->vector[i].iov_len;
			}
		if (request->operation == BLOCK_WRITE_ZEROES)
			memset(model + offset, 0, size);
		pthread_mutex_unlock(&lock);
		block_submit(block, &request, 1);
		if (changes && round % (ROUNDS / changes) == ROUNDS / changes - 1)
			change_disk(block, round / (ROUNDS / changes), SIZE);
	}
	block_drain(block);
	for (i = 0; i < FLIGHTS; i++)
		assert_int_equal(flights[i].result, 0);
	assert_int_equal(block_read(block, 0, check, SIZE), 0);
	assert_memory_equal(check, model, SIZE);
	assert_int_equal(block_flush(block), 0);
	assert_int_equal(block_close(block, NULL), 0);
	if (strcmp(format, "qcow2") == 0)
		check_image(make_path("random"));
	for (i = 0; i < (changes + 2) / 3; i++)
		check_image(overlay_path(i));
	free(flights);
	free(model);
	free(check);
}

static void random_requests(const char *format, enum block_aio aio, enum block_cache cache)
{
	random_requests_and(format, aio, cache, 0);
}

static void test_changes(void **state)
{
	(void)state;
	random_requests_and("raw", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, 8);
	random_requests_and("raw", BLOCK_AIO_THREADS, BLOCK_CACHE_NONE, 8);
	random_requests_and("qcow2", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, 8);
}

/* What was done is counted by kind, what failed apart from it. */
static void test_counts(void **state)
{
	struct block_options options = {.format = "raw"};
	struct block *block = open_started(make_file("counted", MIB), &options);
	struct block_counts counts;
	uint8_t data[4096] = {1};

	(void)state;
	block_read_counts(block, &counts);
	assert_int_equal(counts.last_ns, 0);
	assert_int_equal(block_write(block, 8192, data, 4096), 0);
	assert_int_equal(block_write(block, 4096, data, 512), 0);
	assert_int_equal(block_read(block, 0, data, 1024), 0);
	assert_int_equal(block_read(block, MIB, data, 512), -EINVAL);
	assert_int_equal(block_flush(block), 0);
	block_read_counts(block, &counts);
	assert_int_equal(counts.of[BLOCK_COUNT_WRITE].operations, 2);
	assert_int_equal(counts.of[BLOCK_COUNT_WRITE].bytes, 4608);
	assert_int_equal(counts.write_end, 12288);
	assert_int_equal(counts.of[BLOCK_COUNT_READ].operations, 1);
	assert_int_equal(counts.of[BLOCK_COUNT_READ].bytes, 1024);
	assert_int_equal(counts.of[BLOCK_COUNT_READ].invalid, 1);
	assert_int_equal(counts.of[BLOCK_COUNT_READ].failed, 0);
	assert_int_equal(counts.of[BLOCK_COUNT_FLUSH].operations, 1);
	assert_true(counts.of[BLOCK_COUNT_WRITE].ns > 0 && counts.last_ns > 0);
	assert_int_equal(block_close(block, NULL), 0);
}

static void test_threads(void **state)
{
	(void)state;
	random_requests("raw", BLOCK_AIO_THREADS, BLOCK_CACHE_WRITEBACK);
	random_requests("raw", BLOCK_AIO_THREADS, BLOCK_CACHE_NONE);
}

static void test_ring(void **state)
{
	(void)state;
	random_requests("raw", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK);
	random_requests("raw", BLOCK_AIO_AUTO, BLOCK_CACHE_NONE);
	random_requests("raw", BLOCK_AIO_AUTO, BLOCK_CACHE_DIRECTSYNC);
}

static void test_qcow2(void **state)
{
	(void)state;
	random_requests("qcow2", BLOCK_AIO_THREADS, BLOCK_CACHE_WRITEBACK);
	random_requests("qcow2", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK);
	random_requests("qcow2", BLOCK_AIO_AUTO, BLOCK_CACHE_NONE);
}

static void test_wrong_requests(void **state)
{
	struct block_options options = {.format = "raw", .readonly = true};
	struct block *block = open_started(make_file("small", 1000), &options);
	uint8_t data[1024];

	(void)state;
	memset(data, 0xff, sizeof(data));
	assert_int_equal(block_info(block)->size_bytes, 1024);
	assert_int_equal(block_read(block, 0, data, 1024), 0);
	assert_int_equal(data[1023], 0);
	assert_int_equal(block_read(block, 512, data, 1024), -EINVAL);
	assert_int_equal(block_read(block, UINT64_MAX - 511, data, 512), -EINVAL);
	assert_int_equal(block_read(block, 1024, data, 0), 0);
	assert_int_equal(block_write(block, 0, data, 512), -EROFS);
	assert_int_equal(block_flush(block), 0);
	assert_int_equal(block_close(block, NULL), 0);
}

/* A guest must not be able to turn its raw disk into an image that names files of the host. */
static void test_disguise(void **state)
{
	static const uint8_t magic[8] = "QFI\xfb\0\0\0\3";
	struct block_options options = {NULL};
	struct block *block = open_started(make_file("raw", MIB), &options);
	uint8_t data[1024] = {0};

	(void)state;
	memcpy(data, magic, sizeof(magic));
	assert_string_equal(block_info(block)->format, "raw");
	assert_int_equal(block_write(block, 0, data, 1024), -EPERM);
	assert_int_equal(block_write(block, 0, magic, 4), -EPERM);
	assert_int_equal(block_write(block, 4, magic + 4, 4), 0);
	assert_int_equal(block_write(block, 0, magic, 4), -EPERM);
	assert_int_equal(block_write(block, 512, data, 512), 0);
	assert_int_equal(block_close(block, NULL), 0);
	options.format = "raw";
	block = open_started(make_file("raw", MIB), &options);
	assert_int_equal(block_write(block, 0, data, 1024), 0);
	assert_int_equal(block_close(block, NULL), 0);
	options.format = NULL;
	assert_string_equal(image_probe(data, sizeof(data)), "qcow2");
}

static void test_locks(void **state)
{
	struct block_options writer = {.format = "raw"}, reader = {.format = "raw", .readonly = true};
	char *path = make_file("locked", MIB);
	struct block *one, *two;
	struct error error;

	(void)state;
	assert_int_equal(block_open(path, &writer, &one, &error), 0);
	assert_int_equal(block_open(path, &writer, &two, &error), -EAGAIN);
	assert_non_null(strstr(error.message, "in use"));
	assert_int_equal(block_open(path, &reader, &two, &error), -EAGAIN);
	writer.unlocked = true;
	assert_int_equal(block_open(path, &writer, &two, &error), 0);
	block_close(two, NULL);
	block_close(one, NULL);
	writer.unlocked = false;
	assert_int_equal(block_open(path, &reader, &one, &error), 0);
	assert_int_equal(block_open(path, &reader, &two, &error), 0);
	block_close(two, NULL);
	assert_int_equal(block_open(path, &writer, &two, &error), -EAGAIN);
	block_close(one, NULL);
	assert_int_equal(block_open(path, &writer, &two, &error), 0);
	block_close(two, NULL);
}

static void test_wrong_files(void **state)
{
	struct block_options options = {NULL};
	struct block *block;
	struct error error;

	(void)state;
	assert_int_equal(block_open("/nonexistent/disk", &options, &block, &error), -ENOENT);
	assert_int_equal(block_open("/dev/null", &options, &block, &error), -EINVAL);
	options.format = "vmdk";
	assert_int_equal(block_open(make_file("x", MIB), &options, &block, &error), -ENOTSUP);
	assert_non_null(strstr(error.message, "vmdk"));
}

/* Requests made on the I/O thread complete after block_submit, not in it. */
struct inside {
	struct block *block;
	struct block_request requests[3];
	struct iovec vector;
	uint8_t data[512];
	bool is_submitting;
	int completed, bad;
};

static void inside_done(struct block_request *request, int result)
{
	struct inside *inside = request->context;

	if (inside->is_submitting)
		inside->bad++;
	if (request == &inside->requests[0] ? result != -EINVAL : result != 0)
		inside->bad++;
	__atomic_add_fetch(&inside->completed, 1, __ATOMIC_RELEASE);
}

static void submit_inside(void *context)
{
	struct inside *inside = context;
	struct block_request *list[3];
	unsigned i;

	inside->vector = (struct iovec){inside->data, sizeof(inside->data)};
	for (i = 0; i < 3; i++) {
		inside->requests[i] = (struct block_request){
			.operation = i == 2 ? BLOCK_FLUSH : BLOCK_READ,
			.offset = i == 0 ? MIB : 0,
			.size = 512,
			.vector = &inside->vector,
			.vector_count = 1,
			.complete = inside_done,
			.context = inside,
		};
		list[i] = &inside->requests[i];
	}
	inside->is_submitting = true;
	block_submit(inside->block, list, 3);
	inside->is_submitting = false;
}

static void test_io_thread(void **state)
{
	struct block_options options = {.format = "raw", .serial = "0123456789abcdefghijXYZ"};
	struct inside inside = {.block = open_started(make_file("inside", MIB), &options)};

	(void)state;
	block_call(inside.block, submit_inside, &inside);
	block_drain(inside.block);
	assert_int_equal(__atomic_load_n(&inside.completed, __ATOMIC_ACQUIRE), 3);
	assert_int_equal(inside.bad, 0);
	assert_string_equal(block_info(inside.block)->serial, "0123456789abcdefghij");
	assert_int_equal(block_close(inside.block, NULL), 0);
}

static void test_range_lock(void **state)
{
	struct range_lock lock = {NULL};
	struct range_hold a, b, c, d;

	(void)state;
	assert_true(range_take(&lock, &a, 0, 4, RANGE_SHARED));
	assert_true(range_take(&lock, &b, 4, 8, RANGE_SHARED));
	assert_false(range_take(&lock, &c, 3, 3, RANGE_EXCLUSIVE));
	/* Who comes later doesn't overtake. */
	assert_false(range_take(&lock, &d, 2, 3, RANGE_SHARED));
	assert_null(range_wake(&lock));
	range_release(&lock, &b);
	assert_null(range_wake(&lock));
	range_release(&lock, &a);
	assert_ptr_equal(range_wake(&lock), &c);
	assert_null(range_wake(&lock));
	range_release(&lock, &c);
	assert_ptr_equal(range_wake(&lock), &d);
	range_release(&lock, &d);
	assert_true(range_take(&lock, &a, 0, UINT64_MAX, RANGE_EXCLUSIVE));
	range_release(&lock, &a);
	assert_int_equal(lock.waiting, 0);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[300];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),	       cmocka_unit_test(test_ring),
		cmocka_unit_test(test_qcow2),	       cmocka_unit_test(test_changes),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_wrong_requests), cmocka_unit_test(test_disguise),
		cmocka_unit_test(test_locks),	       cmocka_unit_test(test_wrong_files),
		cmocka_unit_test(test_io_thread),      cmocka_unit_test(test_range_lock),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
