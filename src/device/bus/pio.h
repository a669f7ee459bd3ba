/*
 * The I/O port space: 65,536 byte-wide ports, ranges of which belong to devices.
 *
 * Ports that nobody claims read as ones and swallow writes, as an undriven ISA bus does. No lock is
 * held while a device is called, so that it may add or remove other ranges from inside an access
 * (range.h).
 */
#ifndef KVIK_DEVICE_BUS_PIO_H
#define KVIK_DEVICE_BUS_PIO_H

#include <stdint.h>

#include "util/error.h"

/* A device's side. `offset` is from the start of its range; size is 1, 2 or 4 and at most
 * widest_access; the access lies within the range. Called on vCPU threads, without locks. */
struct pio_ops {
	uint32_t (*read)(void *device, uint16_t offset, unsigned size);
	void (*write)(void *device, uint16_t offset, unsigned size, uint32_t value);
	/* Wider accesses are broken into bytes at rising ports, as on a bus of 8-bit devices. */
	unsigned widest_access;
};

struct pio_bus;

struct pio_bus *pio_bus_create(void); /* NULL: out of memory */
void pio_bus_destroy(struct pio_bus *bus);

/* Give ports [first, first + count) to a device. `name` outlives the range. -EEXIST when taken. Any
 * thread. */
int pio_bus_add(struct pio_bus *bus, uint16_t first, unsigned count, const char *name,
		const struct pio_ops *ops, void *device, struct error *error);
/* Free the range that starts at `first`, if there is one. Afterwards no access is in it. Any thread
 * that isn't in it itself. */
void pio_bus_remove(struct pio_bus *bus, uint16_t first);

/* One access of 1, 2 or 4 bytes by a vCPU. */
uint32_t pio_bus_read(struct pio_bus *bus, uint16_t port, unsigned size);
void pio_bus_write(struct pio_bus *bus, uint16_t port, unsigned size, uint32_t value);

/* Call `visit` for each range, by rising addresses; it adds and removes none. Any thread. */
void pio_bus_visit(struct pio_bus *bus,
		   void (*visit)(void *context, uint64_t first, uint64_t last, const char *name), void *context);

#endif
