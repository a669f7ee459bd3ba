/*
 * pci-testdev as QEMU specifies it (docs/specs/pci-testdev.rst): vendor 1b36, device 0005. BAR 0 is
 * 4 KiB of memory, BAR 1 256 ports, each with the same header; BAR 2 is an address range with nothing
 * behind it, to see what guests make of its size.
 *
 * A guest starts a test by writing its number, reads where it shall write which byte, and does so:
 * test 0 counts these writes. Tests 1 and 2 take them by an eventfd instead, of any byte or of this
 * one alone, so that the vCPU doesn't leave the kernel and the count stays 0.
 */
#include "device/pci_testdev.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/log.h"

#define VENDOR	  0x1b36
#define DEVICE_ID 0x0005
#define CLASS	  0x00ff00
#define SUBSYSTEM_VENDOR 0x1af4
#define SUBSYSTEM 0x1100

/* The header. */
#define HEADER_TEST   0 /* writing starts a test */
#define HEADER_WIDTH  1
#define HEADER_OFFSET 4
#define HEADER_DATA   8
#define HEADER_COUNT  12
#define HEADER_NAME   16
#define NAME_BYTES    32

#define MEMORY_BYTES 4096
#define PORTS	     256

enum { BAR_MEMORY, BAR_PORTS, BAR_EMPTY };
enum { TEST_COUNT, TEST_ANY_DATA, TEST_DATA, TESTS };
#define NO_TEST 0xff

#define DATA_MATCHED 0xfa
#define DATA_ANY     0xce

struct window {
	struct pci_testdev *device;
	unsigned bar;
};

struct pci_testdev {
	struct pci_function function;
	const struct kvm_vm *vm;
	struct window windows[2];
	pthread_mutex_t lock; /* guards what follows */
	uint8_t test, test_bar; /* the one that is on; NO_TEST */
	uint32_t count;
	uint64_t address[2]; /* where the windows are; 0: nowhere */
	int eventfd; /* what takes the test's writes; -1: nothing */
	uint64_t eventfd_address;
};

static uint32_t write_offset(unsigned bar, unsigned test)
{
	return bar == BAR_MEMORY ? MEMORY_BYTES / 2 + test : PORTS / 2 + TESTS + test;
}

static uint8_t write_data(unsigned test)
{
	return test == TEST_ANY_DATA ? DATA_ANY : DATA_MATCHED;
}

/* Tell KVM to take the writes, or not to any more. */
static int set_eventfd(struct pci_testdev *device, uint32_t flags)
{
	struct kvm_ioeventfd request = {
		.datamatch = write_data(device->test),
		.addr = device->eventfd_address,
		.len = 1,
		.fd = device->eventfd,
		.flags = flags,
	};

	if (device->test == TEST_DATA)
		request.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
	if (device->test_bar == BAR_PORTS)
		request.flags |= KVM_IOEVENTFD_FLAG_PIO;
	return kvm_vm_ioctl(device->vm, KVM_IOEVENTFD, &request);
}

/* With the lock held: an eventfd where the test that is on has its window. */
static void connect_eventfd(struct pci_testdev *device)
{
	int result;

	if (!device->vm || device->test == NO_TEST || device->test == TEST_COUNT ||
	    !device->address[device->test_bar])
		return;
	device->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (device->eventfd < 0)
		return;
	device->eventfd_address = device->address[device->test_bar] +
				  write_offset(device->test_bar, device->test);
	result = set_eventfd(device, 0);
	if (result < 0) {
		log_guest("pci-testdev: KVM_IOEVENTFD: %s", strerror(-result));
		close(device->eventfd);
		device->eventfd = -1;
	}
}

static void disconnect_eventfd(struct pci_testdev *device)
{
	if (device->eventfd < 0)
		return;
	set_eventfd(device, KVM_IOEVENTFD_FLAG_DEASSIGN);
	close(device->eventfd);
	device->eventfd = -1;
}

/* With the lock held. */
static void start_test(struct pci_testdev *device, unsigned bar, uint8_t test)
{
	disconnect_eventfd(device);
	device->test = test < TESTS ? test : NO_TEST;
	device->test_bar = bar;
	device->count = 0;
	connect_eventfd(device);
}

static uint8_t read_byte(const struct pci_testdev *device, uint64_t offset)
{
	static const char *const tests[] = {"no-eventfd", "wildcard-eventfd", "datamatch-eventfd"};
	uint8_t header[HEADER_NAME + NAME_BYTES] = {0};
	uint32_t write_at;

	if (device->test == NO_TEST || offset >= sizeof(header))
		return 0;
	write_at = write_offset(device->test_bar, device->test);
	header[HEADER_TEST] = device->test;
	header[HEADER_WIDTH] = 1;
	memcpy(header + HEADER_OFFSET, &write_at, 4);
	header[HEADER_DATA] = write_data(device->test);
	memcpy(header + HEADER_COUNT, &device->count, 4);
	snprintf((char *)header + HEADER_NAME, NAME_BYTES, "%s-%s",
		 device->test_bar == BAR_MEMORY ? "mmio" : "portio", tests[device->test]);
	return header[offset];
}

static uint64_t window_read(const struct window *window, uint64_t offset, unsigned size)
{
	struct pci_testdev *device = window->device;
	uint64_t value = 0;
	unsigned i;

	pthread_mutex_lock(&device->lock);
	for (i = 0; i < size; i++)
		value |= (uint64_t)read_byte(device, offset + i) << (8 * i);
	pthread_mutex_unlock(&device->lock);
	return value;
}

