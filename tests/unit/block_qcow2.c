/*
 * Promise: a qcow2 image is the disk that was written to it, over every feature of the format, through
 * closing, snapshots and changes of size; and its structure is sound and without leaks afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "block/block.h"
#include "block/image.h"
#include "block/node.h"
#include "block/qcow2/format.h"
#include "../block_wait.h"

/* In memory, if possible: this is about content, and makes many barriers. */
static char folder[32] = "/dev/shm/kvik-qcow2-XXXXXX";

static char *path_of(const char *name)
{
	static char paths[4][256];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void say(void *context, const char *line)
{
	(void)context;
	print_message("%s\n", line);
}

static struct node *open_image(const char *path, bool readonly)
{
	struct block_options options = {
		.format = "qcow2", .discard = true, .readonly = readonly, .cache = BLOCK_CACHE_UNSAFE};
	struct error error = {""};
	struct node *image;

	if (image_open(path, &options, 0, &image, &error) < 0)
		fail_msg("%s", error.message);
	return image;
}

static void check_image(const char *path)
{
	struct block_options options = {.format = "qcow2", .readonly = true};
	struct image_check check;
	struct error error = {""};
	struct node *image;

	assert_int_equal(image_open(path, &options, IMAGE_FOR_CHECK | IMAGE_ALONE, &image, &error), 0);
	assert_int_equal(image_check(image, IMAGE_REPAIR_NONE, &check, say, NULL, &error), 0);
	assert_int_equal(check.corruptions, 0);
	assert_int_equal(check.leaks, 0);
	image_close(image);
}

static void fill(uint8_t *data, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		data[i] = random();
}

struct variant {
	const char *name;
	unsigned version, refcount_bits;
	uint64_t cluster_size;
	bool is_extended, is_lazy, is_raw_data, has_backing;
	const char *compression, *data_file;
	unsigned rounds;
};

static const struct variant variants[] = {
	{"plain", 3, 16, 65536, .rounds = 400},
	{"version 2", 2, 16, 65536, .has_backing = true, .rounds = 300},
	{"clusters of 512", 3, 16, 512, .rounds = 300, .has_backing = true},
	{"clusters of 2M", 3, 16, 2 << 20, .rounds = 40, .has_backing = true},
	{"backing file", 3, 16, 4096, .has_backing = true, .rounds = 400},
	{"extended", 3, 16, 65536, .is_extended = true, .rounds = 400},
	{"extended, backing file", 3, 16, 16384, .is_extended = true, .has_backing = true,
	 .rounds = 400},
	{"lazy", 3, 16, 4096, .is_lazy = true, .has_backing = true, .rounds = 300},
	{"refcounts of 64 bits", 3, 64, 512, .rounds = 200},
	{"refcounts of 2 bits", 3, 2, 4096, .rounds = 200},
	{"zstd", 3, 16, 65536, .compression = "zstd", .has_backing = true, .rounds = 300},
	{"data file", 3, 16, 65536, .data_file = "data", .has_backing = true, .rounds = 300},
	{"raw data file", 3, 16, 65536, .data_file = "data", .is_raw_data = true, .rounds = 300},
	{"refcounts of 1 bit", 3, 1, 4096, .rounds = 200},
};

#define DISK_BYTES (3u * 1024 * 1024 + 512 * 5)
#define BASE_BYTES (2u * 1024 * 1024 + 512 * 3)

static void make_base(const struct variant *variant, uint8_t *model)
{
	struct image_creation creation = {.format = "raw", .size = BASE_BYTES};
	struct block_options options = {.format = "raw"};
	struct error error;
	struct node *base;

	if (!variant->has_backing)
		return;
	assert_int_equal(image_create(path_of("base"), &creation, &error), 0);
	assert_int_equal(image_open(path_of("base"), &options, 0, &base, &error), 0);
	fill(model, BASE_BYTES / 2);
	assert_int_equal(image_write(base, 0, model, BASE_BYTES), 0);
	image_close(base);
}

static void make_image(const struct variant *variant, const char *path)
{
	struct image_creation creation = {
		.format = "qcow2",
		.size = DISK_BYTES,
		.version = variant->version,
		.cluster_size = variant->cluster_size,
		.refcount_bits = variant->refcount_bits,
		.is_lazy = variant->is_lazy,
		.is_extended = variant->is_extended,
		.is_data_raw = variant->is_raw_data,
		.compression = variant->compression ? variant->compression : "zlib",
		.data_file = variant->data_file,
		.backing = variant->has_backing ? "base" : NULL,
		.backing_format = variant->has_backing ? "raw" : NULL,
	};
	struct error error;

	if (variant->data_file)
		creation.data_file = path_of(variant->data_file);
	if (image_create(path, &creation, &error) < 0)
		fail_msg("%s: %s", variant->name, error.message);
}

/* One random change of the image, and of its model. */
static void change(struct node *image, const struct variant *variant, uint8_t *model)
{
	static uint8_t data[1 << 21];
	uint64_t offset = random() % (DISK_BYTES / 512) * 512;
	uint64_t size = random() % 3 ? 512 * (1 + random() % 64) : 512 * (1 + random() % 2048);
	unsigned kind = random() % 16;

	if (size > DISK_BYTES - offset)
		size = DISK_BYTES - offset;
	if (kind < 9) {
		fill(data, size);
		assert_int_equal(image_write(image, offset, data, size), 0);
		memcpy(model + offset, data, size);
	} else if (kind < 12) {
		assert_int_equal(image_zero(image, offset, size, kind & 1), 0);
		memset(model + offset, 0, size);
	} else if (kind < 13) {
		/* A discarded range may read as zeroes or as before. */
		assert_int_equal(image->driver->discard(image, offset, size), 0);
		assert_int_equal(image_read(image, offset, data, size), 0);
		for (uint64_t i = 0; i < size; i++)
			assert_true(data[i] == 0 || data[i] == model[offset + i]);
		memcpy(model + offset, data, size);
	} else if (kind < 14 && !variant->data_file) {
		offset -= offset % variant->cluster_size;
		size = variant->cluster_size;
		if (size > DISK_BYTES - offset)
			size = DISK_BYTES - offset;
		memset(data, random(), size);
		fill(data, size / 4);
		assert_int_equal(image_write_compressed(image, offset, data, size), 0);
		memcpy(model + offset, data, size);
	} else if (kind < 15) {
		assert_int_equal(image_flush(image), 0);
	}
}

static void compare(struct node *image, const uint8_t *model, uint64_t size)
{
	uint8_t *data = malloc(size);
	uint64_t i;

	assert_int_equal(image_read(image, 0, data, size), 0);
	for (i = 0; i < size; i++)
		if (data[i] != model[i])
			fail_msg("byte %#lx is %#x and should be %#x", i, data[i], model[i]);
	free(data);
}

static void random_changes(const struct variant *variant)
{
	uint8_t *model = calloc(1, DISK_BYTES), *kept = malloc(DISK_BYTES);
	bool has_snapshots = !variant->data_file && variant->refcount_bits > 1;
	char *path = path_of("image");
	struct node *image;
	struct error error = {""};
	bool has_kept = false;
	unsigned i;

	make_base(variant, model);
	make_image(variant, path);
	image = open_image(path, false);
	for (i = 1; i <= variant->rounds; i++) {
		change(image, variant, model);
		if (i % 50 == 0) {
			compare(image, model, DISK_BYTES);
			assert_int_equal(image_close(image), 0);
			check_image(path);
			image = open_image(path, false);
		}
		if (has_snapshots && i % 70 == 0 && !has_kept) {
			int result = image_snapshot_create(image, "kept", &error);

			/* Compressed clusters may have used up what a narrow refcount can say. */
			if (result < 0 && !(result == -ERANGE && variant->refcount_bits == 2))
				fail_msg("%s: %s", variant->name, error.message);
			memcpy(kept, model, DISK_BYTES);
			has_kept = result == 0;
		} else if (has_kept && i % 70 == 35) {
			if (random() % 2) {
				assert_int_equal(image_snapshot_apply(image, "kept", &error), 0);
				memcpy(model, kept, DISK_BYTES);
			}
			assert_int_equal(image_snapshot_delete(image, "kept", &error), 0);
			has_kept = false;
		}
	}
	compare(image, model, DISK_BYTES);
	assert_int_equal(image_close(image), 0);
	check_image(path);
	if (has_kept) {
		image = open_image(path, true);
		assert_int_equal(image_snapshot_view(image, "kept", &error), 0);
		compare(image, kept, DISK_BYTES);
		image_close(image);
	}
	free(model);
	free(kept);
}

static void test_variants(void **state)
{
	unsigned seed = time(NULL), i;

	(void)state;
	if (getenv("SEED"))
		seed = strtoul(getenv("SEED"), NULL, 0);
	print_message("SEED=%u\n", seed);
	for (i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
		print_message("%s\n", variants[i].name);
		srandom(seed + i);
		random_changes(&variants[i]);
	}
}

static void write_state(struct block *block, const uint8_t *state, uint64_t size)
{
	uint64_t unit = block_state_unit(block), at, part;

	for (at = 0; at < size; at += part) {
		part = size - at < unit ? size - at : unit;
		assert_int_equal(block_state_write(block, at, state + at, part), 0);
	}
}

static void compare_state(struct block *block, const char *id, const uint8_t *state, uint64_t size)
{
	uint8_t *found = malloc(size + 1);
	struct error error = {""};
	uint64_t at, part;

	assert_int_equal(block_state_open(block, id, &error), 0);
	for (at = 0; at < size; at += part) {
		part = random() % 100000 + 1;
		part = size - at < part ? size - at : part;
		assert_int_equal(block_state_read(block, at, found + at, part), 0);
	}
	assert_int_equal(block_state_read(block, size, found, 1), -EPIPE);
	assert_int_equal(block_state_read(block, UINT64_MAX, found, 1), -EPIPE);
	block_state_close(block);
	assert_memory_equal(found, state, size);
	free(found);
}

static struct block *open_block(const char *path)
{
	struct block_options options = {.format = "qcow2", .cache = BLOCK_CACHE_UNSAFE, .aio = BLOCK_AIO_THREADS};
	struct error error = {""};
	struct block *block;

	if (block_open(path, &options, &block, &error) < 0 || block_start(block, &error) < 0)
		fail_msg("%s", error.message);
	return block;
}

#define STATE_BYTES (5u << 20)

/* A machine's state is its snapshot's, whatever becomes of the disk, and costs nothing once that is gone. */
static void keep_states(const struct variant *variant)
{
	uint8_t *model = calloc(1, DISK_BYTES), *first = malloc(DISK_BYTES), *found = malloc(DISK_BYTES);
	uint8_t *states[2] = {malloc(STATE_BYTES), malloc(STATE_BYTES)};
	uint64_t sizes[2] = {STATE_BYTES - random() % 65536, random() % STATE_BYTES + 1};
	struct block_snapshot snapshot = {.name = "a", .seconds = 7, .nanoseconds = 8, .clock_ns = 9};
	struct error error = {""};
	char *path = path_of("states");
	struct block *block;
	unsigned i;

	make_base(variant, model);
	make_image(variant, path);
	block = open_block(path);
	assert_int_equal(block_can_snapshot(block, &error), 0);
	fill(states[0], STATE_BYTES);
	fill(states[1], STATE_BYTES);
	for (i = 0; i < 2; i++) {
		fill(model + 100000 * i, 300000);
		assert_int_equal(block_write(block, 100000 * i / 512 * 512, model + 100000 * i / 512 * 512, 300032), 0);
		if (i == 0)
			memcpy(first, model, DISK_BYTES);
		/* One that nobody made a snapshot of goes when the next one comes. */
		write_state(block, states[!i], sizes[!i]);
		write_state(block, states[i], sizes[i]);
		snapshot.state_bytes = sizes[i];
		assert_int_equal(block_snapshot_create(block, &snapshot, &error), 0);
	}
	compare_state(block, "1", states[0], sizes[0]);
	/* A process that ends here leaves it in the image. */
	write_state(block, states[0], sizes[0]);
	assert_int_equal(block_close(block, &error), 0);
	check_image(path);

	block = open_block(path);
	assert_int_equal(block_snapshot_count(block), 2);
	block_snapshot_describe(block, 1, &snapshot);
	assert_string_equal(snapshot.name, "a");
	assert_string_equal(snapshot.id, "2");
	assert_true(snapshot.state_bytes == sizes[1] && snapshot.seconds == 7 && snapshot.nanoseconds == 8 &&
		    snapshot.clock_ns == 9 && snapshot.disk_bytes == block_info(block)->size_bytes);
	compare_state(block, "2", states[1], sizes[1]);
	compare_state(block, "1", states[0], sizes[0]);
	assert_int_equal(block_snapshot_apply(block, "1", &error), 0);
	assert_int_equal(block_read(block, 0, found, DISK_BYTES), 0);
	assert_memory_equal(found, first, DISK_BYTES);
	compare_state(block, "1", states[0], sizes[0]);
	assert_int_equal(block_state_open(block, "3", &error), -ENOENT);
	assert_int_equal(block_snapshot_delete(block, "1", &error), 0);
	compare_state(block, "2", states[1], sizes[1]);
	assert_int_equal(block_snapshot_delete(block, "2", &error), 0);
	block_state_drop(block);
	assert_int_equal(block_read(block, 0, found, DISK_BYTES), 0);
	assert_memory_equal(found, first, DISK_BYTES);
	assert_int_equal(block_close(block, &error), 0);
	check_image(path);
	free(model);
	free(first);
	free(found);
	free(states[0]);
	free(states[1]);
}

static void test_states(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(variants) / sizeof(variants[0]); i++) {
		if (variants[i].data_file || variants[i].refcount_bits < 16)
			continue;
		print_message("%s\n", variants[i].name);
		keep_states(&variants[i]);
	}
}

