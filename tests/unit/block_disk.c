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
#include "block/copy.h"
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
	static char paths[3][256];

	snprintf(paths[number], sizeof(paths[number]), "%s/top-%u", folder, number);
	return paths[number];
}

/* What an image holds, with those below. */
static void assert_content(const char *path, const uint8_t *content, uint64_t size)
{
	struct block_options options = {.readonly = true};
	struct node *image;
	struct error error = {""};
	uint8_t *data = malloc(size);

	if (image_open(path, &options, 0, &image, &error) < 0)
		fail_msg("%s", error.message);
	assert_int_equal(image_size(image), size);
	assert_int_equal(image_read(image, 0, data, size), 0);
	assert_memory_equal(data, content, size);
	image_close(image);
	free(data);
}

static void put_on_top(struct block *block, const char *path)
{
	struct block_overlay_options options = {.path = path, .fd = -1, .is_new = true};
	struct block_overlay *overlay;
	struct error error = {""};

	unlink(path);
	if (block_overlay_open(block, &options, &overlay, &error) < 0 || block_overlays_place(&overlay, 1, &error) < 0)
		fail_msg("%s", error.message);
}

#define ROUND_SIZE (4 * MIB)

/* While requests are on their way: an image on top, a larger disk, the size that it had, another image, ... */
static void change_disk(struct block *block, unsigned round, const uint8_t *model)
{
	struct error error = {""};

	(void)model;
	switch (round) {
	case 100:
	case 400:
	case 700: put_on_top(block, overlay_path(round / 300)); break;
	case 200:
	case 500:
		assert_int_equal(block_resize(block, ROUND_SIZE + MIB, &error), 0);
		assert_int_equal(block_size(block), ROUND_SIZE + MIB);
		break;
	case 300:
	case 600: assert_int_equal(block_resize(block, ROUND_SIZE, &error), 0); break;
	}
}

static struct block_copy *copy;
static uint8_t *then; /* what the disk held when a backup began */

static void start_limited_copy(struct block *block, enum block_copy_kind kind, const char *path, const char *format, bool only_top,
			       uint64_t speed)
{
	struct block_copy_options options = {.kind = kind, .path = path, .fd = -1, .format = format,
					     .is_new = kind != BLOCK_COPY_COMMIT, .only_top = only_top, .speed = speed};
	struct error error = {""};

	if (block_copy_start(block, &options, &copy, &error) < 0)
		fail_msg("%s", error.message);
	assert_int_equal(block_copy_start(block, &options, &(struct block_copy *){NULL}, &error), -EBUSY);
	assert_int_equal(block_resize(block, ROUND_SIZE + MIB, &error), -EBUSY);
}

static void start_copy(struct block *block, enum block_copy_kind kind, const char *path, const char *format, bool only_top)
{
	start_limited_copy(block, kind, path, format, only_top, 0);
}

static void wait_for_copy(bool is_end)
{
	struct block_copy_status status;

	do {
		usleep(1000);
		block_copy_look(copy, &status);
	} while (!status.has_ended && !(status.is_ready && !is_end));
	assert_int_equal(status.has_ended, is_end);
	assert_int_equal(status.result, 0);
}

static void end_copy(void)
{
	assert_int_equal(block_copy_end(copy), 0);
	copy = NULL;
}

/* Twice: what the guest writes meanwhile isn't in it. */
static void change_by_backup(struct block *block, unsigned round, const uint8_t *model)
{
	const char *path = overlay_path(0);

	if (round == 100 || round == 500) {
		block_drain(block);
		memcpy(then, model, ROUND_SIZE);
		unlink(path);
		start_copy(block, BLOCK_COPY_BACKUP, path, round == 100 ? "raw" : "qcow2", false);
	}
	if (round == 400 || round == 900) {
		wait_for_copy(true);
		end_copy();
		assert_content(overlay_path(0), then, ROUND_SIZE);
	}
}

/* It goes on in the first mirror, and a second one stays as it is when it is ended. */
static void change_by_mirror(struct block *block, unsigned round, const uint8_t *model)
{
	struct error error = {""};

	if (round == 100) {
		unlink(overlay_path(0));
		start_copy(block, BLOCK_COPY_MIRROR, overlay_path(0), "qcow2", false);
	} else if (round == 400) {
		wait_for_copy(false);
	} else if (round == 450) {
		if (block_copy_finish(copy, &error) < 0)
			fail_msg("%s", error.message);
		end_copy();
		assert_string_equal(block_info(block)->path, overlay_path(0));
	} else if (round == 500) {
		unlink(overlay_path(1));
		start_copy(block, BLOCK_COPY_MIRROR, overlay_path(1), "raw", false);
	} else if (round == 900) {
		wait_for_copy(false);
		block_drain(block);
		end_copy();
		assert_content(overlay_path(1), model, ROUND_SIZE);
	}
}

