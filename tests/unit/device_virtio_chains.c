/*
 * Chains that a saved virtio-blk or virtio-scsi had waiting: good ones begin anew and come back, and none that its queues
 * cannot have had in use is ever begun.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_scsi.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "device/virtio/disk.h"
#include "device/virtio/scsi.h"
#include "virtio_driver.h"

#define SECTORS 64
#define HEADER	DRIVER_DATA
#define DATA	(DRIVER_DATA + 0x1000)
#define STATUS	(DRIVER_DATA + 0x8000)
#define PACKED	(1ull << VIRTIO_F_RING_PACKED)

static struct driver driver;

/* A list as an enemy writes it: entries of one shape, but for what is said of each. */
struct entry {
	uint32_t queue;
	uint16_t id, descriptors;
};
#define ENTRIES 10
static struct {
	uint32_t count; /* as it says */
	unsigned entries, in_flight;
	struct entry list[ENTRIES];
	uint32_t readable, writable; /* as the first one says; 1 and 2 are there */
	uint64_t gpa, size;	     /* of the data */
	uint32_t waiting;	     /* of virtio-scsi: how many of these, as the list's first one */
} lie;

static struct block *make_block(void)
{
	const struct block_options options = {.format = "raw", .unlocked = true, .aio = BLOCK_AIO_THREADS};
	struct block *block;
	struct error error;
	int fd = memfd_create("disk", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, SECTORS * 512), 0);
	assert_int_equal(pwrite(fd, "here", 4, 7 * 512), 4);
	assert_int_equal(block_open_fd(fd, "test", &options, &block, &error), 0);
	close(fd);
	return block;
}

static void open_device(bool is_scsi, uint64_t features)
{
	struct drive_config drive = {.is_present = true};
	struct virtio_device *virtio;
	struct error error;

	driver_init(&driver);
	driver.host.ring_features |= features;
	if (is_scsi) {
		drive.block = make_block();
		virtio = virtio_scsi_create(&driver.host, 1, &error);
		assert_int_equal(virtio_scsi_plug(virtio, (struct virtio_scsi_address){0, 0}, &drive, &error), 0);
	} else {
		virtio = virtio_disk_create(&driver.host, make_block(), 2, &error);
	}
	driver_start(&driver, virtio, features);
	virtio_hold(driver.virtio);
	lie.in_flight = lie.count = lie.entries = 1;
	memset(lie.list, 0, sizeof(lie.list));
	for (unsigned i = 0; i < ENTRIES; i++)
		lie.list[i] = (struct entry){is_scsi ? 2 : 0, i, 1};
	lie.readable = 1;
	lie.writable = 2;
	lie.gpa = DRIVER_GPA + DATA;
	lie.size = 512;
	lie.waiting = 0;
}

static void put_part(struct state_stream *state, uint64_t gpa, uint64_t size)
{
	state_u64(state, "part", &gpa);
	state_u64(state, "part size", &size);
}

static void put_entry(struct state_stream *state, struct entry *entry, bool is_scsi)
{
	uint32_t readable = entry == lie.list ? lie.readable : 1, writable = entry == lie.list ? lie.writable : 2;

	state_u32(state, "chain's queue", &entry->queue);
	state_u16(state, "chain", &entry->id);
	state_u16(state, "chain's descriptors", &entry->descriptors);
	state_u32(state, "chain's parts", &readable);
	state_u32(state, "chain's parts", &writable);
	put_part(state, DRIVER_GPA + HEADER, is_scsi ? sizeof(struct virtio_scsi_cmd_req) : sizeof(struct virtio_blk_outhdr));
	if (is_scsi)
		put_part(state, DRIVER_GPA + STATUS, sizeof(struct virtio_scsi_cmd_resp));
	put_part(state, lie.gpa, lie.size);
	if (!is_scsi)
		put_part(state, DRIVER_GPA + STATUS, 1);
}

static void put_list(struct state_stream *state, bool is_scsi)
{
	state_u32(state, "chains", &lie.count);
	for (unsigned i = 0; i < lie.entries; i++)
		put_entry(state, &lie.list[i], is_scsi);
}

/* The kinds' `transfer`, as they write; with the lies. */
static void write_disk(struct virtio_device *virtio, struct state_stream *state)
{
	bool has_write_cache = true;
	uint64_t capacity = SECTORS * 512;

	(void)virtio;
	state_bool(state, "write cache", &has_write_cache);
	state_u64(state, "capacity", &capacity);
	put_list(state, false);
}

static const struct virtio_kind *scsi_kind;