static void test_resize(void **state)
{
	const struct variant variant = {"resize", 3, 16, 4096, .has_backing = true};
	uint8_t *model = calloc(1, DISK_BYTES * 2);
	struct error error = {""};
	char *path = path_of("resized");
	struct node *image;

	(void)state;
	make_base(&variant, model);
	make_image(&variant, path);
	image = open_image(path, false);
	fill(model, DISK_BYTES);
	assert_int_equal(image_write(image, 0, model, DISK_BYTES), 0);
	/* Cut within a cluster, and inside of the backing file's size; then longer again. */
	assert_int_equal(image_resize(image, 512 * 1001, IMAGE_PREALLOCATION_OFF, &error), 0);
	compare(image, model, 512 * 1001);
	memset(model + 512 * 1001, 0, DISK_BYTES * 2 - 512 * 1001);
	assert_int_equal(image_resize(image, DISK_BYTES * 2, IMAGE_PREALLOCATION_METADATA, &error), 0);
	compare(image, model, DISK_BYTES * 2);
	assert_int_equal(image_close(image), 0);
	check_image(path);
	image = open_image(path, false);
	compare(image, model, DISK_BYTES * 2);
	assert_int_equal(image_resize(image, 1ull << 40, IMAGE_PREALLOCATION_OFF, &error), 0);
	assert_int_equal(image_write(image, (1ull << 40) - 512, model, 512), 0);
	assert_int_equal(image_resize(image, 1ull << 62, IMAGE_PREALLOCATION_OFF, &error), -EFBIG);
	assert_int_equal(image_close(image), 0);
	check_image(path);
	free(model);
}

