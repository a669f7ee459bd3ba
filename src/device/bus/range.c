#include "device/bus/range.h"

#include <errno.h>
#include <string.h>

/* Called with the lock held for writing, or before anyone else knows the bus. */
static void renew_version(struct bus_ranges *ranges)
{
	static _Atomic uint64_t versions;

	atomic_store(&ranges->version, atomic_fetch_add(&versions, 1) + 1);
}

void bus_ranges_init(struct bus_ranges *ranges)
{
	pthread_rwlock_init(&ranges->lock, NULL);
	renew_version(ranges);
}

void bus_ranges_destroy(struct bus_ranges *ranges)
{
	pthread_rwlock_destroy(&ranges->lock);
}

/* The position of the first range that does not end below `address`. */
static unsigned find_position(const struct bus_ranges *ranges, uint64_t address)
{
	unsigned low = 0, high = ranges->count, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (ranges->ranges[middle].last < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int bus_ranges_add(struct bus_ranges *ranges, const struct bus_range *range, struct bus_range *taken)
{
	struct bus_range *at;
	unsigned position;
	int result = 0;

	pthread_rwlock_wrlock(&ranges->lock);
	position = find_position(ranges, range->first);
	at = &ranges->ranges[position];
	if (position < ranges->count && at->first <= range->last) {
		*taken = *at;
		result = -EEXIST;
	} else if (ranges->count == BUS_RANGES_MAX) {
		result = -ENOSPC;
	} else {
		memmove(at + 1, at, (ranges->count - position) * sizeof(*at));
		*at = *range;
		ranges->count++;
		renew_version(ranges);
	}
	pthread_rwlock_unlock(&ranges->lock);
	return result;
}

void bus_ranges_remove(struct bus_ranges *ranges, uint64_t first)
{
	struct bus_range *at;
	unsigned position;

	pthread_rwlock_wrlock(&ranges->lock);
	position = find_position(ranges, first);
	at = &ranges->ranges[position];
	if (position < ranges->count && at->first == first) {
		ranges->count--;
		memmove(at, at + 1, (ranges->count - position) * sizeof(*at));
		renew_version(ranges);
	}
	pthread_rwlock_unlock(&ranges->lock);
}

const struct bus_range *bus_ranges_look_up(struct bus_ranges *ranges, uint64_t address, unsigned size,
					   struct bus_recent *recent)
{
	const struct bus_range *found = NULL;
	unsigned position;

	pthread_rwlock_rdlock(&ranges->lock);
	position = find_position(ranges, address);
	if (position < ranges->count && bus_range_holds(&ranges->ranges[position], address, size)) {
		recent->range = ranges->ranges[position];
		recent->version = atomic_load(&ranges->version);
		found = &recent->range;
	}
	pthread_rwlock_unlock(&ranges->lock);
	return found;
}
