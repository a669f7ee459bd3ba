/*
 * The memory-mapped device space: guest-physical ranges outside of RAM that belong to devices.
 *
 * Addresses that nobody claims read as ones and swallow writes. As on the port bus (pio.h), no lock
 * is held while a device is called.
 */
#ifndef KVIK_DEVICE_BUS_MMIO_H
#define KVIK_DEVICE_BUS_MMIO_H

#include <stdint.h>

#include "util/error.h"

/* A device's side: 1, 2, 4 or 8 bytes at `offset` of its range, wholly inside it; any alignment.
 * Called on vCPU threads, without locks. */
struct mmio_ops {
	uint64_t (*read)(void *device, uint64_t offset, unsigned size);
	void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
};

struct mmio_bus;

struct mmio_bus *mmio_bus_create(void); /* NULL: out of memory */
void mmio_bus_destroy(struct mmio_bus *bus);

/* Give [gpa, gpa + size) to a device. `name` outlives the range. -EEXIST when taken. Any thread. */
int mmio_bus_add(struct mmio_bus *bus, uint64_t gpa, uint64_t size_bytes, const char *name,
		 const struct mmio_ops *ops, void *device, struct error *error);
/* Free the range that starts at `gpa`, if there is one. Afterwards no access is in it. Any thread that
 * isn't in it itself. */
void mmio_bus_remove(struct mmio_bus *bus, uint64_t gpa);

/* One access by a vCPU, of 1 to 8 bytes as KVM_EXIT_MMIO gives it, little-endian in `data`. */
void mmio_bus_read(struct mmio_bus *bus, uint64_t gpa, uint8_t *data, unsigned size);
void mmio_bus_write(struct mmio_bus *bus, uint64_t gpa, const uint8_t *data, unsigned size);

/* Call `visit` for each range, by rising addresses; it adds and removes none. Any thread. */
void mmio_bus_visit(struct mmio_bus *bus,
		   void (*visit)(void *context, uint64_t first, uint64_t last, const char *name), void *context);

#endif
