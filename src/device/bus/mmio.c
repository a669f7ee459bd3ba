#include "device/bus/mmio.h"

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

struct mmio_range {
	uint64_t gpa, size_bytes;
	const char *name;
	const struct mmio_ops *ops;
	void *device;
};

struct mmio_bus {
	pthread_rwlock_t lock; /* guards writes of what follows */
	_Atomic uint64_t version; /* of the ranges: unique among all buses */
	struct mmio_range ranges[MAX_RANGES]; /* by rising gpa, disjoint */
	unsigned range_count;
};

/*
 * The ranges that a thread found last: most accesses take no lock. An entry counts as long as its
 * bus has the version under which it was found.
 */
#define RECENT 8
static _Thread_local struct {
	uint64_t version;
	struct mmio_range range;
} recent[RECENT];

/* The ranges of `bus` have changed. Called with the lock held for writing. */
static void renew_version(struct mmio_bus *bus)
{
	static _Atomic uint64_t versions;

	atomic_store(&bus->version, atomic_fetch_add(&versions, 1) + 1);
}

struct mmio_bus *mmio_bus_create(void)
{
	struct mmio_bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return NULL;
	pthread_rwlock_init(&bus->lock, NULL);
	renew_version(bus);
	return bus;
}

void mmio_bus_destroy(struct mmio_bus *bus)
{
	if (!bus)
		return;
	pthread_rwlock_destroy(&bus->lock);
	free(bus);
}

/* The position of the first range whose last byte is at or above `gpa`. */
static unsigned find_position(const struct mmio_bus *bus, uint64_t gpa)
{
	unsigned low = 0, high = bus->range_count, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (bus->ranges[middle].gpa + (bus->ranges[middle].size_bytes - 1) < gpa)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int mmio_bus_add(struct mmio_bus *bus, uint64_t gpa, uint64_t size_bytes, const char *name,
		 const struct mmio_ops *ops, void *device, struct error *error)
{
	struct mmio_range *range;
	unsigned position;
	int result = 0;

	if (size_bytes == 0 || gpa + (size_bytes - 1) < gpa)
		return error_set(error, EINVAL, "%s: not a range of addresses", name);
	pthread_rwlock_wrlock(&bus->lock);
	position = find_position(bus, gpa);
	range = &bus->ranges[position];
	if (position < bus->range_count && range->gpa <= gpa + (size_bytes - 1)) {
		result = error_set(error, EEXIST, "%s: address 0x%llx is already used by %s", name,
				   (unsigned long long)range->gpa, range->name);
	} else if (bus->range_count == MAX_RANGES) {
		result = error_set(error, ENOSPC, "%s: too many memory-mapped devices", name);
	} else {
		memmove(range + 1, range, (bus->range_count - position) * sizeof(*range));
		*range = (struct mmio_range){gpa, size_bytes, name, ops, device};
		bus->range_count++;
		renew_version(bus);
	}
	pthread_rwlock_unlock(&bus->lock);
	return result;
}

void mmio_bus_remove(struct mmio_bus *bus, uint64_t gpa)
{
	struct mmio_range *range;
	unsigned position;

	pthread_rwlock_wrlock(&bus->lock);
	position = find_position(bus, gpa);
	range = &bus->ranges[position];
	if (position < bus->range_count && range->gpa == gpa) {
		bus->range_count--;
		memmove(range, range + 1, (bus->range_count - position) * sizeof(*range));
		renew_version(bus);
	}
	pthread_rwlock_unlock(&bus->lock);
}

static bool holds(const struct mmio_range *range, uint64_t gpa, unsigned size)
{
	return range->gpa <= gpa && gpa - range->gpa < range->size_bytes &&
	       range->size_bytes - (gpa - range->gpa) >= size;
}

/* The range that holds all of [gpa, gpa + size), good until the next call; NULL: there is none. */
static const struct mmio_range *find_range(struct mmio_bus *bus, uint64_t gpa, unsigned size)
{
	unsigned at = gpa / 4096 % RECENT, position;
	const struct mmio_range *range = &recent[at].range;

	if (recent[at].version == atomic_load(&bus->version) && holds(range, gpa, size))
		return range;
	pthread_rwlock_rdlock(&bus->lock);
	position = find_position(bus, gpa);
	if (position < bus->range_count && holds(&bus->ranges[position], gpa, size)) {
		recent[at].range = bus->ranges[position];
		recent[at].version = atomic_load(&bus->version);
	} else {
		range = NULL;
	}
	pthread_rwlock_unlock(&bus->lock);
	return range;
}

/* The widest naturally sized piece (1, 2, 4, 8) of an access of `size` bytes. */
static unsigned piece_size(unsigned size)
{
	return size >= 8 ? 8 : size >= 4 ? 4 : size >= 2 ? 2 : 1;
}

void mmio_bus_read(struct mmio_bus *bus, uint64_t gpa, uint8_t *data, unsigned size)
{
	const struct mmio_range *range;
	uint64_t value;
	unsigned piece;

	memset(data, 0xff, size);
	while (size) {
		piece = piece_size(size);
		range = find_range(bus, gpa, piece);
		if (range) {
			value = range->ops->read(range->device, gpa - range->gpa, piece);
			memcpy(data, &value, piece);
		} else {
			log_unclaimed("read of unclaimed address 0x%llx", (unsigned long long)gpa);
		}
		gpa += piece;
		data += piece;
		size -= piece;
	}
}

void mmio_bus_write(struct mmio_bus *bus, uint64_t gpa, const uint8_t *data, unsigned size)
{
	const struct mmio_range *range;
	uint64_t value;
	unsigned piece;

	while (size) {
		piece = piece_size(size);
		value = 0;
		memcpy(&value, data, piece);
		range = find_range(bus, gpa, piece);
		if (range)
			range->ops->write(range->device, gpa - range->gpa, piece, value);
		else
			log_unclaimed("write to unclaimed address 0x%llx", (unsigned long long)gpa);
		gpa += piece;
		data += piece;
		size -= piece;
	}
}
