/* A disk by USB, over its two pipes: commands, data in pieces of any size, both ways, hosts that want more or less than the
 * device, wrappers that are none, resets while the medium works, a CD-ROM, saved in the middle of a transfer. */
#include "device/usb/mass_storage.h"
#include "pci_rig.h"
#include "util/state.h"

#define SECTORS 1024
#define IN  1
#define OUT 2

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic unsigned wakes;
static struct usb_device *disk, *cd;
static int disk_fd, cd_fd;
static uint32_t next_tag = 100;

static void wake(void *controller, unsigned port, unsigned endpoint, bool is_in)
{
	(void)controller;
	(void)port;
	assert_int_equal(endpoint, is_in ? IN : OUT);
	wakes++;
}

static struct usb_device *plug(const struct drive_config *config)
{
	struct error error;
	struct usb_device *device = usb_mass_storage_create(config, true, &error);
	const struct usb_setup configure = {.request = 9, .value = 1};
	uint8_t data[8];

	assert_non_null(device);
	device->lock = &lock;
	device->wake = wake;
	assert_int_equal(usb_control(device, &configure, data), 0);
	return device;
}

static struct usb_device *plug_disk(void)
{
	return plug(&(struct drive_config){
		.is_present = true, .block = pci_rig_image(SECTORS, 512, false, &disk_fd)});
}

static int setup(void **state)
{
	(void)state;
	disk = plug_disk();
	cd = plug(&(struct drive_config){
		.is_present = true, .is_cdrom = true, .block = pci_rig_image(16, 2048, true, &cd_fd)});
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	usb_destroy(disk);
	usb_destroy(cd);
	close(disk_fd);
	close(cd_fd);
	return 0;
}

/* A packet, as often as it takes. */
static int move_in(struct usb_device *device, void *data, size_t size)
{
	struct timespec pause = {0, 100000};
	unsigned tries = 0;
	int result;

	for (;;) {
		pthread_mutex_lock(&lock);
		result = usb_in(device, IN, data, size);
		pthread_mutex_unlock(&lock);
		if (result != USB_NAK)
			return result;
		assert_true(++tries < 100000);
		nanosleep(&pause, NULL);
	}
}

static int move_out(struct usb_device *device, const void *data, size_t size)
{
	struct timespec pause = {0, 100000};
	unsigned tries = 0;
	int result;

	for (;;) {
		pthread_mutex_lock(&lock);
		result = usb_out(device, OUT, data, size);
		pthread_mutex_unlock(&lock);
		if (result != USB_NAK)
			return result;
		assert_true(++tries < 100000);
		nanosleep(&pause, NULL);
	}
}

static void put_be(uint8_t *bytes, uint32_t value)
{
	bytes[0] = value >> 24;
	bytes[1] = value >> 16;
	bytes[2] = value >> 8;
	bytes[3] = value;
}

static void command(struct usb_device *device, bool is_in, uint32_t bytes, const uint8_t *cdb, uint8_t size)
{
	uint8_t wrapper[31] = {'U', 'S', 'B', 'C'};

	next_tag++;
	memcpy(wrapper + 4, &next_tag, 4);
	memcpy(wrapper + 8, &bytes, 4);
	wrapper[12] = is_in ? 0x80 : 0;
	wrapper[14] = size;
	memcpy(wrapper + 15, cdb, size);
	assert_int_equal(move_out(device, wrapper, sizeof(wrapper)), sizeof(wrapper));
}

/* READ or WRITE (10). */
static void access_blocks(struct usb_device *device, uint8_t code, uint32_t lba, uint16_t count, uint32_t bytes)
{
	uint8_t cdb[10] = {code, [7] = count >> 8, [8] = count};

	put_be(cdb + 2, lba);
	command(device, code == 0x28, bytes, cdb, sizeof(cdb));
}

