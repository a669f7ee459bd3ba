/*
 * virtio-scsi's units: by which addresses they are found, what their target tells, how they come and go while commands are
 * under way, and drivers that give bad buffers for events.
 */
#include <errno.h>
#include <linux/virtio_scsi.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "device/virtio/scsi.h"
#include "virtio_driver.h"

#define SECTORS  64
#define HEADER	 DRIVER_DATA
#define RESPONSE (DRIVER_DATA + 0x1000)
#define DATA	 (DRIVER_DATA + 0x2000)
#define EVENTS	 (DRIVER_DATA + 0x10000)
#define EVENT_QUEUE 1
#define QUEUE	 2
#define FEATURES (1ull << VIRTIO_SCSI_F_HOTPLUG)

#define INQUIRY	    0x12
#define READ_10	    0x28
#define REPORT_LUNS 0xa0
#define TEST_READY  0x00

static struct driver driver;
static struct virtio_device *virtio;

static struct drive_identity identity; /* of the next one */

static void plug(unsigned target, unsigned lun, int wanted)
{
	const struct block_options options = {.format = "raw", .unlocked = true, .aio = BLOCK_AIO_THREADS};
	struct drive_config drive = {.is_present = true, .number = 1, .identity = identity};
	int fd = memfd_create("disk", MFD_CLOEXEC), result;
	struct error error;

	assert_int_equal(ftruncate(fd, SECTORS * 512), 0);
	assert_int_equal(block_open_fd(fd, "test", &options, &drive.block, &error), 0);
	close(fd);
	result = virtio_scsi_plug(virtio, (struct virtio_scsi_address){target, lun}, &drive, &error);
	assert_int_equal(result, wanted);
}

static void unplug(unsigned target, unsigned lun)
{
	assert_int_equal(virtio_scsi_unplug(virtio, (struct virtio_scsi_address){target, lun}), 0);
	assert_false(virtio_scsi_has(virtio, (struct virtio_scsi_address){target, lun}));
}

static void open_adapter(uint64_t features)
{
	struct error error;

	driver_init(&driver);
	virtio = virtio_scsi_create(&driver.host, 1, &error);
	driver_start(&driver, virtio, features);
}

static void close_adapter(void)
{
	virtio->kind->destroy(virtio);
}

/* A command that reads, and what is said of it; its data are at DATA. */
static struct virtio_scsi_cmd_resp *command(unsigned target, unsigned lun, const uint8_t cdb[10], uint32_t bytes)
{
	struct virtio_scsi_cmd_req *header = driver_at(&driver, HEADER);
	struct virtio_scsi_cmd_resp *response = driver_at(&driver, RESPONSE);
	const struct driver_buffer buffers[] = {
		{HEADER, sizeof(*header), false}, {RESPONSE, sizeof(*response), true}, {DATA, bytes, true}};

	*header = (struct virtio_scsi_cmd_req){.lun = {1, target, 0x40 | lun >> 8, lun}};
	memcpy(header->cdb, cdb, 10);
	memset(response, 0x55, sizeof(*response));
	driver_do(&driver, QUEUE, buffers, bytes ? 3 : 2);
	return response;
}

static void expect_ready(unsigned target, unsigned lun)
{
	const uint8_t cdb[10] = {TEST_READY};
	struct virtio_scsi_cmd_resp *response = command(target, lun, cdb, 0);

	/* First of all it was switched on. */
	assert_int_equal(response->response, VIRTIO_SCSI_S_OK);
	assert_int_equal(response->status, 2);
	assert_int_equal(response->sense[12], 0x29);
	assert_int_equal(command(target, lun, cdb, 0)->status, 0);
}