static void write_scsi(struct virtio_device *virtio, struct state_stream *state)
{
	struct state_stream plain;
	const void *bytes;
	uint8_t byte = 0;
	struct error error;
	size_t size, i;

	/* What it says of its targets, up to the lists: two counts of a tag and 4 bytes, a tag and a byte. */
	state_save_begin(&plain);
	state_section_begin(&plain, "virtio", VIRTIO_STATE_CHAINS);
	scsi_kind->transfer(virtio, &plain);
	state_section_end(&plain);
	assert_int_equal(state_saved(&plain, &bytes, &size, &error), 0);
	for (i = 1 + strlen("virtio") + 4 + 4; i < size - (2 * 5 + 2);) {
		unsigned width = ((const uint8_t *)bytes)[i++];
		union {
			uint8_t u8;
			uint16_t u16;
			uint32_t u32;
			uint64_t u64;
		} field;

		assert_true(width <= sizeof(field));
		memcpy(&field, (const uint8_t *)bytes + i, width);
		switch (width) {
		case 1: state_u8(state, "", &field.u8); break;
		case 2: state_u16(state, "", &field.u16); break;
		case 4: state_u32(state, "", &field.u32); break;
		case 8: state_u64(state, "", &field.u64); break;
		default: fail_msg("a field of %u bytes", width);
		}
		i += width;
	}
	state_end(&plain);
	put_list(state, true);
	state_u32(state, "chains", &lie.waiting);
	for (i = 0; i < lie.waiting; i++)
		put_entry(state, &lie.list[0], true);
	state_u8(state, "waiting response", &byte);
}

enum outcome { REFUSED, BROKEN, LOADED };

/* Save the device with the lies in place of what it has, and load it. */
static enum outcome load(void)
{
	const struct virtio_kind *kind = driver.virtio->kind;
	bool is_scsi = kind->id == VIRTIO_ID_SCSI;
	static struct virtio_state loaded;
	struct virtio_kind liar = *kind;
	struct virtqueue *ring = &driver.virtio->queues[is_scsi ? 2 : 0].ring;
	struct state_stream saved, state;
	struct error error;
	const void *bytes;
	size_t size;
	bool is_good;

	scsi_kind = kind;
	liar.transfer = is_scsi ? write_scsi : write_disk;
	driver.virtio->kind = &liar;
	ring->state.next += lie.in_flight;
	/* The driver has offered them, of a split ring. */
	if (!ring->is_packed)
		*((uint16_t *)driver_at(&driver, (is_scsi ? 2 : 0) * DRIVER_QUEUE_BYTES + 0x400) + 1) = ring->state.next;
	state_save_begin(&saved);
	state_section_begin(&saved, "virtio", VIRTIO_STATE_CHAINS);
	virtio_transfer(driver.virtio, &loaded, &saved);
	state_section_end(&saved);
	assert_int_equal(state_saved(&saved, &bytes, &size, &error), 0);
	driver.virtio->kind = kind;
	state_load_begin(&state, bytes, size);
	state_section_begin(&state, "virtio", VIRTIO_STATE_CHAINS);
	virtio_transfer(driver.virtio, &loaded, &state);
	is_good = state_complete(&state);
	if (is_good)
		virtio_restore(driver.virtio, &loaded);
	state_end(&saved);
	if (!is_good)
		return REFUSED;
	return virtio_status(driver.virtio) & VIRTIO_CONFIG_S_NEEDS_RESET ? BROKEN : LOADED;
}

static void expect(enum outcome outcome)
{
	uint32_t written;

	assert_int_equal(load(), outcome);
	if (outcome != LOADED) {
		virtio_release(driver.virtio);
		virtio_notify_all(driver.virtio);
		usleep(10000);
		for (unsigned i = 0; i < driver.virtio->queue_count; i++)
			assert_false(driver_take(&driver, i, &written));
	}
	driver.virtio->kind->destroy(driver.virtio);
}

static void wait_for_answer(unsigned queue, unsigned offset, const char *text)
{
	uint32_t written;

	virtio_release(driver.virtio);
	while (!driver_take(&driver, queue, &written))
		usleep(100);
	assert_memory_equal(driver_at(&driver, DATA + offset), text, strlen(text));
}

static void test_good(void **state)
{
	struct virtio_blk_outhdr *header = driver_at(&driver, HEADER);
	struct virtio_scsi_cmd_req *command = driver_at(&driver, HEADER);

	(void)state;
	open_device(false, 0);
	*header = (struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_IN, .sector = 7};
	*(uint8_t *)driver_at(&driver, STATUS) = 0x55;
	assert_int_equal(load(), LOADED);
	wait_for_answer(0, 0, "here");
	assert_int_equal(*(uint8_t *)driver_at(&driver, STATUS), VIRTIO_BLK_S_OK);
	driver.virtio->kind->destroy(driver.virtio);

	open_device(true, 0);
	*command = (struct virtio_scsi_cmd_req){.lun = {1}, .cdb = {0x12, 0, 0, 0, 36}};
	assert_int_equal(load(), LOADED);
	wait_for_answer(2, 8, "QEMU");
	driver.virtio->kind->destroy(driver.virtio);
	/* Loaded and never begun, as a machine that is loaded anew, or ends. */
	open_device(false, 0);
	assert_int_equal(load(), LOADED);
	driver.virtio->queues[0].ring.state.next = 0;
	expect(LOADED);
}

