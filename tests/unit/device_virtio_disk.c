/* virtio-blk on a file: each request and each way to get one wrong, the write cache, what is lost at a reset. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "device/virtio/disk.h"
#include "virtio_driver.h"

#define SECTORS	64
#define HEADER	DRIVER_DATA
#define DATA	(DRIVER_DATA + 0x1000)
#define STATUS	(DRIVER_DATA + 0x8000)
#define FEATURES                                                                                   \
	(1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_CONFIG_WCE |                            \
	 1ull << VIRTIO_BLK_F_WRITE_ZEROES)

static struct driver driver;
static struct block *opened;
static int fd;

static void open_disk(bool is_readonly)
{
	struct block_options options = {.format = "raw", .readonly = is_readonly,
					.serial = "serial-0123456789xyz", .unlocked = true,
					.aio = BLOCK_AIO_THREADS};
	struct error error;
	unsigned i;

	fd = memfd_create("disk", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, SECTORS * 512), 0);
	for (i = 0; i < SECTORS; i++)
		assert_int_equal(pwrite(fd, &i, sizeof(i), i * 512), sizeof(i));
	driver_init(&driver);
	assert_int_equal(block_open_fd(fd, "test", &options, &opened, &error), 0);
	driver_start(&driver, virtio_disk_create(&driver.host, opened, 2, &error),
		     is_readonly ? 0 : FEATURES);
}

static void close_disk(void)
{
	driver.virtio->kind->destroy(driver.virtio);
	close(fd);
}

static unsigned request(unsigned queue, uint32_t type, uint64_t sector, uint32_t bytes, bool is_read,
			uint32_t *written)
{
	struct virtio_blk_outhdr *header = driver_at(&driver, HEADER);
	uint8_t *status = driver_at(&driver, STATUS);
	const struct driver_buffer buffers[] = {{HEADER, sizeof(*header), false},
						{DATA, bytes, is_read},
						{STATUS, 1, true}};
	const struct driver_buffer plain[] = {{HEADER, sizeof(*header), false}, {STATUS, 1, true}};
	uint32_t length;

	*header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
	*status = 0x55;
	length = bytes ? driver_do(&driver, queue, buffers, 3) : driver_do(&driver, queue, plain, 2);
	if (written)
		*written = length;
	return *status;
}

static void test_transfers(void **state)
{
	unsigned *data = driver_at(&driver, DATA), value = 0;
	uint32_t written;

	(void)state;
	open_disk(false);
	assert_int_equal(request(0, VIRTIO_BLK_T_IN, 7, 1024, true, &written), VIRTIO_BLK_S_OK);
	assert_int_equal(written, 1025);
	assert_int_equal(data[0], 7);
	assert_int_equal(data[128], 8);
	data[0] = 0xabcd;
	assert_int_equal(request(1, VIRTIO_BLK_T_OUT, SECTORS - 1, 512, false, &written),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(written, 1);
	assert_int_equal(pread(fd, &value, sizeof(value), (SECTORS - 1) * 512), sizeof(value));
	assert_int_equal(value, 0xabcd);
	assert_int_equal(request(0, VIRTIO_BLK_T_FLUSH, 0, 0, false, NULL), VIRTIO_BLK_S_OK);
	memset(data, 'x', 32);
	assert_int_equal(request(0, VIRTIO_BLK_T_GET_ID, 0, 20, true, NULL), VIRTIO_BLK_S_OK);
	assert_memory_equal(data, "serial-0123456789xyzxx", 22);
	/* A request without data is one that has nothing to do. */
	assert_int_equal(request(0, VIRTIO_BLK_T_IN, 0, 0, true, NULL), VIRTIO_BLK_S_OK);
	assert_true(driver.interrupts >= 5);
	close_disk();
}