/* An image whose tables point into one another is refused further writes, and says so for ever. */
static void test_damage(void **state)
{
	const struct variant variant = {"damaged", 3, 16, 65536};
	struct block_options options = {.format = "qcow2"};
	struct image_description description;
	char *path = path_of("damaged");
	uint8_t data[512] = {1}, field[8];
	struct image_check check;
	struct error error;
	struct node *image;
	uint64_t l1, l2;
	int fd;

	(void)state;
	make_image(&variant, path);
	image = open_image(path, false);
	assert_int_equal(image_write(image, 0, data, 512), 0);
	assert_int_equal(image_close(image), 0);
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, field, 8, HEADER_L1_OFFSET), 8);
	l1 = get_be64(field);
	assert_int_equal(pread(fd, field, 8, l1), 8);
	l2 = get_be64(field) & ENTRY_OFFSET;
	/* The second cluster is where the refcount table is. */
	put_be64(field, 65536 | ENTRY_COPIED);
	assert_int_equal(pwrite(fd, field, 8, l2 + 8), 8);

	image = open_image(path, false);
	assert_int_equal(image_write(image, 65536, data, 512), -EIO);
	assert_int_equal(image_write(image, 0, data, 512), -EIO);
	assert_int_equal(image_read(image, 0, data, 512), 0);
	assert_int_equal(image_close(image), -EIO);
	assert_int_equal(image_open(path, &options, 0, &image, &error), -EIO);
	image = open_image(path, true);
	image_describe(image, &description);
	assert_true(description.is_corrupt);
	image_close(image);

	/* Without the entry it can be made whole. */
	put_be64(field, 0);
	assert_int_equal(pwrite(fd, field, 8, l2 + 8), 8);
	close(fd);
	assert_int_equal(image_open(path, &options, IMAGE_FOR_CHECK, &image, &error), 0);
	assert_int_equal(image_check(image, IMAGE_REPAIR_ALL, &check, NULL, NULL, &error), 0);
	assert_int_equal(check.corruptions, 0);
	image_close(image);
	check_image(path);
	image = open_image(path, false);
	assert_int_equal(image_write(image, 65536, data, 512), 0);
	assert_int_equal(image_close(image), 0);
}