static void test_lists(void **state)
{
	(void)state;
	for (unsigned is_scsi = 0; is_scsi < 2; is_scsi++) {
		/* One head twice. */
		open_device(is_scsi, 0);
		lie.count = lie.entries = lie.in_flight = 2;
		lie.list[1].id = 0;
		expect(BROKEN);
		/* A head that is not in the table. */
		open_device(is_scsi, 0);
		lie.list[0].id = DRIVER_SIZE;
		expect(BROKEN);
		/* More than the ring says to be in use. */
		open_device(is_scsi, 0);
		lie.count = lie.entries = 2;
		expect(BROKEN);
		/* More than it holds. */
		open_device(is_scsi, 0);
		lie.count = lie.entries = lie.in_flight = DRIVER_SIZE + 1;
		expect(BROKEN);
		/* Of a queue that there is not, and of one that is not enabled. */
		open_device(is_scsi, 0);
		lie.list[0].queue = driver.virtio->queue_count;
		expect(REFUSED);
		open_device(is_scsi, 0);
		driver.virtio->queues[lie.list[0].queue].ring.state.is_enabled = false;
		expect(BROKEN);
		/* A list that is longer than it is, or than any can be. */
		open_device(is_scsi, 0);
		lie.count = 2;
		expect(REFUSED);
		open_device(is_scsi, 0);
		lie.count = UINT32_MAX;
		expect(REFUSED);
	}
}

static void test_packed(void **state)
{
	(void)state;
	open_device(false, PACKED);
	lie.list[0].id = UINT16_MAX; /* whatever the driver calls it */
	lie.list[0].descriptors = lie.in_flight = 3;
	expect(LOADED);
	open_device(false, PACKED);
	lie.list[0].descriptors = 0;
	expect(BROKEN);
	open_device(false, PACKED);
	lie.list[0].descriptors = DRIVER_SIZE + 1;
	expect(BROKEN);
	/* Each could be, and all together not. */
	open_device(false, PACKED);
	lie.count = lie.entries = 3;
	lie.list[0].descriptors = lie.list[1].descriptors = lie.list[2].descriptors = 2;
	lie.in_flight = 5;
	expect(BROKEN);
	open_device(false, PACKED);
	lie.count = lie.entries = 2;
	lie.list[1].id = 0;
	lie.in_flight = 2;
	expect(BROKEN);
}

static void test_parts(void **state)
{
	(void)state;
	open_device(false, 0);
	lie.gpa = DRIVER_GPA + DRIVER_RAM - 256;
	expect(REFUSED);
	open_device(false, 0);
	lie.gpa = UINT64_MAX - 100;
	expect(REFUSED);
	open_device(false, 0);
	lie.size = 0;
	expect(REFUSED);
	open_device(false, 0);
	lie.size = UINT64_MAX;
	expect(REFUSED);
	open_device(false, 0);
	lie.readable = VIRTQUEUE_PARTS_MAX;
	lie.writable = 1;
	expect(REFUSED);
	open_device(false, 0);
	lie.readable = UINT32_MAX;
	expect(REFUSED);
	/* One that cannot be answered breaks the device as it would from the queue. */
	open_device(false, 0);
	lie.readable = 3;
	lie.writable = 0;
	assert_int_equal(load(), LOADED);
	virtio_release(driver.virtio);
	while (!(virtio_status(driver.virtio) & VIRTIO_CONFIG_S_NEEDS_RESET))
		usleep(100);
	driver.virtio->kind->destroy(driver.virtio);
}

/* Of virtio-scsi's queues some have no commands, and one request of management waits at most. */
static void test_queues(void **state)
{
	(void)state;
	for (unsigned queue = 0; queue < 2; queue++) {
		open_device(true, 0);
		lie.list[0].queue = queue;
		driver.virtio->queues[queue].ring.state.next = 1;
		expect(BROKEN);
	}
	open_device(true, 0);
	lie.count = lie.entries = 0;
	lie.waiting = 1;
	expect(BROKEN);
	for (unsigned waiting = 1; waiting < 3; waiting++) {
		open_device(true, 0);
		lie.count = lie.entries = lie.in_flight = 0;
		lie.waiting = waiting;
		lie.list[0].queue = 0;
		driver.virtio->queues[0].ring.state.next = waiting;
		expect(waiting == 1 ? LOADED : BROKEN);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),  cmocka_unit_test(test_lists), cmocka_unit_test(test_packed),
		cmocka_unit_test(test_parts), cmocka_unit_test(test_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
