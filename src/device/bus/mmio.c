#include "device/bus/mmio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/bus/range.h"
#include "util/log.h"

/* Every kernel probes for what isn't there: only for those who look closely. */
#define UNCLAIMED_LEVEL LOG_DEBUG

struct mmio_bus {
	struct bus_ranges ranges;
};

#define RECENT 8
static _Thread_local struct bus_recent recent[RECENT];

struct mmio_bus *mmio_bus_create(void)
{
	struct mmio_bus *bus = calloc(1, sizeof(*bus));

	if (bus)
		bus_ranges_init(&bus->ranges);
	return bus;
}

void mmio_bus_destroy(struct mmio_bus *bus)
{
	if (!bus)
		return;
	bus_ranges_destroy(&bus->ranges);
	free(bus);
}

int mmio_bus_add(struct mmio_bus *bus, uint64_t gpa, uint64_t size_bytes, const char *name,
		 const struct mmio_ops *ops, void *device, struct error *error)
{
	struct bus_range range = { gpa, gpa + (size_bytes - 1), name, ops, device }, taken;

	if (size_bytes == 0 || range.last < gpa)
		return error_set(error, EINVAL, "%s: not a range of addresses", name);
	switch (bus_ranges_add(&bus->ranges, &range, &taken)) {
	case 0:
		return 0;
	case -EEXIST:
		return error_set(error, EEXIST, "%s: address 0x%llx is already used by %s", name,
				 (unsigned long long)taken.first, taken.name);
	default:
		return error_set_errno(error, ENOMEM, "%s", name);
	}
}

void mmio_bus_remove(struct mmio_bus *bus, uint64_t gpa)
{
	bus_ranges_remove(&bus->ranges, gpa);
}

/* The range that holds all of [gpa, gpa + size), entered; NULL: there is none. */
static struct bus_entry *enter(struct mmio_bus *bus, uint64_t gpa, unsigned size)
{
	return bus_ranges_enter(&bus->ranges, gpa, size, &recent[gpa / 4096 % RECENT]);
}

/* The widest naturally sized piece (1, 2, 4, 8) of an access of `size` bytes. */
static unsigned piece_size(unsigned size)
{
	return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
}

void mmio_bus_read(struct mmio_bus *bus, uint64_t gpa, uint8_t *data, unsigned size)
{
	struct bus_entry *entry;
	uint64_t value;
	unsigned piece;

	memset(data, 0xff, size);
	while (size) {
		piece = piece_size(size);
		entry = enter(bus, gpa, piece);
		if (entry) {
			const struct mmio_ops *ops = entry->range.ops;

			value = ops->read(entry->range.device, gpa - entry->range.first, piece);
			bus_ranges_leave(&bus->ranges, entry);
			memcpy(data, &value, piece);
		} else {
			log_guest_at(UNCLAIMED_LEVEL, "read of unclaimed address 0x%llx",
				     (unsigned long long)gpa);
		}
		gpa += piece;
		data += piece;
		size -= piece;
	}
}

void mmio_bus_write(struct mmio_bus *bus, uint64_t gpa, const uint8_t *data, unsigned size)
{
	struct bus_entry *entry;
	uint64_t value;
	unsigned piece;

	while (size) {
		piece = piece_size(size);
		value = 0;
		memcpy(&value, data, piece);
		entry = enter(bus, gpa, piece);
		if (entry) {
			const struct mmio_ops *ops = entry->range.ops;

			ops->write(entry->range.device, gpa - entry->range.first, piece, value);
			bus_ranges_leave(&bus->ranges, entry);
		} else {
			log_guest_at(UNCLAIMED_LEVEL, "write to unclaimed address 0x%llx",
				     (unsigned long long)gpa);
		}
		gpa += piece;
		data += piece;
		size -= piece;
	}
}

void mmio_bus_visit(struct mmio_bus *bus,
		   void (*visit)(void *context, uint64_t first, uint64_t last, const char *name), void *context)
{
	bus_ranges_visit(&bus->ranges, visit, context);
}
