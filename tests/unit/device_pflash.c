/* Flash memory as firmware drives it, and the file that keeps what is in it. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/pflash.h"

#define SIZE (3 * PFLASH_BLOCK_BYTES)

static uint8_t initial[SIZE];

static struct pflash *open_flash(int fd)
{
	const struct pflash_config config = {.gpa = 0xffc00000, .fd = fd};
	struct pflash *flash;
	struct error error;
	unsigned i;

	for (i = 0; i < SIZE; i++)
		initial[i] = i * 7 | 1;
	flash = pflash_create(&config, initial, SIZE, &error);
	assert_non_null(flash);
	return flash;
}

static void put(struct pflash *flash, uint64_t offset, uint8_t value)
{
	pflash_mmio_ops.write(flash, offset, 1, value);
}

static uint64_t get(struct pflash *flash, uint64_t offset, unsigned size)
{
	return pflash_mmio_ops.read(flash, offset, size);
}

/* How OVMF finds out whether there is RAM, ROM or flash: by what a status read gives after a clearing. */
static void test_detection(void **state)
{
	struct pflash *flash = open_flash(-1);

	(void)state;
	assert_int_equal(get(flash, 9, 1), initial[9]);
	put(flash, 9, 0x50);
	assert_int_equal(get(flash, 9, 1), initial[9]);
	put(flash, 9, 0x70);
	assert_int_equal(get(flash, 9, 1), 0);
	put(flash, 9, 0xff);
	assert_int_equal(get(flash, 9, 1), initial[9]);
	/* A command that isn't one changes nothing. */
	put(flash, 9, 0x77);
	assert_int_equal(get(flash, 9, 1), initial[9]);
	pflash_device_ops.destroy(flash);
}

static void test_writing(void **state)
{
	struct pflash *flash = open_flash(-1);

	(void)state;
	/* Programming clears bits and sets none. */
	put(flash, 100, 0x10);
	put(flash, 100, 0xf0);
	assert_int_equal(get(flash, 100, 1), 0x80);
	put(flash, 0, 0xff);
	assert_int_equal(get(flash, 100, 1), initial[100] & 0xf0);
	assert_int_equal(get(flash, 99, 1), initial[99]);
	assert_int_equal(get(flash, 101, 1), initial[101]);
	/* Eight bytes at once, at the very end. */
	put(flash, 0, 0x40);
	pflash_mmio_ops.write(flash, SIZE - 8, 8, 0);
	put(flash, 0, 0xff);
	assert_true(get(flash, SIZE - 8, 8) == 0);
	assert_int_equal(get(flash, SIZE - 9, 1), initial[SIZE - 9]);
	/* Erasing sets the bits of one block, if it is confirmed. */
	put(flash, PFLASH_BLOCK_BYTES + 5, 0x20);
	put(flash, PFLASH_BLOCK_BYTES + 5, 0xff);
	assert_int_equal(get(flash, 0, 1), 0xb0);
	put(flash, 0, 0x50);
	assert_int_equal(get(flash, PFLASH_BLOCK_BYTES, 1), initial[PFLASH_BLOCK_BYTES]);
	put(flash, 2 * PFLASH_BLOCK_BYTES - 1, 0x20);
	put(flash, 2 * PFLASH_BLOCK_BYTES - 1, 0xd0);
	assert_int_equal(get(flash, 0, 1), 0x80);
	put(flash, 0, 0xff);
	assert_int_equal(get(flash, PFLASH_BLOCK_BYTES, 1), 0xff);
	assert_int_equal(get(flash, 2 * PFLASH_BLOCK_BYTES - 1, 1), 0xff);
	assert_int_equal(get(flash, PFLASH_BLOCK_BYTES - 1, 1), initial[PFLASH_BLOCK_BYTES - 1]);
	assert_int_equal(get(flash, 2 * PFLASH_BLOCK_BYTES, 1), initial[2 * PFLASH_BLOCK_BYTES]);
	/* A reset forgets a command that is under way. */
	put(flash, 7, 0x10);
	pflash_device_ops.reset(flash);
	put(flash, 7, 0xff);
	assert_int_equal(get(flash, 7, 1), initial[7]);
	pflash_device_ops.destroy(flash);
}

static uint8_t byte_of(int fd, off_t offset)
{
	uint8_t byte = 0x5a;

	assert_int_equal(pread(fd, &byte, 1, offset), 1);
	return byte;
}

/* The file has what was written once the array is read again, and nothing else has changed in it. */
static void test_file(void **state)
{
	int fd = memfd_create("flash", 0);
	struct pflash *flash = open_flash(fd);
	uint8_t bytes[SIZE];
	unsigned i;

	(void)state;
	assert_int_equal(write(fd, initial, SIZE), SIZE);
	put(flash, 5000, 0x10);
	put(flash, 5000, 0);
	put(flash, 300, 0x10);
	put(flash, 300, 0);
	assert_int_equal(byte_of(fd, 300), initial[300]);
	put(flash, 0, 0xff);
	assert_int_equal(byte_of(fd, 300) | byte_of(fd, 5000), 0);
	assert_int_equal(pread(fd, bytes, SIZE, 0), SIZE);
	for (i = 0; i < SIZE; i++)
		if (i != 300 && i != 5000)
			assert_int_equal(bytes[i], initial[i]);
	/* What is under way at the end is kept, too. */
	put(flash, 301, 0x10);
	put(flash, 301, 0);
	pflash_device_ops.destroy(flash);
	assert_int_equal(byte_of(fd, 301), 0);
	close(fd);
}

/* A file that cannot be written is told of, and the guest goes on. */
static void test_lost_file(void **state)
{
	int fd = open("/dev/null", O_RDONLY);
	struct pflash *flash = open_flash(fd);

	(void)state;
	put(flash, 1, 0x10);
	put(flash, 1, 0);
	put(flash, 1, 0xff);
	assert_int_equal(get(flash, 1, 1), 0);
	pflash_device_ops.destroy(flash);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_detection),
		cmocka_unit_test(test_writing),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_lost_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
