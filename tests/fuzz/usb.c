/*
 * Fuzz target: a disk and a CD-ROM drive by USB, whose host is hostile.
 *
 * Each step of the input is a byte that says what to do, and its arguments: a control request, a packet out (as it is, or a
 * command's wrapper around a few bytes of the input), one in, a reset, or that the disk is saved and loaded, as it is or with bytes
 * changed. Nothing may be written beyond what a packet in asked for, no packet may come out longer than it went in,
 * and work on the medium has to end.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/usb/mass_storage.h"
#include "fuzz.h"
#include "util/state.h"

#define DISK_BYTES (128u << 10)
#define PACKET	   65536u
#define STEPS	   200

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t packet[PACKET + 16];

static void wake(void *controller, unsigned port, unsigned endpoint, bool is_in)
{
	(void)controller;
	(void)port;
	fuzz_check(endpoint == (is_in ? 1 : 2));
}

static struct usb_device *create(bool is_cdrom)
{
	const struct block_options options = {
		.format = "raw", .readonly = is_cdrom, .discard = true, .unlocked = true, .aio = BLOCK_AIO_THREADS};
	struct drive_config config = {.is_present = true, .is_cdrom = is_cdrom};
	struct usb_device *device;
	struct error error;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	fuzz_check(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
	fuzz_check(block_open_fd(fd, "fuzz", &options, &config.block, &error) == 0);
	close(fd);
	device = usb_mass_storage_create(&config, false, &error);
	fuzz_check(device != NULL);
	device->lock = &lock;
	device->wake = wake;
	device->is_configured = true;
	return device;
}

static void control(struct usb_device *device, struct fuzz_input *input)
{
	struct usb_setup setup = {
		fuzz_u8(input), fuzz_u8(input), fuzz_u16(input), fuzz_u16(input), fuzz_u16(input) % (USB_CONTROL_MAX + 1)};
	int result;

	memset(packet, 0, USB_CONTROL_MAX);
	result = usb_control(device, &setup, packet);
	fuzz_check(result <= setup.length);
	device->is_configured = true;
}

/* A wrapper that is one, of what the input says. */
static size_t wrap(struct fuzz_input *input)
{
	memset(packet, 0, 31);
	memcpy(packet, "USBC", 4);
	packet[12] = fuzz_u8(input) & 0x80;
	packet[10] = fuzz_u8(input) & 0x7;
	packet[9] = fuzz_u8(input);
	packet[8] = fuzz_u8(input);
	packet[14] = 16;
	fuzz_take(input, packet + 15, 16);
	return 31;
}

static void send(struct usb_device *device, struct fuzz_input *input, bool is_wrapped)
{
	size_t size = is_wrapped ? wrap(input) : fuzz_u16(input) + 1u;
	int result;

	if (!is_wrapped)
		memset(packet, fuzz_u8(input), size);
	result = usb_out(device, is_wrapped ? 2 : fuzz_u8(input) & 0xf ? 2 : 3, packet, size);
	fuzz_check(result <= (int)size);
}

static void receive(struct usb_device *device, struct fuzz_input *input)
{
	size_t size = fuzz_u16(input) + 1u;
	int result;

	memset(packet + size, 0xa5, 16);
	result = usb_in(device, 1, packet, size);
	fuzz_check(result <= (int)size && packet[size] == 0xa5 && packet[size + 15] == 0xa5);
}

static void save_and_load(struct usb_device *device, struct fuzz_input *input)
{
	struct usb_device *copy = calloc(1, device->kind->bytes);
	uint8_t changes = fuzz_u8(input) & 3, *changed;
	struct state_stream saved, loaded;
	const void *bytes;
	struct error error;
	size_t size;

	usb_hold(device);
	state_save_begin(&saved);
	state_section_begin(&saved, "disk", 1);
	usb_transfer(device, copy, &saved);
	state_section_end(&saved);
	fuzz_check(copy && state_saved(&saved, &bytes, &size, &error) == 0);
	changed = malloc(size);
	fuzz_check(changed != NULL);
	memcpy(changed, bytes, size);
	for (unsigned i = 0; i < changes; i++)
		changed[fuzz_u16(input) % (size < 400 ? size : 400)] = fuzz_u8(input);
	state_load_begin(&loaded, changed, size);
	state_section_begin(&loaded, "disk", 1);
	usb_transfer(device, copy, &loaded);
	if (state_complete(&loaded))
		usb_loaded(device, copy);
	else
		fuzz_check(changes != 0);
	state_end(&loaded);
	state_end(&saved);
	device->is_configured = true;
	free(changed);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct usb_device *device = create(fuzz_u8(&input) & 1);
	unsigned steps;

	pthread_mutex_lock(&lock);
	for (steps = 0; input.size && steps < STEPS; steps++) {
		uint8_t what = fuzz_u8(&input);

		/* Mostly in step with the medium, sometimes not. */
		if (!(what & 0x80))
			usb_hold(device);
		switch (what & 7) {
		case 0: control(device, &input); break;
		case 1: send(device, &input, false); break;
		case 2:
		case 3:
		case 4: send(device, &input, true); break;
		case 5: save_and_load(device, &input); break;
		default: receive(device, &input); break;
		}
		if ((what & 0x7f) == 0x7f)
			usb_reset(device);
		device->is_configured = true;
	}
	pthread_mutex_unlock(&lock);
	usb_destroy(device);
	return 0;
}
