/*
 * A virtio disk as guests with nothing below them drive it (virtio 1.2 §4.1, §5.2): a PCI function with MSI-X, one
 * split ring, up to DISK_REQUESTS requests at once, each of up to three descriptors. Prints on port 0xe9; ends by
 * port 0xf4. Each guest includes it once.
 */
#ifndef KVIK_TESTS_MACHINE_DISK_H
#define KVIK_TESTS_MACHINE_DISK_H

#include <stdbool.h>

#include "guest.h"

#define DISK_ID	  0x10011af4u /* transitional */
#define REGISTERS 0xd8000000u /* where the BARs are put */
#define TABLE	  0xd8100000u
#define VECTOR	  0x51
#define SECTOR	  512
#define RING	  64

#define DISK_REQUESTS 20

#define COMMAND_MEMORY_AND_MASTER 6
#define CAPABILITY_VENDOR	  0x09
#define CAPABILITY_MSIX		  0x11
#define CFG_COMMON		  1
#define CFG_NOTIFY		  2
#define STATUS_ACKNOWLEDGE	  1
#define STATUS_DRIVER		  2
#define STATUS_DRIVER_OK	  4
#define STATUS_FEATURES_OK	  8
#define BLK_F_FLUSH		  (1u << 9)
#define BLK_F_WRITE_ZEROES	  (1u << 14)
#define VERSION_1		  1u /* of the upper half */
#define BLK_IN		 0
#define BLK_OUT		 1
#define BLK_FLUSH	 4
#define BLK_WRITE_ZEROES 13
#define DESC_NEXT	 1
#define DESC_WRITE	 2

struct common {
	uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
	uint16_t config_vector, queues;
	uint8_t status, generation;
	uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
	uint64_t queue_desc, queue_driver, queue_device;
} __attribute__((packed, aligned(4)));

static __attribute__((aligned(16))) volatile struct {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
} descriptors[RING];
static volatile struct {
	uint16_t flags, index, ring[RING];
} available;
static __attribute__((aligned(4))) volatile struct {
	uint16_t flags, index;
	struct {
		uint32_t id, length;
	} ring[RING];
} used;
static struct {
	uint32_t type, reserved;
	uint64_t sector;
} requests[DISK_REQUESTS];
static volatile uint8_t results[DISK_REQUESTS];
static volatile unsigned interrupts;
static volatile struct common *common;
static volatile uint16_t *doorbell;

static void say(const char *text)
{
	while (*text)
		out8(0xe9, *text++);
}

static __attribute__((noreturn)) void finish(const char *text, uint8_t status)
{
	say(text);
	out8(0xf4, status);
	for (;;)
		__asm__ volatile("cli; hlt");
}

static uint32_t config_read(unsigned slot, unsigned offset)
{
	out32(0xcf8, 0x80000000 | slot << 11 | (offset & 0xfc));
	return in32(0xcfc);
}

static void config_write(unsigned slot, unsigned offset, uint32_t value)
{
	out32(0xcf8, 0x80000000 | slot << 11 | (offset & 0xfc));
	out32(0xcfc, value);
}

static unsigned find_disk(void)
{
	unsigned slot;

	for (slot = 0; slot < 32; slot++)
		if (config_read(slot, 0) == DISK_ID)
			return slot;
	finish("no disk\n", 1);
}

static unsigned config_byte(unsigned slot, unsigned offset)
{
	return config_read(slot, offset) >> 8 * (offset & 3) & 0xff;
}

