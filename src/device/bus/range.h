/*
 * Which device an address belongs to: disjoint ranges in order, as the I/O port bus and the MMIO bus have
 * them. Most accesses find theirs without a lock, among those that their thread found last.
 */
#ifndef KVIK_DEVICE_BUS_RANGE_H
#define KVIK_DEVICE_BUS_RANGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BUS_RANGES_MAX 64

struct bus_range {
	uint64_t first, last; /* addresses */
	const char *name;
	const void *ops;      /* the bus knows their type */
	void *device;
};

struct bus_ranges {
	pthread_rwlock_t lock;    /* guards writes of what follows */
	_Atomic uint64_t version; /* unique among all buses */
	struct bus_range ranges[BUS_RANGES_MAX]; /* by rising address */
	unsigned count;
};

/* A range that was found before. It counts as long as its bus has the version under which it was. */
struct bus_recent {
	uint64_t version;
	struct bus_range range;
};

/* `ranges` is all zeroes. */
void bus_ranges_init(struct bus_ranges *ranges);
void bus_ranges_destroy(struct bus_ranges *ranges);

/* 0; -EEXIST when one that is there, which is copied to *taken, has some of it; -ENOSPC. Any thread. */
int bus_ranges_add(struct bus_ranges *ranges, const struct bus_range *range, struct bus_range *taken);
/* Forget the range that starts at `first`, if there is one. Any thread. */
void bus_ranges_remove(struct bus_ranges *ranges, uint64_t first);

static inline bool bus_range_holds(const struct bus_range *range, uint64_t address, unsigned size)
{
	return range->first <= address && address <= range->last &&
	       range->last - address >= size - 1;
}

/* bus_ranges_find where *recent is another. */
const struct bus_range *bus_ranges_look_up(struct bus_ranges *ranges, uint64_t address, unsigned size,
					   struct bus_recent *recent);

/* The range that holds all of [address, address + size), or NULL. `recent` is the caller's thread's own
 * and where the result is, good until the next call. */
static inline const struct bus_range *bus_ranges_find(struct bus_ranges *ranges, uint64_t address,
						      unsigned size, struct bus_recent *recent)
{
	if (recent->version == atomic_load(&ranges->version) &&
	    bus_range_holds(&recent->range, address, size))
		return &recent->range;
	return bus_ranges_look_up(ranges, address, size, recent);
}

#endif
