#include "device/bus/pio.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"

#define MAX_RANGES 64

/* Every kernel probes for what isn't there: only for those who look closely. */
#define log_unclaimed(...) (log_get_level() >= LOG_DEBUG ? log_guest(__VA_ARGS__) : (void)0)
#define PORT_COUNT 0x10000u

struct pio_range {
	unsigned first, count;
	const char *name;
	const struct pio_ops *ops;
	void *device;
};

struct pio_bus {
	pthread_rwlock_t lock; /* guards writes of what follows */
	_Atomic uint64_t version; /* of the ranges: unique among all buses */
	struct pio_range ranges[MAX_RANGES]; /* by rising first port, disjoint */
	unsigned range_count;
};

/*
 * The ranges that a thread found last: most accesses take no lock. An entry counts as long as its
 * bus has the version under which it was found.
 */
#define RECENT 8
static _Thread_local struct {
	uint64_t version;
	struct pio_range range;
} recent[RECENT];

/* The ranges of `bus` have changed. Called with the lock held for writing. */
static void renew_version(struct pio_bus *bus)
{
	static _Atomic uint64_t versions;

	atomic_store(&bus->version, atomic_fetch_add(&versions, 1) + 1);
}

struct pio_bus *pio_bus_create(void)
{
	struct pio_bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return NULL;
	pthread_rwlock_init(&bus->lock, NULL);
	renew_version(bus);
	return bus;
}

void pio_bus_destroy(struct pio_bus *bus)
{
	if (!bus)
		return;
	pthread_rwlock_destroy(&bus->lock);
	free(bus);
}

/* The position of the first range that ends above `port`. */
static unsigned find_position(const struct pio_bus *bus, unsigned port)
{
	unsigned low = 0, high = bus->range_count, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (bus->ranges[middle].first + bus->ranges[middle].count <= port)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int pio_bus_add(struct pio_bus *bus, uint16_t first, unsigned count, const char *name,
		const struct pio_ops *ops, void *device, struct error *error)
{
	struct pio_range *range;
	unsigned position;
	int result = 0;

	if (count == 0 || first + count > PORT_COUNT)
		return error_set(error, EINVAL,
				 "%s: ports 0x%x+%u are outside of the I/O port space", name, first,
				 count);
	pthread_rwlock_wrlock(&bus->lock);
	position = find_position(bus, first);
	range = &bus->ranges[position];
	if (position < bus->range_count && range->first < first + count) {
		result = error_set(error, EEXIST, "%s: port 0x%x is already used by %s", name,
				   range->first > first ? range->first : first, range->name);
	} else if (bus->range_count == MAX_RANGES) {
		result = error_set(error, ENOSPC, "%s: too many devices on the I/O ports", name);
	} else {
		memmove(range + 1, range, (bus->range_count - position) * sizeof(*range));
		*range = (struct pio_range){first, count, name, ops, device};
		bus->range_count++;
		renew_version(bus);
	}
	pthread_rwlock_unlock(&bus->lock);
	return result;
}

void pio_bus_remove(struct pio_bus *bus, uint16_t first)
{
	struct pio_range *range;
	unsigned position;

	pthread_rwlock_wrlock(&bus->lock);
	position = find_position(bus, first);
	range = &bus->ranges[position];
	if (position < bus->range_count && range->first == first) {
		bus->range_count--;
		memmove(range, range + 1, (bus->range_count - position) * sizeof(*range));
		renew_version(bus);
	}
	pthread_rwlock_unlock(&bus->lock);
}

/* The range that owns `port`, good until the next call; NULL when nobody does. */
static const struct pio_range *find_range(struct pio_bus *bus, unsigned port)
{
	unsigned at = port / 8 % RECENT, position;
	const struct pio_range *range = &recent[at].range;

	if (recent[at].version == atomic_load(&bus->version) && port - range->first < range->count)
		return range;
	pthread_rwlock_rdlock(&bus->lock);
	position = find_position(bus, port);
	if (position < bus->range_count && bus->ranges[position].first <= port) {
		recent[at].range = bus->ranges[position];
		recent[at].version = atomic_load(&bus->version);
	} else {
		range = NULL;
	}
	pthread_rwlock_unlock(&bus->lock);
	return range;
}

static bool takes_whole_access(const struct pio_range *range, unsigned port, unsigned size)
{
	return size <= range->ops->widest_access && port + size <= range->first + range->count;
}

uint32_t pio_bus_read(struct pio_bus *bus, uint16_t port, unsigned size)
{
	const struct pio_range *range = find_range(bus, port);
	uint32_t value = 0;
	unsigned i;

	if (range) {
		if (takes_whole_access(range, port, size))
			return range->ops->read(range->device, port - range->first, size);
	} else if (size == 1) {
		log_unclaimed("read of unclaimed port 0x%x", port);
		return 0xff;
	}
	for (i = 0; i < size; i++)
		value |= (pio_bus_read(bus, port + i, 1) & 0xff) << (8 * i);
	return value;
}

void pio_bus_write(struct pio_bus *bus, uint16_t port, unsigned size, uint32_t value)
{
	const struct pio_range *range = find_range(bus, port);
	unsigned i;

	if (range) {
		if (takes_whole_access(range, port, size)) {
			range->ops->write(range->device, port - range->first, size, value);
			return;
		}
	} else if (size == 1) {
		log_unclaimed("write of 0x%x to unclaimed port 0x%x", value & 0xff, port);
		return;
	}
	for (i = 0; i < size; i++)
		pio_bus_write(bus, port + i, 1, value >> (8 * i) & 0xff);
}