static void window_write(const struct window *window, uint64_t offset, uint8_t value)
{
	struct pci_testdev *device = window->device;

	pthread_mutex_lock(&device->lock);
	if (offset == HEADER_TEST) {
		start_test(device, window->bar, value);
	} else if (device->test != NO_TEST && device->test_bar == window->bar &&
		   offset == write_offset(device->test_bar, device->test) &&
		   (device->test == TEST_ANY_DATA || value == write_data(device->test))) {
		device->count++;
	}
	pthread_mutex_unlock(&device->lock);
}

static uint64_t memory_read(void *window, uint64_t offset, unsigned size)
{
	return window_read(window, offset, size);
}

static void memory_write(void *window, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned i;

	for (i = 0; i < size; i++)
		window_write(window, offset + i, value >> (8 * i));
}

static uint32_t port_read(void *window, uint16_t offset, unsigned size)
{
	return window_read(window, offset, size);
}

static void port_write(void *window, uint16_t offset, unsigned size, uint32_t value)
{
	memory_write(window, offset, size, value);
}

static const struct mmio_ops memory_ops = {memory_read, memory_write};
static const struct pio_ops port_ops = {port_read, port_write, 4};

static struct pci_testdev *device_of(struct pci_function *function, unsigned bar)
{
	return ((struct window *)function->bars[bar].device)->device;
}

static void activate(struct pci_function *function, unsigned bar, uint64_t address)
{
	struct pci_testdev *device = device_of(function, bar);

	pthread_mutex_lock(&device->lock);
	device->address[bar] = address;
	if (device->test_bar == bar)
		connect_eventfd(device);
	pthread_mutex_unlock(&device->lock);
}

static void deactivate(struct pci_function *function, unsigned bar, uint64_t address)
{
	struct pci_testdev *device = device_of(function, bar);

	(void)address;
	pthread_mutex_lock(&device->lock);
	if (device->test_bar == bar)
		disconnect_eventfd(device);
	device->address[bar] = 0;
	pthread_mutex_unlock(&device->lock);
}

static void pci_testdev_reset(void *opaque)
{
	struct pci_testdev *device = opaque;

	pthread_mutex_lock(&device->lock);
	start_test(device, BAR_MEMORY, NO_TEST);
	pthread_mutex_unlock(&device->lock);
}

static void transfer(struct state_stream *state, struct pci_testdev *device)
{
	state_u8(state, "test", &device->test);
	state_check(state, "test", device->test < TESTS || device->test == NO_TEST);
	state_u8(state, "test_bar", &device->test_bar);
	state_check(state, "test_bar", device->test_bar <= BAR_PORTS);
	state_u32(state, "count", &device->count);
}

static void pci_testdev_save(void *opaque, struct state_stream *state)
{
	struct pci_testdev *device = opaque;

	pci_function_save(&device->function, state);
	pthread_mutex_lock(&device->lock);
	transfer(state, device);
	pthread_mutex_unlock(&device->lock);
}

static void pci_testdev_load(void *opaque, struct state_stream *state)
{
	struct pci_testdev *device = opaque, loaded = {.test = NO_TEST};
	struct pci_function_state saved;

	pci_function_transfer(&device->function, &saved, state);
	transfer(state, &loaded);
	if (state_complete(state)) {
		pci_function_restore(&device->function, &saved);
		pthread_mutex_lock(&device->lock);
		start_test(device, loaded.test_bar, loaded.test);
		device->count = loaded.count;
		pthread_mutex_unlock(&device->lock);
	}
	pci_function_state_free(&saved);
}

static void pci_testdev_destroy(void *opaque)
{
	struct pci_testdev *device = opaque;

	pci_function_destroy(&device->function);
	disconnect_eventfd(device);
	pthread_mutex_destroy(&device->lock);
	free(device);
}

const struct device_ops pci_testdev_device_ops = {
	.version = 1,
	.reset = pci_testdev_reset,
	.save = pci_testdev_save,
	.load = pci_testdev_load,
	.destroy = pci_testdev_destroy,
};

static void describe(struct pci_testdev *device, unsigned bar, struct pci_bar with)
{
	device->windows[bar] = (struct window){device, bar};
	with.device = &device->windows[bar];
	with.activate = activate;
	with.deactivate = deactivate;
	device->function.bars[bar] = with;
}

struct pci_testdev *pci_testdev_create(struct pci_bus *bus, unsigned slot_function,
				       const struct kvm_vm *vm, uint64_t membar_bytes,
				       struct error *error)
{
	struct pci_testdev *device = calloc(1, sizeof(*device));

	if (!device) {
		error_set_errno(error, ENOMEM, "cannot create pci-testdev");
		return NULL;
	}
	pthread_mutex_init(&device->lock, NULL);
	device->vm = vm;
	device->test = NO_TEST;
	device->eventfd = -1;
	pci_function_init(&device->function, VENDOR, DEVICE_ID, CLASS, 0);
	pci_function_set_subsystem(&device->function, SUBSYSTEM_VENDOR, SUBSYSTEM);
	describe(device, BAR_MEMORY, (struct pci_bar){
		.kind = PCI_BAR_MEMORY32, .size_bytes = MEMORY_BYTES, .name = "pci-testdev memory",
		.mmio = &memory_ops});
	describe(device, BAR_PORTS, (struct pci_bar){
		.kind = PCI_BAR_IO, .size_bytes = PORTS, .name = "pci-testdev ports",
		.pio = &port_ops});
	if (membar_bytes)
		device->function.bars[BAR_EMPTY] = (struct pci_bar){
			.kind = PCI_BAR_MEMORY64, .is_prefetchable = true,
			.size_bytes = membar_bytes, .name = "pci-testdev membar"};
	pci_bus_add(bus, slot_function, &device->function);
	return device;
}