static unsigned status(struct usb_device *device, uint32_t *residue)
{
	uint8_t wrapper[13];
	uint32_t tag;

	assert_int_equal(move_in(device, wrapper, sizeof(wrapper)), sizeof(wrapper));
	assert_memory_equal(wrapper, "USBS", 4);
	memcpy(&tag, wrapper + 4, 4);
	assert_int_equal(tag, next_tag);
	memcpy(residue, wrapper + 8, 4);
	return wrapper[12];
}

static void expect(struct usb_device *device, unsigned wanted, uint32_t wanted_residue)
{
	uint32_t residue;

	assert_int_equal(status(device, &residue), wanted);
	assert_int_equal(residue, wanted_residue);
}

static void test_commands(void **state)
{
	const uint8_t inquiry[] = {0x12, 0, 0, 0, 36, 0}, ready[] = {0, 0, 0, 0, 0, 0}, capacity[10] = {0x25},
		      sense[] = {0x03, 0, 0, 0, 18, 0}, unknown[] = {0xc1, 0, 0, 0, 0, 0};
	const struct usb_setup units = {0xa1, 0xfe, 0, 0, 1};
	uint8_t data[64];

	(void)state;
	assert_int_equal(usb_control(disk, &units, data), 1);
	assert_int_equal(data[0], 0);
	command(disk, true, 36, inquiry, 6);
	assert_int_equal(move_in(disk, data, 36), 36);
	assert_int_equal(data[1], 0x80);
	assert_memory_equal(data + 16, "QEMU HARDDISK", 13);
	expect(disk, 0, 0);
	command(disk, false, 0, ready, 6);
	expect(disk, 0, 0);
	command(disk, true, 8, capacity, 10);
	assert_int_equal(move_in(disk, data, 8), 8);
	assert_int_equal(data[2] << 8 | data[3], SECTORS - 1);
	expect(disk, 0, 0);
	command(disk, false, 0, unknown, 6);
	expect(disk, 1, 0);
	/* A host that wants more gets zeroes, and is told. */
	command(disk, true, 30, sense, 6);
	memset(data, 0xff, sizeof(data));
	assert_int_equal(move_in(disk, data, 30), 30);
	assert_int_equal(data[2], 5);
	assert_int_equal(data[12], 0x20);
	assert_int_equal(data[18] | data[29], 0);
	expect(disk, 0, 12);
	/* A CD, of which nothing can be written. */
	command(cd, true, 36, inquiry, 6);
	assert_int_equal(move_in(cd, data, 64), 36);
	assert_int_equal(data[0], 5);
	expect(cd, 0, 0);
}

/* Pieces of the sizes that a host chooses; what it reads begins each sector with its number. */
static void read_back(struct usb_device *device, uint32_t lba, unsigned sectors, unsigned piece)
{
	uint8_t *data = malloc(sectors * 512);
	unsigned at = 0, i, part;
	uint32_t value;

	access_blocks(device, 0x28, lba, sectors, sectors * 512);
	while (at < sectors * 512) {
		part = sectors * 512 - at < piece ? sectors * 512 - at : piece;
		assert_int_equal(move_in(device, data + at, part), part);
		at += part;
	}
	for (i = 0; i < sectors; i++) {
		memcpy(&value, data + i * 512, 4);
		assert_int_equal(value, lba + i);
	}
	expect(device, 0, 0);
	free(data);
}

static void write_all(unsigned sectors, unsigned piece)
{
	uint8_t *data = calloc(sectors, 512), *seen = malloc(sectors * 512);
	unsigned at = 0, i, part;

	for (i = 0; i < sectors * 512; i++)
		data[i] = i * 7 + i / 512;
	for (i = 0; i < sectors; i++)
		memcpy(data + i * 512, &(uint32_t){i}, 4);
	access_blocks(disk, 0x2a, 0, sectors, sectors * 512);
	while (at < sectors * 512) {
		part = sectors * 512 - at < piece ? sectors * 512 - at : piece;
		assert_int_equal(move_out(disk, data + at, part), part);
		at += part;
	}
	expect(disk, 0, 0);
	assert_int_equal(pread(disk_fd, seen, sectors * 512, 0), sectors * 512);
	assert_memory_equal(seen, data, sectors * 512);
	free(seen);
	free(data);
}