static uint64_t space_of(const char *path)
{
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	return status.st_blocks * 512ull;
}

/* Refcounts that were lost are counted anew; in a file that is far larger than what is in it, too. */
static void test_repair(void **state)
{
	const struct variant variant = {"repaired", 3, 16, 4096};
	struct block_options options = {.format = "qcow2"};
	uint8_t *model = calloc(1, DISK_BYTES), zeroes[4096] = {0}, field[8];
	char *path = path_of("repaired");
	struct image_check check;
	struct error error = {""};
	struct node *image;
	uint64_t block, space;
	int fd;

	(void)state;
	make_image(&variant, path);
	image = open_image(path, false);
	fill(model, DISK_BYTES / 2);
	assert_int_equal(image_write(image, 0, model, DISK_BYTES / 2), 0);
	assert_int_equal(image_snapshot_create(image, "s", &error), 0);
	assert_int_equal(image_write(image, 0, model, 10000), 0);
	assert_int_equal(image_close(image), 0);
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, field, 8, 4096), 8);
	block = get_be64(field);
	assert_int_equal(pwrite(fd, zeroes, 2000, block), 2000);
	put_be64(field, INCOMPATIBLE_DIRTY);
	assert_int_equal(pwrite(fd, field, 8, HEADER_INCOMPATIBLE), 8);
	assert_int_equal(ftruncate(fd, 64ull << 30), 0);
	close(fd);
	space = space_of(path);

	options.readonly = true;
	assert_int_equal(image_open(path, &options, IMAGE_FOR_CHECK, &image, &error), 0);
	assert_int_equal(image_check(image, IMAGE_REPAIR_NONE, &check, NULL, NULL, &error), 0);
	assert_true(check.corruptions > 300);
	image_close(image);
	/* The dirty bit has whoever opens it repair it. Refcount blocks for all of the file would be 32 MiB. */
	image = open_image(path, false);
	assert_in_range(space_of(path), space, space + (2 << 20));
	compare(image, model, DISK_BYTES);
	assert_int_equal(image_write(image, DISK_BYTES / 2, model, 100000), 0);
	memcpy(model + DISK_BYTES / 2, model, 100000);
	assert_int_equal(image_snapshot_delete(image, "s", &error), 0);
	compare(image, model, DISK_BYTES);
	assert_int_equal(image_close(image), 0);
	check_image(path);
	free(model);
}