/* Another size: the configuration says it, under another generation, and the guest is told. */
static void test_resized(void **state)
{
	unsigned before;
	uint64_t sectors = 0;
	uint8_t generation;
	struct error error;

	(void)state;
	open_disk(false);
	before = driver.config_interrupts;
	generation = driver.virtio->generation;
	assert_int_equal(block_resize(opened, 2 * SECTORS * 512, &error), 0);
	virtio_read_config(driver.virtio, 0, 8, (uint8_t *)&sectors);
	assert_int_equal(sectors, 2 * SECTORS);
	assert_int_equal(driver.config_interrupts, before + 1);
	assert_int_not_equal(driver.virtio->generation, generation);
	assert_int_equal(request(0, VIRTIO_BLK_T_OUT, 2 * SECTORS - 1, 512, false, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(request(0, VIRTIO_BLK_T_OUT, 2 * SECTORS, 512, false, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(block_resize(opened, 512, &error), 0);
	assert_int_equal(request(0, VIRTIO_BLK_T_IN, 1, 512, true, NULL), VIRTIO_BLK_S_IOERR);
	close_disk();
}

static void test_zeroes(void **state)
{
	struct virtio_blk_discard_write_zeroes *segment = driver_at(&driver, DATA);
	unsigned value = 1;

	(void)state;
	open_disk(false);
	*segment = (struct virtio_blk_discard_write_zeroes){3, 2, 1};
	assert_int_equal(request(0, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false, NULL), VIRTIO_BLK_S_OK);
	assert_int_equal(pread(fd, &value, sizeof(value), 4 * 512), sizeof(value));
	assert_int_equal(value, 0);
	assert_int_equal(pread(fd, &value, sizeof(value), 5 * 512), sizeof(value));
	assert_int_equal(value, 5);
	segment->flags = 2;
	assert_int_equal(request(0, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false, NULL),
			 VIRTIO_BLK_S_UNSUPP);
	*segment = (struct virtio_blk_discard_write_zeroes){SECTORS - 1, 2, 0};
	assert_int_equal(request(0, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(0, VIRTIO_BLK_T_DISCARD, 0, 32, false, NULL), VIRTIO_BLK_S_IOERR);
	segment->sector = UINT64_MAX / 512 + 1;
	assert_int_equal(request(0, VIRTIO_BLK_T_DISCARD, 0, 16, false, NULL), VIRTIO_BLK_S_IOERR);
	close_disk();
}

static void test_refused(void **state)
{
	uint32_t written;

	(void)state;
	open_disk(true);
	assert_int_equal(request(0, VIRTIO_BLK_T_IN, SECTORS - 1, 1024, true, &written),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(0, VIRTIO_BLK_T_IN, SECTORS, 512, true, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(0, VIRTIO_BLK_T_IN, UINT64_MAX, 512, true, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(0, VIRTIO_BLK_T_IN, 1ull << 55, 512, true, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(0, VIRTIO_BLK_T_IN, 0, 100, true, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(0, VIRTIO_BLK_T_OUT, 0, 512, false, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(0, VIRTIO_BLK_T_GET_ID, 0, 19, true, NULL), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(0, 99, 0, 512, true, NULL), VIRTIO_BLK_S_UNSUPP);
	assert_true(virtio_offered(driver.virtio) >> VIRTIO_BLK_F_RO & 1);
	assert_int_equal(virtio_status(driver.virtio), 15);
	close_disk();
}

/* What cannot even be answered breaks the device, until it is reset. */
static void test_broken(void **state)
{
	const struct driver_buffer buffers[] = {{HEADER, 15, false}, {STATUS, 1, true}};
	uint32_t written;

	(void)state;
	open_disk(false);
	driver_offer(&driver, 0, buffers, 2);
	virtio_notify(driver.virtio, 0);
	while (!(virtio_status(driver.virtio) & VIRTIO_CONFIG_S_NEEDS_RESET))
		usleep(100);
	assert_int_equal(driver.config_interrupts, 1);
	assert_false(driver_take(&driver, 0, &written));
	driver_start(&driver, driver.virtio, FEATURES);
	driver.descriptor[0] = 0;
	assert_int_equal(request(0, VIRTIO_BLK_T_IN, 7, 512, true, NULL), VIRTIO_BLK_S_OK);
	close_disk();
}

static uint8_t read_config8(unsigned offset)
{
	uint8_t value;

	virtio_read_config(driver.virtio, offset, 1, &value);
	return value;
}

static void test_write_cache(void **state)
{
	unsigned at = offsetof(struct virtio_blk_config, wce);
	uint8_t value = 0;

	(void)state;
	open_disk(false);
	assert_int_equal(read_config8(at), 1);
	virtio_write_config(driver.virtio, at, 1, &value);
	assert_int_equal(read_config8(at), 0);
	assert_int_equal(request(0, VIRTIO_BLK_T_OUT, 1, 512, false, NULL), VIRTIO_BLK_S_OK);
	virtio_set_status(driver.virtio, 0);
	assert_int_equal(read_config8(at), 1);
	/* Beyond the end there is nothing. */
	assert_int_equal(read_config8(sizeof(struct virtio_blk_config)), 0);
	close_disk();
}

/* Resets while requests are under way: when one returns, RAM is the guest's alone. */
static void test_reset_under_load(void **state)
{
	const struct driver_buffer buffers[] = {{HEADER, 16, false}, {DATA, 4096, true}, {STATUS, 1, true}};
	struct virtio_blk_outhdr *header = driver_at(&driver, HEADER);
	uint8_t *data = driver_at(&driver, DATA);
	unsigned round, i;

	(void)state;
	open_disk(false);
	for (round = 0; round < 200; round++) {
		*header = (struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_IN, .sector = 8};
		driver_offer(&driver, 0, buffers, 3);
		driver_offer(&driver, 1, buffers, 3);
		virtio_notify(driver.virtio, 0);
		virtio_notify(driver.virtio, 1);
		if (round % 3)
			usleep(round);
		virtio_set_status(driver.virtio, 0);
		memset(data, 0xee, 4096);
		for (i = 0; i < 20; i++)
			assert_int_equal(((volatile uint8_t *)data)[i * 200], 0xee);
		driver_start(&driver, driver.virtio, FEATURES);
	}
	close_disk();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transfers), cmocka_unit_test(test_zeroes), cmocka_unit_test(test_resized),
		cmocka_unit_test(test_refused),	  cmocka_unit_test(test_broken),
		cmocka_unit_test(test_write_cache), cmocka_unit_test(test_reset_under_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