static void test_data(void **state)
{
	static const unsigned pieces[] = {65536, 512, 4096, 1000, 13, 65535, 40000};
	const uint8_t flush[10] = {0x35};
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		read_back(disk, 0, pieces[i] < 100 ? 20 : SECTORS, pieces[i]);
		write_all(pieces[i] < 100 ? 20 : SECTORS, pieces[i]);
	}
	read_back(disk, SECTORS - 1, 1, 512);
	assert_true(wakes > 0);
	command(disk, false, 0, flush, 10);
	expect(disk, 0, 0);
}

static void test_amounts(void **state)
{
	uint8_t data[4096];
	uint32_t value;

	(void)state;
	/* Of four sectors the device has two; and of two it is asked for one, which is none. */
	access_blocks(disk, 0x28, 7, 2, 2048);
	assert_int_equal(move_in(disk, data, 4096), 2048);
	memcpy(&value, data + 512, 4);
	assert_int_equal(value, 8);
	expect(disk, 0, 1024);
	access_blocks(disk, 0x28, 7, 2, 512);
	assert_int_equal(move_in(disk, data, 512), 512);
	expect(disk, 2, 512);
	access_blocks(disk, 0x28, 7, 1, 0);
	expect(disk, 2, 0);
	/* The wrong way. */
	access_blocks(disk, 0x2a, 7, 1, 0);
	expect(disk, 2, 0);
	command(disk, true, 512, (const uint8_t[]){0x2a, 0, 0, 0, 0, 7, 0, 0, 1, 0}, 10);
	assert_int_equal(move_in(disk, data, 512), 512);
	expect(disk, 2, 512);
	/* Written is what the command says, and the rest is dropped. */
	memset(data, 0x5a, sizeof(data));
	access_blocks(disk, 0x2a, 9, 1, 1024);
	assert_int_equal(move_out(disk, data, 1024), 1024);
	expect(disk, 0, 512);
	assert_int_equal(pread(disk_fd, data, 512, 10 * 512), 512);
	memcpy(&value, data, 4);
	assert_int_equal(value, 10);
	/* Beyond the end: data come, of no meaning. */
	access_blocks(disk, 0x28, SECTORS, 1, 512);
	assert_int_equal(move_in(disk, data, 512), 512);
	expect(disk, 1, 512);
	access_blocks(disk, 0x2a, SECTORS - 1, 2, 1024);
	assert_int_equal(move_out(disk, data, 1024), 1024);
	expect(disk, 1, 1024);
	access_blocks(cd, 0x2a, 0, 1, 2048);
	assert_int_equal(move_out(cd, data, 2048), 2048);
	expect(cd, 1, 2048);
}

static void reset(struct usb_device *device)
{
	const struct usb_setup request = {0x21, 0xff, 0, 0, 0};
	uint8_t data[8];

	pthread_mutex_lock(&lock);
	assert_int_equal(usb_control(device, &request, data), 0);
	pthread_mutex_unlock(&lock);
}

