/*
 * Promise: when the medium fails while the header of a qcow2 image is to point to another table, the file holds a sound image,
 * whichever of the two it points to, and whatever is asked of the disk afterwards. And what kvik doesn't know of a header it keeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "block/image.h"
#include "block/qcow2/format.h"

static char path[] = "/dev/shm/kvik-failures-XXXXXX";
static int syncs_left = -1; /* that succeed; -1: all do */

/* In place of the C library's. */
int fdatasync(int fd)
{
	(void)fd;
	if (syncs_left == 0) {
		errno = EIO;
		return -1;
	}
	syncs_left -= syncs_left > 0;
	return 0;
}

static struct node *open_image(bool readonly, unsigned flags)
{
	struct block_options options = {.format = "qcow2", .readonly = readonly};
	struct error error = {""};
	struct node *image;

	if (image_open(path, &options, flags, &image, &error) < 0)
		fail_msg("%s", error.message);
	return image;
}

static void make_image(void)
{
	/* A cluster of the refcount table counts 2 MiB. */
	struct image_creation creation = {.format = "qcow2",
					  .size = 16 << 20,
					  .version = 3,
					  .cluster_size = 512,
					  .refcount_bits = 64,
					  .compression = "zlib"};
	struct error error;

	assert_int_equal(image_create(path, &creation, &error), 0);
}

static void check_image(unsigned round)
{
	struct image_check check;
	struct error error = {""};
	struct node *image;

	/* Whoever opens it next makes good what was under way. */
	image_close(open_image(false, 0));
	image = open_image(true, IMAGE_FOR_CHECK);
	assert_int_equal(image_check(image, IMAGE_REPAIR_NONE, &check, NULL, NULL, &error), 0);
	image_close(image);
	if (check.corruptions > 0)
		fail_msg("with %u syncs: %llu corruptions", round, (unsigned long long)check.corruptions);
}

static int grow_refcounts(struct node *image)
{
	static uint8_t data[4 << 20];

	memset(data, 1, sizeof(data));
	return image_write(image, 0, data, sizeof(data));
}

static int grow_l1(struct node *image)
{
	struct error error;

	return image_resize(image, 64 << 20, IMAGE_PREALLOCATION_OFF, &error);
}

static int make_snapshot(struct node *image)
{
	struct error error;

	return image_snapshot_create(image, "s", &error);
}

static void fail_syncs(int (*change)(struct node *image))
{
	static uint8_t data[1 << 20];
	struct node *image;
	unsigned round;
	int result = -1;

	memset(data, 2, sizeof(data));
	for (round = 0; result < 0; round++) {
		make_image();
		image = open_image(false, 0);
		assert_int_equal(image_write(image, 8 << 20, data, 100000), 0);
		assert_int_equal(image_flush(image), 0);
		syncs_left = round;
		result = change(image);
		if (result < 0) {
			image_write(image, 4 << 20, data, sizeof(data));
			image_write(image, 8 << 20, data, sizeof(data));
			image_zero(image, 0, 1 << 20, true);
			image_flush(image);
		}
		image_close(image);
		syncs_left = -1;
		check_image(round);
	}
	assert_true(round > 2);
}

static void test_refcount_table(void **state)
{
	(void)state;
	fail_syncs(grow_refcounts);
}

static void test_l1_table(void **state)
{
	(void)state;
	fail_syncs(grow_l1);
}

static void test_snapshots(void **state)
{
	(void)state;
	fail_syncs(make_snapshot);
}

static void test_unknown_fields(void **state)
{
	uint8_t header[160] = {0}, found[160];
	struct error error;
	struct node *image;
	unsigned i;
	int fd;

	(void)state;
	make_image();
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, header, sizeof(header), 0), sizeof(header));
	put_be32(header + HEADER_LENGTH, 136);
	for (i = HEADER_TAIL; i < 136; i++)
		header[i] = i;
	memset(header + 136, 0, sizeof(header) - 136);
	assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
	image = open_image(false, 0);
	assert_int_equal(image_snapshot_create(image, "s", &error), 0);
	assert_int_equal(image_close(image), 0);
	assert_int_equal(pread(fd, found, sizeof(found), 0), sizeof(found));
	assert_int_equal(get_be32(found + HEADER_SNAPSHOT_COUNT), 1);
	assert_int_equal(get_be32(found + HEADER_LENGTH), 136);
	assert_memory_equal(found + HEADER_TAIL, header + HEADER_TAIL, 136 - HEADER_TAIL);
	close(fd);
	check_image(0);
}

static void test_no_such_snapshot(void **state)
{
	struct error error = {""};
	struct node *image;

	(void)state;
	make_image();
	image = open_image(true, 0);
	assert_int_equal(image_snapshot_view(image, "nosuch", &error), -ENOENT);
	image_close(image);
}

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refcount_table), cmocka_unit_test(test_l1_table),
		cmocka_unit_test(test_snapshots),      cmocka_unit_test(test_unknown_fields),
		cmocka_unit_test(test_no_such_snapshot),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
