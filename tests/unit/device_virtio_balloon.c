/* virtio-balloon on shared memory: which pages are freed, and which are not. */
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "device/virtio/balloon.h"
#include "virtio_driver.h"

#define RAM_GPA	  0x800000
#define RAM_BYTES 0x10000
#define PFNS	  DRIVER_DATA
#define FIRST_PFN (RAM_GPA / 4096)

/* Reports come where statistics would, if these were not agreed on. */
enum { INFLATE, DEFLATE, REPORT, STATS = REPORT };

static const struct virtio_balloon_setup setup = {.target_bytes = 5 << 20, .may_deflate_on_oom = true, .has_reporting = true};
static struct driver driver;
static uint8_t *ram; /* beside the driver's own */

static void open_balloon(void)
{
	struct error error;

	driver_init(&driver);
	ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(ram != MAP_FAILED);
	memset(ram, 0x77, RAM_BYTES);
	driver.memory.regions[1] = (struct guest_region){RAM_GPA, RAM_BYTES, ram, NULL};
	driver.memory.region_count = 2;
	driver_start(&driver, virtio_balloon_create(&driver.host, &setup, &error),
		     1ull << VIRTIO_BALLOON_F_REPORTING);
}

static void close_balloon(void)
{
	driver.virtio->kind->destroy(driver.virtio);
	munmap(ram, RAM_BYTES);
}

/* A bit for each page that reads as zeroes, the others being whole. */
static unsigned freed(void)
{
	unsigned page, i, result = 0;

	for (page = 0; page < RAM_BYTES / 4096; page++) {
		for (i = 1; i < 4096; i++)
			assert_int_equal(ram[page * 4096 + i], ram[page * 4096]);
		result |= ram[page * 4096] ? 0 : 1u << page;
	}
	return result;
}

static void test_inflate(void **state)
{
	const struct driver_buffer buffer = {PFNS, 8 * 4, false}, odd = {PFNS, 6, false};
	uint32_t *pfns = driver_at(&driver, PFNS), config[2];

	(void)state;
	open_balloon();
	virtio_read_config(driver.virtio, 0, 8, (uint8_t *)config);
	assert_int_equal(config[0], 5 << 8);
	/* Runs of pages, single ones, and some where there is no RAM. */
	pfns[0] = FIRST_PFN + 1;
	pfns[1] = FIRST_PFN + 2;
	pfns[2] = FIRST_PFN + 3;
	pfns[3] = FIRST_PFN + 7;
	pfns[4] = FIRST_PFN + 5;
	pfns[5] = UINT32_MAX;
	pfns[6] = FIRST_PFN + 16;
	pfns[7] = 0;
	assert_int_equal(driver_do(&driver, INFLATE, &buffer, 1), 0);
	assert_int_equal(freed(), 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 7);
	pfns[0] = FIRST_PFN;
	driver_do(&driver, INFLATE, &odd, 1);
	assert_int_equal(freed(), 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 7);
	driver_do(&driver, DEFLATE, &buffer, 1);
	config[1] = 7;
	virtio_write_config(driver.virtio, 4, 4, (uint8_t *)&config[1]);
	config[1] = 0;
	virtio_read_config(driver.virtio, 4, 4, (uint8_t *)&config[1]);
	assert_int_equal(config[1], 7);
	close_balloon();
}

/* Buffers are freed as far as they are whole pages; the log knows what became zeroes. */
static void test_report(void **state)
{
	uint64_t log = 0;
	const struct driver_buffer buffers[] = {
		{RAM_GPA - DRIVER_GPA + 0x2000, 0x3000, true},
		{RAM_GPA - DRIVER_GPA + 0x6800, 0x1800, true},
		{RAM_GPA - DRIVER_GPA + 0x9100, 0x0e00, true},
	};

	(void)state;
	open_balloon();
	assert_int_equal(guest_memory_log_start(&driver.memory), 0);
	driver_do(&driver, REPORT, buffers, 3);
	assert_int_equal(freed(), 1 << 2 | 1 << 3 | 1 << 4 | 1 << 7);
	guest_memory_log_take(&driver.memory, 1, &log);
	assert_int_equal(log & 0x9c, 0x9c);
	guest_memory_log_free(&driver.memory);
	close_balloon();
}

static void put_stat(uint32_t at, uint16_t tag, uint64_t value)
{
	memcpy(driver_at(&driver, at), &tag, sizeof(tag));
	memcpy(driver_at(&driver, at + sizeof(tag)), &value, sizeof(value));
}