static void test_addresses(void **state)
{
	const uint8_t report[10] = {REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 2}, inquiry[10] = {INQUIRY, 0, 0, 0, 36};
	const uint8_t ready[10] = {TEST_READY};
	static const uint8_t luns[] = {0, 0, 0, 24, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0x41, 0x2c, 0, 0};
	struct virtio_scsi_cmd_resp *response;
	uint8_t *data = driver_at(&driver, DATA);

	(void)state;
	open_adapter(0);
	plug(3, 300, 0);
	plug(3, 7, 0);
	plug(3, 1, 0);
	plug(3, 7, -EBUSY);
	plug(255, 16383, 0);
	expect_ready(3, 1);
	expect_ready(3, 7);
	expect_ready(3, 300);
	expect_ready(255, 16383);
	/* A unit that is not there: the target is, and says what it has. */
	response = command(3, 0, inquiry, 36);
	assert_int_equal(response->response, VIRTIO_SCSI_S_OK);
	assert_int_equal(response->status, 0);
	assert_int_equal(data[0], 0x7f);
	assert_int_equal(command(3, 1, inquiry, 36)->status, 0);
	assert_int_equal(data[0], 0);
	response = command(3, 2, ready, 0);
	assert_int_equal(response->status, 2);
	assert_int_equal(response->sense[12], 0x25);
	assert_int_equal(command(3, 0, report, 512)->status, 0);
	assert_memory_equal(data, luns, sizeof(luns));
	/* A target that is not there. */
	assert_int_equal(command(0, 1, inquiry, 36)->response, VIRTIO_SCSI_S_BAD_TARGET);
	unplug(3, 7);
	response = command(3, 7, ready, 0);
	assert_int_equal(response->sense[12], 0x25);
	plug(3, 7, 0);
	expect_ready(3, 7);
	close_adapter();
}

static void test_many(void **state)
{
	unsigned i;

	(void)state;
	open_adapter(0);
	for (i = 0; i < VIRTIO_SCSI_UNITS; i++)
		plug(i & 1, i, 0);
	plug(5, 0, -ENOSPC);
	unplug(1, 63);
	plug(5, 0, 0);
	expect_ready(5, 0);
	close_adapter();
}

static void offer_event(unsigned number, uint32_t size, bool is_writable)
{
	const struct driver_buffer buffer = {EVENTS + number * 64, size, is_writable};

	driver_offer(&driver, EVENT_QUEUE, &buffer, 1);
}

static void expect_event(unsigned number, uint32_t event, uint32_t reason, unsigned target, unsigned lun)
{
	const struct virtio_scsi_event *said = driver_at(&driver, EVENTS + number * 64);
	uint32_t written;

	assert_true(driver_take(&driver, EVENT_QUEUE, &written));
	assert_int_equal(written, sizeof(*said));
	assert_int_equal(said->event, event);
	assert_int_equal(said->reason, reason);
	assert_int_equal(said->lun[0], event & 0xffff ? 1 : 0);
	assert_int_equal(said->lun[1], target);
	assert_int_equal((said->lun[2] << 8 | said->lun[3]) & 0x3fff, lun);
}

static void test_events(void **state)
{
	uint32_t written;
	unsigned i;

	(void)state;
	open_adapter(FEATURES);
	for (i = 0; i < 3; i++)
		offer_event(i, sizeof(struct virtio_scsi_event), true);
	plug(1, 2, 0);
	plug(9, 400, 0);
	unplug(1, 2);
	expect_event(0, VIRTIO_SCSI_T_TRANSPORT_RESET, VIRTIO_SCSI_EVT_RESET_RESCAN, 1, 2);
	expect_event(1, VIRTIO_SCSI_T_TRANSPORT_RESET, VIRTIO_SCSI_EVT_RESET_RESCAN, 9, 400);
	expect_event(2, VIRTIO_SCSI_T_TRANSPORT_RESET, VIRTIO_SCSI_EVT_RESET_REMOVED, 1, 2);
	/* Without a buffer they are lost, which the next buffer says. */
	unplug(9, 400);
	plug(1, 2, 0);
	assert_false(driver_take(&driver, EVENT_QUEUE, &written));
	offer_event(0, sizeof(struct virtio_scsi_event), true);
	virtio_notify(virtio, EVENT_QUEUE);
	expect_event(0, VIRTIO_SCSI_T_EVENTS_MISSED | VIRTIO_SCSI_T_NO_EVENT, 0, 0, 0);
	/* A driver that does not know of them has none. */
	close_adapter();
	open_adapter(0);
	offer_event(0, sizeof(struct virtio_scsi_event), true);
	plug(1, 2, 0);
	unplug(1, 2);
	assert_false(driver_take(&driver, EVENT_QUEUE, &written));
	close_adapter();
}

