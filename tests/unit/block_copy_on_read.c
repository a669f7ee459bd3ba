/*
 * Promise: with copies_on_read what a guest reads from images below is the topmost image's own afterwards, and nothing else
 * is; what is read is the same with it and without, by many at once, and where nothing can be written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../block_wait.h"
#include "block/block.h"
#include "block/image.h"

#define MIB	(1u << 20)
#define SIZE	(4 * MIB)
#define CLUSTER 65536u

static char folder[] = "/tmp/kvik-copied-XXXXXX";
static uint8_t content[SIZE];

static char *path_of(const char *name)
{
	static char paths[2][64];
	static unsigned which;
	char *path = paths[which++ % 2];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static void make(void)
{
	struct image_creation creation = {.format = "qcow2", .size = SIZE, .version = 3, .cluster_size = CLUSTER,
					  .refcount_bits = 16, .compression = "zlib", .backing = "base",
					  .backing_format = "raw"};
	struct error error = {""};
	FILE *file = fopen(path_of("base"), "w");
	size_t i;

	assert_non_null(file);
	for (i = 0; i < SIZE; i++)
		content[i] = i / CLUSTER % 4 == 3 ? 0 : i * 2654435761u >> 24;
	assert_int_equal(fwrite(content, SIZE, 1, file), 1);
	fclose(file);
	unlink(path_of("top"));
	if (image_create(path_of("top"), &creation, &error) < 0)
		fail_msg("%s", error.message);
}

static struct block *open_top(bool copies, bool readonly, enum block_aio aio)
{
	const struct block_options options = {.format = "qcow2", .copies_on_read = copies, .readonly = readonly, .aio = aio};
	struct error error = {""};
	struct block *block;

	if (block_open(path_of("top"), &options, &block, &error) < 0 || block_start(block, &error) < 0)
		fail_msg("%s", error.message);
	return block;
}

/* Whether the topmost image alone has a cluster. */
static bool has_own(unsigned cluster)
{
	const struct block_options options = {.format = "qcow2", .readonly = true};
	struct image_extent extent;
	struct node *image;
	struct error error;

	assert_int_equal(image_open(path_of("top"), &options, 0, &image, &error), 0);
	assert_int_equal(image_extent(image, (uint64_t)cluster * CLUSTER, CLUSTER, 1, &extent), 0);
	image_close(image);
	return extent.is_present;
}

static void read_some(struct block *block, uint64_t offset, size_t size)
{
	uint8_t *bytes = malloc(size);

	assert_non_null(bytes);
	assert_int_equal(block_read(block, offset, bytes, size), 0);
	assert_memory_equal(bytes, content + offset, size);
	free(bytes);
}

static void try_copies(enum block_aio aio)
{
	struct block *block;
	unsigned i;

	make();
	block = open_top(true, false, aio);
	/* Parts of clusters, zeroes among them; once more; and what was written in between. */
	read_some(block, CLUSTER + 4096, 3 * CLUSTER);
	read_some(block, CLUSTER + 4096, 3 * CLUSTER);
	memset(content + 9 * CLUSTER, 'w', 4096);
	assert_int_equal(block_write(block, 9 * CLUSTER, content + 9 * CLUSTER, 4096), 0);
	read_some(block, 8 * CLUSTER, 3 * CLUSTER);
	assert_int_equal(block_close(block, NULL), 0);
	for (i = 0; i < SIZE / CLUSTER; i++)
		assert_int_equal(has_own(i), (i >= 1 && i <= 4) || (i >= 8 && i <= 10));
	block = open_top(false, false, aio);
	read_some(block, 0, SIZE);
	assert_int_equal(block_close(block, NULL), 0);
	assert_false(has_own(0));
}

static void test_copies(void **state)
{
	(void)state;
	try_copies(BLOCK_AIO_THREADS);
	try_copies(BLOCK_AIO_AUTO);
}

static void test_readonly(void **state)
{
	struct block *block;

	(void)state;
	make();
	block = open_top(true, true, BLOCK_AIO_AUTO);
	read_some(block, 0, SIZE);
	assert_int_equal(block_close(block, NULL), 0);
	assert_false(has_own(0));
}

/* Readers and writers of the same clusters at once: each write is there, whatever was copied beside it. */
#define WRITES 64
static void test_at_once(void **state)
{
	static struct waited_request writes[WRITES], reads[WRITES];
	static struct iovec vectors[2][WRITES];
	static uint8_t bytes[WRITES][CLUSTER];
	struct block_request *all[2 * WRITES];
	struct block *block;
	unsigned i;

	(void)state;
	make();
	block = open_top(true, false, BLOCK_AIO_AUTO);
	for (i = 0; i < WRITES; i++) {
		uint64_t offset = (uint64_t)i * (SIZE / WRITES);

		memset(content + offset, i, 512);
		vectors[0][i] = (struct iovec){content + offset, 512};
		vectors[1][i] = (struct iovec){bytes[i], CLUSTER};
		writes[i].request = (struct block_request){.operation = BLOCK_WRITE, .offset = offset, .size = 512,
			.vector = &vectors[0][i], .vector_count = 1, .complete = waited_complete, .context = &writes[i]};
		reads[i].request = (struct block_request){.operation = BLOCK_READ, .offset = offset, .size = CLUSTER,
			.vector = &vectors[1][i], .vector_count = 1, .complete = waited_complete, .context = &reads[i]};
		sem_init(&writes[i].done, 0, 0);
		sem_init(&reads[i].done, 0, 0);
		all[2 * i] = &reads[i].request;
		all[2 * i + 1] = &writes[i].request;
	}
	block_submit(block, all, 2 * WRITES);
	block_drain(block);
	for (i = 0; i < WRITES; i++) {
		assert_int_equal(writes[i].result, 0);
		assert_int_equal(reads[i].result, 0);
		assert_memory_equal(bytes[i] + 512, content + i * CLUSTER + 512, CLUSTER - 512);
	}
	read_some(block, 0, SIZE);
	assert_int_equal(block_close(block, NULL), 0);
	for (i = 0; i < SIZE / CLUSTER; i++)
		assert_true(has_own(i));
}

static int clean(void **state)
{
	(void)state;
	unlink(path_of("top"));
	unlink(path_of("base"));
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copies), cmocka_unit_test(test_readonly), cmocka_unit_test(test_at_once)};

	if (!mkdtemp(folder))
		return 1;
	return cmocka_run_group_tests(tests, NULL, clean);
}