static void test_nonsense(void **state)
{
	uint8_t wrapper[32] = {'U', 'S', 'B', 'C', [14] = 6}, data[512];
	struct {
		uint8_t at, value, size;
	} wrong[] = {{0, 'u', 31}, {13, 1, 31}, {14, 0, 31}, {14, 17, 31}, {12, 0x81, 31}, {0, 'U', 30}, {0, 'U', 32}};
	unsigned i;

	(void)state;
	/* Out of turn. */
	assert_int_equal(move_in(disk, data, 13), USB_STALL);
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		uint8_t kept = wrapper[wrong[i].at];

		wrapper[wrong[i].at] = wrong[i].value;
		assert_int_equal(move_out(disk, wrapper, wrong[i].size), USB_STALL);
		wrapper[wrong[i].at] = kept;
		/* Nothing goes until it is reset. */
		assert_int_equal(move_out(disk, wrapper, 31), USB_STALL);
		assert_int_equal(move_in(disk, data, 13), USB_STALL);
		reset(disk);
		read_back(disk, 3, 1, 512);
	}
	assert_int_equal(usb_in(disk, 2, data, 13), USB_STALL);
	assert_int_equal(usb_out(disk, 1, data, 13), USB_STALL);
	/* A reset while the medium works, of which nobody hears. */
	for (i = 0; i < 50; i++) {
		access_blocks(disk, 0x28, i, 100, 51200);
		reset(disk);
		read_back(disk, i, 8, 4096);
		access_blocks(disk, 0x2a, 500, 1, 512);
		memset(data, i, sizeof(data));
		move_out(disk, data, 512);
		pthread_mutex_lock(&lock);
		usb_reset(disk);
		disk->is_configured = true;
		pthread_mutex_unlock(&lock);
	}
}

/* Take what is saved of one disk over to another. */
static void carry_over(struct usb_device *from, struct usb_device *to)
{
	struct state_stream saved, loaded;
	struct usb_device *copy = calloc(1, from->kind->bytes);
	const void *bytes;
	struct error error;
	size_t size;

	pthread_mutex_lock(&lock);
	usb_hold(from);
	state_save_begin(&saved);
	state_section_begin(&saved, "disk", 1);
	usb_transfer(from, copy, &saved);
	state_section_end(&saved);
	assert_int_equal(state_saved(&saved, &bytes, &size, &error), 0);
	state_load_begin(&loaded, bytes, size);
	state_section_begin(&loaded, "disk", 1);
	usb_transfer(to, copy, &loaded);
	assert_true(state_complete(&loaded));
	usb_loaded(to, copy);
	state_section_end(&loaded);
	assert_int_equal(state_loaded(&loaded, &error), 0);
	pthread_mutex_unlock(&lock);
	state_end(&loaded);
	state_end(&saved);
	free(copy);
}

static void test_saved(void **state)
{
	uint8_t *data = malloc(SECTORS * 512);
	int first_fd = disk_fd;
	struct usb_device *other = plug_disk();
	uint32_t value;
	unsigned i;

	(void)state;
	access_blocks(disk, 0x28, 0, SECTORS, SECTORS * 512);
	for (i = 0; i < 3; i++)
		assert_int_equal(move_in(disk, data + i * 50000, 50000), 50000);
	carry_over(disk, other);
	/* The two have read the same so far, and go on. */
	for (; i < 10; i++)
		assert_int_equal(move_in(other, data + i * 50000, 50000), 50000);
	assert_int_equal(move_in(other, data + 500000, 65536), SECTORS * 512 - 500000);
	for (i = 0; i < SECTORS; i++) {
		memcpy(&value, data + i * 512, 4);
		assert_int_equal(value, i);
	}
	expect(other, 0, 0);
	reset(disk);
	memset(data, 0x77, SECTORS * 512);
	access_blocks(disk, 0x2a, 0, 4, 2048);
	assert_int_equal(move_out(disk, data, 700), 700);
	carry_over(disk, other);
	assert_int_equal(move_out(other, data, 1348), 1348);
	expect(other, 0, 0);
	assert_int_equal(pread(disk_fd, data + 4096, 2048, 0), 2048);
	assert_memory_equal(data, data + 4096, 2048);
	usb_destroy(other);
	close(disk_fd);
	disk_fd = first_fd;
	free(data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
		cmocka_unit_test_setup_teardown(test_data, setup, teardown),
		cmocka_unit_test_setup_teardown(test_amounts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