static void test_snapshot_option(void **state)
{
	const struct variant variant = {"snapshot", 3, 16, 65536};
	struct block_options options = {.snapshot = true};
	uint8_t data[1024] = {1, 2, 3}, read[1024];
	char *path = path_of("kept");
	struct error error = {""};
	struct block *block;
	struct node *image;

	(void)state;
	make_image(&variant, path);
	setenv("TMPDIR", folder, 1);
	if (block_open(path, &options, &block, &error) < 0 || block_start(block, &error) < 0)
		fail_msg("%s", error.message);
	assert_int_equal(block_write(block, 1024, data, 1024), 0);
	assert_int_equal(block_read(block, 1024, read, 1024), 0);
	assert_memory_equal(data, read, 1024);
	assert_int_equal(block_close(block, &error), 0);
	image = open_image(path, true);
	assert_int_equal(image_read(image, 1024, read, 1024), 0);
	assert_int_equal(read[0], 0);
	image_close(image);
}

static int make_folder(void **state)
{
	(void)state;
	if (mkdtemp(folder))
		return 0;
	strcpy(folder, "/tmp/kvik-qcow2-XXXXXX");
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
		cmocka_unit_test(test_variants),
		cmocka_unit_test(test_states), cmocka_unit_test(test_resize),
		cmocka_unit_test(test_damage),	 cmocka_unit_test(test_repair),
		cmocka_unit_test(test_snapshot_option),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