/* The device is broken, and units come and go all the same. */
static void expect_broken(void)
{
	plug(1, 2, 0);
	assert_true(virtio_status(virtio) & VIRTIO_CONFIG_S_NEEDS_RESET);
	unplug(1, 2);
	plug(1, 3, 0);
	driver_start(&driver, virtio, FEATURES);
	expect_ready(1, 3);
	close_adapter();
}

static void test_bad_events(void **state)
{
	struct vring_desc *table = driver_at(&driver, EVENT_QUEUE * DRIVER_QUEUE_BYTES);

	(void)state;
	open_adapter(FEATURES);
	offer_event(0, sizeof(struct virtio_scsi_event) - 1, true);
	expect_broken();
	open_adapter(FEATURES);
	offer_event(0, sizeof(struct virtio_scsi_event), false);
	expect_broken();
	/* One that is its own next. */
	open_adapter(FEATURES);
	offer_event(0, sizeof(struct virtio_scsi_event), true);
	table[0].flags |= VRING_DESC_F_NEXT;
	table[0].next = 0;
	expect_broken();
	/* One outside of memory. */
	open_adapter(FEATURES);
	offer_event(0, sizeof(struct virtio_scsi_event), true);
	table[0].addr = 1ull << 40;
	expect_broken();
}

struct other {
	pthread_t thread;
	_Atomic bool is_done;
	unsigned taken;
};

/* A driver that reads one unit again and again, be it there or not, with several commands at once. */
static void *read_always(void *context)
{
	const uint8_t cdb[10] = {READ_10, 0, 0, 0, 0, 1, 0, 0, 8};
	const struct driver_buffer buffers[] = {{HEADER, sizeof(struct virtio_scsi_cmd_req), false},
						{RESPONSE, sizeof(struct virtio_scsi_cmd_resp), true},
						{DATA, 4096, true}};
	struct virtio_scsi_cmd_req *header = driver_at(&driver, HEADER);
	struct other *other = context;
	unsigned under_way = 0;
	uint32_t written;

	*header = (struct virtio_scsi_cmd_req){.lun = {1, 1, 0x40, 2}};
	memcpy(header->cdb, cdb, sizeof(cdb));
	while (!other->is_done || under_way) {
		while (!other->is_done && under_way < 2) {
			driver_offer(&driver, QUEUE, buffers, 3);
			under_way++;
		}
		virtio_notify(virtio, QUEUE);
		while (under_way && driver_take(&driver, QUEUE, &written)) {
			under_way--;
			other->taken++;
		}
	}
	return NULL;
}