/* Two images on top, merged into the lowest one. */
static void change_by_commit(struct block *block, unsigned round, const uint8_t *model)
{
	struct error error = {""};

	(void)model;
	if (round == 100 || round == 300) {
		put_on_top(block, overlay_path(round / 300));
	} else if (round == 500) {
		start_copy(block, BLOCK_COPY_COMMIT, NULL, NULL, false);
	} else if (round == 800) {
		wait_for_copy(false);
		if (block_copy_finish(copy, &error) < 0)
			fail_msg("%s", error.message);
		end_copy();
		assert_string_equal(block_info(block)->path, make_path("random"));
	}
}

/* Two images on top: the upper one has all that is above `base` then, or all. */
static void stream(struct block *block, unsigned round, const char *base)
{
	if (round == 100 || round == 300) {
		put_on_top(block, overlay_path(round / 300));
	} else if (round == 500) {
		start_copy(block, BLOCK_COPY_STREAM, base, NULL, false);
	} else if (round == 800) {
		wait_for_copy(true);
		end_copy();
		assert_string_equal(block_info(block)->path, overlay_path(1));
		assert_int_equal(unlink(overlay_path(0)), 0);
		if (!base)
			assert_int_equal(rename(make_path("random"), overlay_path(0)), 0);
	} else if (round == 999 && !base) {
		assert_int_equal(rename(overlay_path(0), make_path("random")), 0);
	}
}

static void change_by_stream(struct block *block, unsigned round, const uint8_t *model)
{
	(void)model;
	stream(block, round, NULL);
}

static void change_by_stream_to_base(struct block *block, unsigned round, const uint8_t *model)
{
	(void)model;
	stream(block, round, make_path("random"));
}

/* What is done to a disk in a round of random_requests_and; `model` is what it holds when nothing is under way. */
typedef void disk_change(struct block *block, unsigned round, const uint8_t *model);

/* Random requests, up to 32 at once, none on top of another that writes; against a copy in memory. The disk changes
 * meanwhile; then it is the image at `last`, which NULL leaves to the format. */
static void random_requests_and(const char *format, enum block_aio aio, enum block_cache cache, disk_change *change,
				const char *last)
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
		if (change)
			change(block, round, model);
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
	if (last)
		assert_content(last, model, SIZE);
	free(flights);
	free(model);
	free(check);
}

static void random_requests(const char *format, enum block_aio aio, enum block_cache cache)
{
	random_requests_and(format, aio, cache, NULL, NULL);
}

static void test_changes(void **state)
{
	(void)state;
	random_requests_and("raw", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, change_disk, overlay_path(2));
	random_requests_and("raw", BLOCK_AIO_THREADS, BLOCK_CACHE_NONE, change_disk, overlay_path(2));
	random_requests_and("qcow2", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, change_disk, overlay_path(2));
	check_image(overlay_path(0));
	check_image(overlay_path(1));
	check_image(overlay_path(2));
}

static void test_copies(void **state)
{
	(void)state;
	then = malloc(ROUND_SIZE);
	random_requests_and("raw", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, change_by_backup, NULL);
	random_requests_and("qcow2", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, change_by_backup, NULL);
	check_image(overlay_path(0));
	random_requests_and("raw", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, change_by_mirror, overlay_path(0));
	check_image(overlay_path(0));
	random_requests_and("qcow2", BLOCK_AIO_THREADS, BLOCK_CACHE_WRITEBACK, change_by_mirror, overlay_path(0));
	random_requests_and("raw", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, change_by_commit, NULL);
	random_requests_and("qcow2", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, change_by_commit, NULL);
	free(then);
	random_requests_and("raw", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, change_by_stream, overlay_path(1));
	check_image(overlay_path(1));
	random_requests_and("qcow2", BLOCK_AIO_THREADS, BLOCK_CACHE_WRITEBACK, change_by_stream, overlay_path(1));
	random_requests_and("raw", BLOCK_AIO_THREADS, BLOCK_CACHE_WRITEBACK, change_by_stream_to_base, overlay_path(1));
	random_requests_and("qcow2", BLOCK_AIO_AUTO, BLOCK_CACHE_WRITEBACK, change_by_stream_to_base, overlay_path(1));
	check_image(overlay_path(1));
}

