/*
 * pc-testdev as QEMU has it ("-device pc-testdev"), for kvm-unit-tests: a register of four bytes that
 * is read and written by accesses of all sizes, 64 KiB of memory that is a device, interrupt lines at
 * the guest's will, and a port that takes a page of RAM out of the host's page tables, so that the
 * next access to it faults below the guest.
 */
#include "device/pc_testdev.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "device/locked_bytes.h"

struct pc_testdev {
	struct irq_line irq;
	const struct guest_memory *guest_memory;
	pthread_mutex_t lock; /* guards what follows */
	uint8_t port[PC_TESTDEV_PORTS];
	uint32_t levels; /* interrupt lines that are up */
	uint8_t memory[PC_TESTDEV_MEMORY_BYTES];
};

static uint32_t port_read(void *opaque, uint16_t offset, unsigned size)
{
	struct pc_testdev *device = opaque;

	return locked_bytes_read(&device->lock, device->port + offset, size);
}

static void port_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
	struct pc_testdev *device = opaque;

	locked_bytes_write(&device->lock, device->port + offset, size, value);
}

static uint32_t nothing_read(void *opaque, uint16_t offset, unsigned size)
{
	(void)opaque;
	(void)offset;
	(void)size;
	return 0;
}

/* The page stays in its file: only the mapping goes, and comes back at the next access. */
static void flush_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
	const struct pc_testdev *device = opaque;
	uint64_t gpa = value & ~(uint64_t)(GUEST_MEMORY_PAGE - 1);
	const uint8_t *hva = guest_memory_at(device->guest_memory, gpa, GUEST_MEMORY_PAGE);

	if (offset == 0 && size == 4 && hva)
		madvise((void *)hva, GUEST_MEMORY_PAGE, MADV_DONTNEED);
}

static void irq_write(void *opaque, uint16_t offset, unsigned size, uint32_t value)
{
	struct pc_testdev *device = opaque;
	struct irq_line line = device->irq;

	(void)size;
	line.gsi = offset;
	pthread_mutex_lock(&device->lock);
	device->levels &= ~(1u << offset);
	if (value)
		device->levels |= 1u << offset;
	irq_line_set(&line, value != 0);
	pthread_mutex_unlock(&device->lock);
}

static uint64_t memory_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pc_testdev *device = opaque;

	return locked_bytes_read(&device->lock, device->memory + offset, size);
}

static void memory_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct pc_testdev *device = opaque;

	locked_bytes_write(&device->lock, device->memory + offset, size, value);
}

const struct pio_ops pc_testdev_pio_ops = {port_read, port_write, 4};
const struct pio_ops pc_testdev_byte_ops = {port_read, port_write, 1};
const struct pio_ops pc_testdev_flush_ops = {nothing_read, flush_write, 4};
const struct pio_ops pc_testdev_irq_ops = {nothing_read, irq_write, 1};
const struct mmio_ops pc_testdev_mmio_ops = {memory_read, memory_write};

/* Lines that differ from `levels`, with the lock held. */
static void set_levels(struct pc_testdev *device, uint32_t levels)
{
	uint32_t changed = device->levels ^ levels;
	struct irq_line line = device->irq;

	device->levels = levels;
	for (line.gsi = 0; line.gsi < PC_TESTDEV_IRQS; line.gsi++)
		if (changed >> line.gsi & 1)
			irq_line_set(&line, levels >> line.gsi & 1);
}

static void pc_testdev_reset(void *opaque)
{
	struct pc_testdev *device = opaque;

	pthread_mutex_lock(&device->lock);
	set_levels(device, 0);
	memset(device->port, 0, sizeof(device->port));
	memset(device->memory, 0, sizeof(device->memory));
	pthread_mutex_unlock(&device->lock);
}

static void transfer(struct state_stream *state, struct pc_testdev *device)
{
	state_bytes(state, "port", device->port, sizeof(device->port));
	state_u32(state, "levels", &device->levels);
	state_check(state, "levels", device->levels < 1u << PC_TESTDEV_IRQS);
	state_bytes(state, "memory", device->memory, sizeof(device->memory));
}

static void pc_testdev_save(void *opaque, struct state_stream *state)
{
	struct pc_testdev *device = opaque;

	pthread_mutex_lock(&device->lock);
	transfer(state, device);
	pthread_mutex_unlock(&device->lock);
}

static void pc_testdev_load(void *opaque, struct state_stream *state)
{
	struct pc_testdev *device = opaque, *loaded = calloc(1, sizeof(*loaded));

	if (!loaded) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	transfer(state, loaded);
	if (state_complete(state)) {
		pthread_mutex_lock(&device->lock);
		memcpy(device->port, loaded->port, sizeof(device->port));
		memcpy(device->memory, loaded->memory, sizeof(device->memory));
		set_levels(device, loaded->levels);
		pthread_mutex_unlock(&device->lock);
	}
	free(loaded);
}

static void pc_testdev_destroy(void *opaque)
{
	struct pc_testdev *device = opaque;

	pthread_mutex_destroy(&device->lock);
	free(device);
}

const struct device_ops pc_testdev_device_ops = {
	.version = 1,
	.reset = pc_testdev_reset,
	.save = pc_testdev_save,
	.load = pc_testdev_load,
	.destroy = pc_testdev_destroy,
};

struct pc_testdev *pc_testdev_create(const struct irq_line *irq, const struct guest_memory *memory,
				     struct error *error)
{
	struct pc_testdev *device = calloc(1, sizeof(*device));

	if (!device) {
		error_set_errno(error, ENOMEM, "cannot create pc-testdev");
		return NULL;
	}
	pthread_mutex_init(&device->lock, NULL);
	device->irq = *irq;
	device->guest_memory = memory;
	return device;
}