/* Both BARs to where they can be reached, and what the capabilities say of the registers. */
static void find_registers(unsigned slot)
{
	uint32_t multiplier = 0, notify = 0;
	unsigned at, bar, msix = 0;

	config_write(slot, 4, 0);
	for (at = config_byte(slot, 0x34); at; at = config_byte(slot, at + 1)) {
		if (config_byte(slot, at) == CAPABILITY_MSIX) {
			msix = at;
			bar = config_read(slot, at + 4) & 7;
			config_write(slot, 0x10 + 4 * bar, TABLE);
		} else if (config_byte(slot, at) == CAPABILITY_VENDOR) {
			bar = config_byte(slot, at + 4);
			if (config_byte(slot, at + 3) == CFG_COMMON) {
				common = (struct common *)(uint64_t)(REGISTERS + config_read(slot, at + 8));
				config_write(slot, 0x10 + 4 * bar, REGISTERS);
				config_write(slot, 0x14 + 4 * bar, 0);
			} else if (config_byte(slot, at + 3) == CFG_NOTIFY) {
				notify = REGISTERS + config_read(slot, at + 8);
				multiplier = config_read(slot, at + 16);
			}
		}
	}
	if (!common || !notify || !msix)
		finish("a capability is missing\n", 1);
	config_write(slot, 4, COMMAND_MEMORY_AND_MASTER);
	/* The first message is ours, none is masked. */
	store32(TABLE, LAPIC);
	store32(TABLE + 4, 0);
	store32(TABLE + 8, VECTOR);
	store32(TABLE + 12, 0);
	config_write(slot, msix, (config_read(slot, msix) & 0x3fffffff) | 0x80000000);
	common->queue_select = 0;
	doorbell = (uint16_t *)(uint64_t)(notify + common->queue_notify_off * multiplier);
}

/* Of the lower half's features: those that are needed. */
static void start(uint32_t features)
{
	common->status = 0;
	while (common->status)
		;
	common->status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
	common->device_feature_select = 0;
	if ((common->device_feature & features) != features)
		finish("a feature is missing\n", 1);
	common->driver_feature_select = 0;
	common->driver_feature = features;
	common->driver_feature_select = 1;
	common->driver_feature = VERSION_1;
	common->status |= STATUS_FEATURES_OK;
	if (!(common->status & STATUS_FEATURES_OK))
		finish("the features are refused\n", 1);
	common->queue_select = 0;
	common->queue_size = RING;
	common->queue_vector = 0;
	if (common->queue_vector)
		finish("the vector is refused\n", 1);
	common->queue_desc = (uint64_t)descriptors;
	common->queue_driver = (uint64_t)&available;
	common->queue_device = (uint64_t)&used;
	common->queue_enable = 1;
	common->status |= STATUS_DRIVER_OK;
}

__attribute__((interrupt)) static void on_interrupt(struct frame *frame)
{
	(void)frame;
	interrupts++;
	store32(LAPIC + 0xb0, 0);
}

static void describe(unsigned n, const void *address, uint32_t length, uint16_t flags)
{
	descriptors[n].address = (uint64_t)address;
	descriptors[n].length = length;
	descriptors[n].flags = flags;
	descriptors[n].next = n + 1;
}

/* Make ready request `n`, of the first few that disk_run starts. A flush has no data. */
static void disk_prepare(unsigned n, uint32_t type, uint64_t sector, void *data, uint32_t size)
{
	unsigned first = 3 * n, status = size ? first + 2 : first + 1;

	requests[n].type = type;
	requests[n].sector = sector;
	results[n] = 0xff;
	describe(first, &requests[n], sizeof(requests[n]), DESC_NEXT);
	if (size)
		describe(first + 1, data, size, DESC_NEXT | (type == BLK_IN ? DESC_WRITE : 0));
	describe(status, (const void *)&results[n], 1, DESC_WRITE);
}

/* Have the disk do the first `count`, and sleep until its interrupt says so. */
static void disk_run(unsigned count)
{
	uint16_t wanted = used.index + count;
	unsigned had = interrupts, i;

	for (i = 0; i < count; i++)
		available.ring[(uint16_t)(available.index + i) % RING] = 3 * i;
	__asm__ volatile("" : : : "memory");
	available.index += count;
	__asm__ volatile("mfence" : : : "memory");
	*doorbell = 0;
	for (;;) {
		__asm__ volatile("cli");
		if (used.index == wanted && interrupts != had)
			break;
		__asm__ volatile("sti; hlt");
	}
	for (i = 0; i < count; i++)
		if (results[i])
			finish("a request fails\n", 1);
}

/* Find it, and have it ready for requests. */
static void disk_start(uint32_t features)
{
	set_gate(VECTOR, on_interrupt);
	enable_interrupts();
	find_registers(find_disk());
	start(features);
}

#endif