/* Zeroes that are written as data take no room in an image, and may give up what was there. */
static void test_zeroes(void **state)
{
	static const char *const formats[] = {"qcow2", "raw"};
	uint8_t *zeroes = calloc(1, MIB), *data = malloc(MIB);
	unsigned i, mode;

	(void)state;
	memset(data, 7, MIB);
	for (i = 0; i < 2; i++)
		for (mode = BLOCK_ZEROES_OFF; mode <= BLOCK_ZEROES_UNMAP; mode++) {
			struct block_options options = {.format = formats[i], .zeroes = mode, .discard = mode == BLOCK_ZEROES_UNMAP};
			struct block *block = open_started(make_image(formats[i], 4 * MIB), &options);
			struct image_extent extent;

			assert_int_equal(block_write(block, MIB, data, MIB), 0);
			assert_int_equal(block_write(block, MIB, zeroes, MIB), 0);
			assert_int_equal(block_write(block, 2 * MIB, zeroes, MIB), 0);
			data[0] = 1;
			assert_int_equal(block_read(block, MIB, data, MIB), 0);
			assert_memory_equal(data, zeroes, MIB);
			memset(data, 7, MIB);
			/* One byte that is none, at the end. */
			zeroes[MIB - 1] = 1;
			assert_int_equal(block_write(block, 3 * MIB, zeroes, MIB), 0);
			zeroes[MIB - 1] = 0;
			assert_int_equal(block_flush(block), 0);
			assert_int_equal(image_extent(block_image(block), 2 * MIB, MIB, 0, &extent), 0);
			assert_int_equal(extent.is_zero, mode != BLOCK_ZEROES_OFF);
			assert_int_equal(image_extent(block_image(block), MIB, MIB, 0, &extent), 0);
			assert_int_equal(extent.is_zero, mode == BLOCK_ZEROES_UNMAP || (i == 0 && mode == BLOCK_ZEROES_ON));
			assert_int_equal(image_extent(block_image(block), 3 * MIB, MIB, 0, &extent), 0);
			assert_false(extent.is_zero);
			assert_int_equal(block_close(block, NULL), 0);
		}
	free(zeroes);
	free(data);
}

#define PAUSE_SIZE (16 * MIB)

static uint64_t pause_copy(void)
{
	struct block_copy_status status;

	block_copy_pause(copy, true);
	do {
		usleep(1000);
		block_copy_look(copy, &status);
	} while (!status.is_paused);
	return status.done;
}

/* A backup that pauses copies what a write waits for, and no more than a run of it; a mirror that pauses is not ready; each
 * goes on, and a paused one can end. */
static void test_copy_pauses(void **state)
{
	struct block_options options = {.format = "raw"};
	struct block *block;
	struct block_copy_status status;
	uint8_t *data = malloc(PAUSE_SIZE);
	uint64_t done;

	(void)state;
	memset(data, 'a', PAUSE_SIZE);
	block = open_started(make_file("paused", PAUSE_SIZE), &options);
	assert_int_equal(block_write(block, 0, data, PAUSE_SIZE), 0);
	unlink(overlay_path(0));
	start_limited_copy(block, BLOCK_COPY_BACKUP, overlay_path(0), "raw", false, MIB);
	done = pause_copy();
	assert_true(done < PAUSE_SIZE);
	memset(data, 'b', 4096);
	assert_int_equal(block_write(block, PAUSE_SIZE - 4096, data, 4096), 0);
	usleep(50000);
	block_copy_look(copy, &status);
	assert_true(status.is_paused && !status.has_ended && status.done > done && status.done < PAUSE_SIZE);
	done = status.done;
	block_copy_set_speed(copy, 0);
	usleep(50000);
	block_copy_look(copy, &status);
	assert_int_equal(status.done, done);
	block_copy_pause(copy, false);
	wait_for_copy(true);
	end_copy();
	memset(data, 'a', PAUSE_SIZE);
	assert_content(overlay_path(0), data, PAUSE_SIZE);
	unlink(overlay_path(0));
	start_limited_copy(block, BLOCK_COPY_MIRROR, overlay_path(0), "raw", false, MIB);
	pause_copy();
	block_copy_set_speed(copy, 0);
	usleep(50000);
	block_copy_look(copy, &status);
	assert_false(status.is_ready);
	block_copy_pause(copy, false);
	wait_for_copy(false);
	done = pause_copy();
	memset(data, 'c', 4096);
	assert_int_equal(block_write(block, 0, data, 4096), 0);
	usleep(50000);
	block_copy_look(copy, &status);
	assert_int_equal(status.done, done);
	end_copy(); /* with what was written meanwhile, as it was ready */
	memset(data + PAUSE_SIZE - 4096, 'b', 4096);
	assert_content(overlay_path(0), data, PAUSE_SIZE);
	assert_int_equal(block_close(block, NULL), 0);
	free(data);
}

/* A disk that goes takes its copy with it. */
static void test_copy_without_disk(void **state)
{
	struct block_options options = {.format = "raw"};
	struct block *block = open_started(make_file("copied", 4 * MIB), &options);
	struct block_copy_status status;

	(void)state;
	unlink(overlay_path(0));
	start_copy(block, BLOCK_COPY_MIRROR, overlay_path(0), "raw", false);
	assert_int_equal(block_close(block, NULL), 0);
	block_copy_look(copy, &status);
	assert_true(status.has_ended);
	assert_int_equal(status.result, -ENODEV);
	end_copy();
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
		cmocka_unit_test(test_counts),	       cmocka_unit_test(test_copies), cmocka_unit_test(test_zeroes),
		cmocka_unit_test(test_copy_without_disk),
		cmocka_unit_test(test_copy_pauses),
		cmocka_unit_test(test_wrong_requests), cmocka_unit_test(test_disguise),
		cmocka_unit_test(test_locks),	       cmocka_unit_test(test_wrong_files),
		cmocka_unit_test(test_io_thread),      cmocka_unit_test(test_range_lock),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