/* A buffer with statistics stays with the device until new ones are wanted; reports are the next queue then. */
static void test_stats(void **state)
{
	const struct driver_buffer buffer = {PFNS, 4 * 10 + 3, false};
	const struct driver_buffer page = {RAM_GPA - DRIVER_GPA + 0x2000, 0x1000, true};
	struct virtio_balloon_stats stats;
	uint32_t written;

	(void)state;
	open_balloon();
	driver_start(&driver, driver.virtio, 1ull << VIRTIO_BALLOON_F_REPORTING | 1ull << VIRTIO_BALLOON_F_STATS_VQ);
	virtio_balloon_read_stats(driver.virtio, &stats);
	assert_int_equal(stats.seconds, 0);
	assert_true(stats.values[VIRTIO_BALLOON_S_MEMTOT] == UINT64_MAX);
	/* Nothing is there to be given back. */
	virtio_balloon_ask_stats(driver.virtio);
	put_stat(PFNS, VIRTIO_BALLOON_S_MEMTOT, 1ull << 40);
	put_stat(PFNS + 10, VIRTIO_BALLOON_S_SWAP_IN, 5);
	put_stat(PFNS + 20, 0xffff, 6);
	put_stat(PFNS + 30, VIRTIO_BALLOON_STATS, 7);
	driver_offer(&driver, STATS, &buffer, 1);
	virtio_notify(driver.virtio, STATS);
	virtio_notify(driver.virtio, STATS);
	virtio_balloon_read_stats(driver.virtio, &stats);
	assert_true(stats.seconds > 1600000000);
	assert_true(stats.values[VIRTIO_BALLOON_S_MEMTOT] == 1ull << 40);
	assert_int_equal(stats.values[VIRTIO_BALLOON_S_SWAP_IN], 5);
	assert_true(stats.values[VIRTIO_BALLOON_S_SWAP_OUT] == UINT64_MAX);
	assert_false(driver_take(&driver, STATS, &written));
	virtio_balloon_ask_stats(driver.virtio);
	assert_true(driver_take(&driver, STATS, &written));
	assert_int_equal(written, 0);
	virtio_balloon_ask_stats(driver.virtio);
	put_stat(PFNS + 10, VIRTIO_BALLOON_S_SWAP_IN, 8);
	driver_offer(&driver, STATS, &buffer, 1);
	virtio_notify(driver.virtio, STATS);
	virtio_balloon_read_stats(driver.virtio, &stats);
	assert_int_equal(stats.values[VIRTIO_BALLOON_S_SWAP_IN], 8);
	assert_false(driver_take(&driver, STATS, &written));
	driver_do(&driver, STATS + 1, &page, 1);
	assert_int_equal(freed(), 1 << 2);
	virtio_set_status(driver.virtio, 0);
	virtio_balloon_read_stats(driver.virtio, &stats);
	assert_true(stats.values[VIRTIO_BALLOON_S_SWAP_IN] == UINT64_MAX);
	assert_int_equal(virtio_balloon_set_period(driver.virtio, 1), -ENODEV);
	close_balloon();
}

/* Load what the device `from` saved into `to`. Whether it takes that, and then goes on as the driver left it. */
static bool moves(struct virtio_device *from, struct virtio_device *to)
{
	struct virtio_state saved = {0}, loaded = {0};
	struct state_stream saving, loading;
	struct error error;
	const void *bytes;
	size_t size;
	bool is_taken;

	virtio_hold(from);
	state_save_begin(&saving);
	state_section_begin(&saving, "balloon", VIRTIO_STATE_UNITS);
	virtio_transfer(from, &saved, &saving);
	state_section_end(&saving);
	assert_int_equal(state_saved(&saving, &bytes, &size, &error), 0);
	state_load_begin(&loading, bytes, size);
	state_section_begin(&loading, "balloon", VIRTIO_STATE_UNITS);
	virtio_transfer(to, &loaded, &loading);
	state_section_end(&loading);
	is_taken = state_loaded(&loading, &error) == 0;
	if (is_taken) {
		virtio_restore(to, &loaded);
		virtio_release(to);
		assert_int_equal(virtio_status(to), virtio_status(from));
		assert_int_equal(virtio_driver_features(to, 0), virtio_driver_features(from, 0));
		assert_int_equal(virtio_driver_features(to, 1), virtio_driver_features(from, 1));
	}
	state_end(&saving);
	return is_taken;
}

/* A driver keeps what it has agreed to when its state is loaded where less, or more, is offered; its next start sees that. */
static void test_other_offers(void **state)
{
	static const struct virtio_balloon_setup least = {.target_bytes = 5 << 20};
	const uint64_t most = 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM | 1ull << VIRTIO_BALLOON_F_REPORTING |
			      VIRTIO_RING_FEATURES;
	const struct driver_buffer page = {RAM_GPA - DRIVER_GPA + 0x2000, 0x1000, true};
	struct virtio_device *with, *without;
	struct error error;

	(void)state;
	open_balloon();
	with = driver.virtio;
	driver.host.ring_features = 0;
	without = virtio_balloon_create(&driver.host, &least, &error);
	assert_non_null(without);
	without->transport = with->transport;

	driver_start(&driver, with, most);
	assert_true(moves(with, without));
	assert_true(virtio_has(without, VIRTIO_BALLOON_F_REPORTING));
	driver.virtio = without;
	driver_do(&driver, REPORT, &page, 1);
	assert_int_equal(freed(), 1 << 2);
	/* A new driver there agrees to what is offered, and to no more. */
	virtio_set_status(without, 0);
	virtio_set_status(without, 3);
	virtio_set_driver_features(without, most, 0);
	virtio_set_driver_features(without, 1, 1);
	virtio_set_status(without, 3 | 8);
	assert_int_equal(virtio_status(without), 3);
	assert_int_equal(virtio_offered(without) & most, 0);

	driver_start(&driver, without, 0);
	virtio_set_status(with, 0);
	assert_true(moves(without, with));
	assert_false(virtio_has(with, VIRTIO_BALLOON_F_REPORTING));

	/* What no balloon here can do, whatever the driver says that it has agreed to, is refused. */
	without->driver_features |= 1ull << VIRTIO_BALLOON_F_PAGE_POISON;
	assert_false(moves(without, with));
	without->kind->destroy(without);
	driver.virtio = with;
	close_balloon();
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_inflate), cmocka_unit_test(test_report),
					   cmocka_unit_test(test_stats), cmocka_unit_test(test_other_offers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