static void test_under_way(void **state)
{
	struct other other = {.is_done = false};
	unsigned i;

	(void)state;
	open_adapter(FEATURES);
	plug(1, 5, 0);
	assert_int_equal(pthread_create(&other.thread, NULL, read_always, &other), 0);
	for (i = 0; i < 200; i++) {
		plug(1, 2, 0);
		usleep(i % 7 * 50);
		unplug(1, 2);
	}
	other.is_done = true;
	pthread_join(other.thread, NULL);
	assert_true(other.taken > 0);
	assert_false(virtio_status(virtio) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_ready(1, 5);
	close_adapter();
}

/* A driver that resets the device meanwhile. */
static void *reset_always(void *context)
{
	struct other *other = context;

	while (!other->is_done) {
		virtio_set_status(virtio, 0);
		other->taken++;
	}
	return NULL;
}

static void test_reset(void **state)
{
	struct other other = {.is_done = false};
	unsigned i;

	(void)state;
	open_adapter(FEATURES);
	assert_int_equal(pthread_create(&other.thread, NULL, reset_always, &other), 0);
	for (i = 0; i < 200; i++) {
		plug(1, 2, 0);
		unplug(1, 2);
	}
	other.is_done = true;
	pthread_join(other.thread, NULL);
	close_adapter();
}

/* Saved and loaded where the units came in another order; and where there are others. */
static void test_saved(void **state)
{
	static struct virtio_state loaded;
	struct state_stream saved, stream;
	struct error error;
	const void *bytes;
	size_t size;
	unsigned i;

	(void)state;
	open_adapter(FEATURES);
	plug(1, 2, 0);
	plug(0, 9, 0);
	expect_ready(1, 2);
	unplug(1, 2);
	plug(1, 2, 0);
	expect_ready(1, 2);
	virtio_hold(virtio);
	state_save_begin(&saved);
	state_section_begin(&saved, "virtio", VIRTIO_STATE_UNITS);
	virtio_transfer(virtio, &loaded, &saved);
	state_section_end(&saved);
	assert_int_equal(state_saved(&saved, &bytes, &size, &error), 0);
	close_adapter();
	for (i = 0; i < 3; i++) {
		struct error unseen;

		driver_init(&driver);
		virtio = virtio_scsi_create(&driver.host, 1, &unseen);
		plug(1, i == 1 ? 3 : 2, 0);
		if (i != 2)
			plug(0, 9, 0);
		state_load_begin(&stream, bytes, size);
		state_section_begin(&stream, "virtio", VIRTIO_STATE_UNITS);
		virtio_transfer(virtio, &loaded, &stream);
		assert_int_equal(state_complete(&stream), i == 0);
		if (i == 0)
			virtio_restore(virtio, &loaded);
		close_adapter();
	}
	state_end(&saved);
}

/* What a user has a unit called, in the standard data and among its designators; and what it is called by itself. */
static void test_identity(void **state)
{
	const uint8_t inquiry[10] = {INQUIRY, 0, 0, 0, 36}, page[10] = {INQUIRY, 1, 0x83, 0, 255};
	static const uint8_t names[] = {2,    0,    0, 7, 'Q',	'M',  '0',  '0',  '0',	'0',  '1',  1,	  3,	0,   8,	   0x50, 0,   0xc5,
					0,    0x15, 0xea, 0x71, 0xad, 0x61, 0x93, 0,	8,    0x50, 1, 2, 3, 4, 5, 6, 7};
	uint8_t *data = driver_at(&driver, DATA);

	(void)state;
	open_adapter(FEATURES);
	plug(0, 0, 0);
	identity = (struct drive_identity){"Ours", "A good disk", "12", 0x5000c50015ea71ad, 0x5001020304050607};
	plug(1, 0, 0);
	identity = (struct drive_identity){.wwn = 0};
	assert_int_equal(command(0, 0, inquiry, 36)->status, 0);
	assert_memory_equal(data + 8, "QEMU    QEMU HARDDISK   2.5+", 28);
	assert_int_equal(command(0, 0, page, 255)->status, 0);
	assert_int_equal(data[3], 11);
	assert_memory_equal(data + 4, names, 11);
	assert_int_equal(command(1, 0, inquiry, 36)->status, 0);
	assert_memory_equal(data + 8, "Ours    A good disk     12  ", 28);
	assert_int_equal(command(1, 0, page, 255)->status, 0);
	assert_int_equal(data[3], sizeof(names));
	assert_memory_equal(data + 4, names, sizeof(names));
	close_adapter();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_many),	    cmocka_unit_test(test_events),
		cmocka_unit_test(test_bad_events), cmocka_unit_test(test_under_way), cmocka_unit_test(test_reset),
		cmocka_unit_test(test_saved),     cmocka_unit_test(test_identity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
