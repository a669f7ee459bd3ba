/* A driver for tests of virtio devices: one device without a transport, its queues split, in a little RAM. */
#ifndef KVIK_TESTS_UNIT_VIRTIO_DRIVER_H
#define KVIK_TESTS_UNIT_VIRTIO_DRIVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/virtio/virtio.h"

#define DRIVER_SIZE	8 /* of each queue */
#define DRIVER_QUEUE_BYTES 0x1000
#define DRIVER_GPA	0x100000
#define DRIVER_DATA	0x10000 /* where buffers begin; before it, the queues */
#define DRIVER_RAM	0x40000

struct driver {
	uint8_t ram[DRIVER_RAM] __attribute__((aligned(4096)));
	struct guest_memory memory;
	struct virtio_host host;
	struct virtio_device *virtio;
	uint16_t available[VIRTIO_QUEUES_MAX], used[VIRTIO_QUEUES_MAX];
	unsigned descriptor[VIRTIO_QUEUES_MAX];
	_Atomic unsigned interrupts, config_interrupts;
};

static inline void driver_interrupt(void *context, unsigned queue)
{
	(void)queue;
	((struct driver *)context)->interrupts++;
}

static inline void driver_config_interrupt(void *context)
{
	((struct driver *)context)->config_interrupts++;
}

/* Before the device is created with driver->host. */
static inline void driver_init(struct driver *driver)
{
	memset(driver, 0, sizeof(*driver));
	driver->memory.region_count = 1;
	driver->memory.regions[0] = (struct guest_region){DRIVER_GPA, DRIVER_RAM, driver->ram, NULL};
	driver->host = (struct virtio_host){&driver->memory, NULL, VIRTIO_RING_FEATURES};
}

/* Take the device over with these features (and VERSION_1), and enable its queues. */
static inline void driver_start(struct driver *driver, struct virtio_device *virtio,
				uint64_t features)
{
	unsigned i;
	uint32_t gpa = DRIVER_GPA;

	assert_non_null(virtio);
	driver->virtio = virtio;
	memset(driver->available, 0, sizeof(driver->available));
	memset(driver->used, 0, sizeof(driver->used));
	memset(driver->ram, 0, DRIVER_DATA);
	virtio->transport = (struct virtio_transport){.queue_interrupt = driver_interrupt,
						      .config_interrupt = driver_config_interrupt,
						      .context = driver};
	features |= 1ull << VIRTIO_F_VERSION_1;
	virtio_set_status(virtio, 0);
	virtio_set_status(virtio, 3);
	virtio_set_driver_features(virtio, features, 0);
	virtio_set_driver_features(virtio, features >> 32, 1);
	virtio_set_status(virtio, 3 | 8);
	assert_int_equal(virtio_status(virtio), 3 | 8);
	for (i = 0; i < virtio->queue_count; i++, gpa += DRIVER_QUEUE_BYTES) {
		virtio_queue_set_size(virtio, i, DRIVER_SIZE);
		virtio_queue_set_address(virtio, i, VIRTIO_DESCRIPTORS, 0, gpa);
		virtio_queue_set_address(virtio, i, VIRTIO_DRIVER_AREA, 0, gpa + 0x400);
		virtio_queue_set_address(virtio, i, VIRTIO_DEVICE_AREA, 0, gpa + 0x800);
		virtio_queue_enable(virtio, i);
	}
	virtio_release(virtio);
	virtio_set_status(virtio, 3 | 8 | 4);
}

static inline void *driver_at(struct driver *driver, uint32_t offset)
{
	return driver->ram + offset;
}

/* One buffer of a chain: an offset in the RAM. */
struct driver_buffer {
	uint32_t offset, size;
	bool is_writable;
};

/* Make a chain available, from the first descriptor that it needs, without notifying. */
static inline void driver_offer(struct driver *driver, unsigned queue,
				const struct driver_buffer *buffers, unsigned count)
{
	struct vring_desc *table = driver_at(driver, queue * DRIVER_QUEUE_BYTES);
	uint16_t *ring = driver_at(driver, queue * DRIVER_QUEUE_BYTES + 0x400);
	unsigned first = driver->descriptor[queue], i;

	for (i = 0; i < count; i++)
		table[(first + i) % DRIVER_SIZE] = (struct vring_desc){
			DRIVER_GPA + buffers[i].offset, buffers[i].size,
			(buffers[i].is_writable ? VRING_DESC_F_WRITE : 0) |
				(i + 1 < count ? VRING_DESC_F_NEXT : 0),
			(first + i + 1) % DRIVER_SIZE};
	driver->descriptor[queue] = (first + count) % DRIVER_SIZE;
	ring[2 + driver->available[queue] % DRIVER_SIZE] = first;
	__atomic_store_n(&ring[1], ++driver->available[queue], __ATOMIC_RELEASE);
}

/* Whether a chain has come back; its length in `written`. */
static inline bool driver_take(struct driver *driver, unsigned queue, uint32_t *written)
{
	uint32_t *used = driver_at(driver, queue * DRIVER_QUEUE_BYTES + 0x800);

	if (__atomic_load_n((uint16_t *)used + 1, __ATOMIC_ACQUIRE) == driver->used[queue])
		return false;
	*written = used[1 + 2 * (driver->used[queue] % DRIVER_SIZE) + 1];
	driver->used[queue]++;
	return true;
}

/* Offer, notify and wait for it. What it wrote. */
static inline uint32_t driver_do(struct driver *driver, unsigned queue,
				 const struct driver_buffer *buffers, unsigned count)
{
	uint32_t written = 0;

	driver_offer(driver, queue, buffers, count);
	virtio_notify(driver->virtio, queue);
	while (!driver_take(driver, queue, &written))
		usleep(100);
	return written;
}

#endif
