#include "device/bus/pio.h"

#include <errno.h>
#include <stdlib.h>

#include "device/bus/range.h"
#include "util/log.h"

/* Every kernel probes for what isn't there: only for those who look closely. */
#define UNCLAIMED_LEVEL LOG_DEBUG
#define PORT_COUNT 0x10000u

struct pio_bus {
	struct bus_ranges ranges;
};

#define RECENT 8
static _Thread_local struct bus_recent recent[RECENT];

struct pio_bus *pio_bus_create(void)
{
	struct pio_bus *bus = calloc(1, sizeof(*bus));

	if (bus)
		bus_ranges_init(&bus->ranges);
	return bus;
}

void pio_bus_destroy(struct pio_bus *bus)
{
	if (!bus)
		return;
	bus_ranges_destroy(&bus->ranges);
	free(bus);
}

int pio_bus_add(struct pio_bus *bus, uint16_t first, unsigned count, const char *name,
		const struct pio_ops *ops, void *device, struct error *error)
{
	struct bus_range range = { first, first + count - 1, name, ops, device }, taken;

	if (count == 0 || first + count > PORT_COUNT)
		return error_set(error, EINVAL,
				 "%s: ports 0x%x+%u are outside of the I/O port space", name, first,
				 count);
	switch (bus_ranges_add(&bus->ranges, &range, &taken)) {
	case 0:
		return 0;
	case -EEXIST:
		return error_set(error, EEXIST, "%s: port 0x%x is already used by %s", name,
				 taken.first > first ? (unsigned)taken.first : first, taken.name);
	default:
		return error_set_errno(error, ENOMEM, "%s", name);
	}
}

void pio_bus_remove(struct pio_bus *bus, uint16_t first)
{
	bus_ranges_remove(&bus->ranges, first);
}

/* The range that owns `port`, entered; NULL when nobody does. */
static struct bus_entry *enter(struct pio_bus *bus, unsigned port)
{
	return bus_ranges_enter(&bus->ranges, port, 1, &recent[port / 8 % RECENT]);
}

static bool takes_whole_access(const struct bus_range *range, unsigned port, unsigned size)
{
	const struct pio_ops *ops = range->ops;

	return size <= ops->widest_access && bus_range_holds(range, port, size);
}

uint32_t pio_bus_read(struct pio_bus *bus, uint16_t port, unsigned size)
{
	struct bus_entry *entry = enter(bus, port);
	uint32_t value = 0;
	unsigned i;

	if (entry) {
		const struct bus_range *range = &entry->range;
		const struct pio_ops *ops = range->ops;
		bool is_whole = takes_whole_access(range, port, size);

		if (is_whole)
			value = ops->read(range->device, port - range->first, size);
		bus_ranges_leave(&bus->ranges, entry);
		if (is_whole)
			return value;
	} else if (size == 1) {
		log_guest_at(UNCLAIMED_LEVEL, "read of unclaimed port 0x%x", port);
		return 0xff;
	}
	for (i = 0; i < size; i++)
		value |= (pio_bus_read(bus, port + i, 1) & 0xff) << (8 * i);
	return value;
}

void pio_bus_write(struct pio_bus *bus, uint16_t port, unsigned size, uint32_t value)
{
	struct bus_entry *entry = enter(bus, port);
	unsigned i;

	if (entry) {
		const struct bus_range *range = &entry->range;
		const struct pio_ops *ops = range->ops;
		bool is_whole = takes_whole_access(range, port, size);

		if (is_whole)
			ops->write(range->device, port - range->first, size, value);
		bus_ranges_leave(&bus->ranges, entry);
		if (is_whole)
			return;
	} else if (size == 1) {
		log_guest_at(UNCLAIMED_LEVEL, "write of 0x%x to unclaimed port 0x%x", value & 0xff,
			     port);
		return;
	}
	for (i = 0; i < size; i++)
		pio_bus_write(bus, port + i, 1, value >> (8 * i) & 0xff);
}

void pio_bus_visit(struct pio_bus *bus,
		   void (*visit)(void *context, uint64_t first, uint64_t last, const char *name), void *context)
{
	bus_ranges_visit(&bus->ranges, visit, context);
}
