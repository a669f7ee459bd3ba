/*
 * Which device an address belongs to: disjoint ranges in order, as the I/O port bus and the MMIO bus
 * have them.
 *
 * An access enters the range that it finds and leaves it afterwards; removing a range waits until
 * nobody is in it, so that whoever removed it may change or free what is behind. Most accesses find
 * their range without a lock, among those that their thread found last: they announce themselves in
 * the range's count, then look whether the bus has changed meanwhile. Who removes a range changes the
 * bus first and looks at the count afterwards, so one of the two always sees the other.
 *
 * No lock is held while a device is called. From inside an access other ranges may be added and
 * removed, but not the one that the access is in; and two ranges whose devices each remove the
 * other's would wait for each other.
 */
#ifndef KVIK_DEVICE_BUS_RANGE_H
#define KVIK_DEVICE_BUS_RANGE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct bus_range {
	uint64_t first, last; /* addresses */
	const char *name;
	const void *ops; /* the bus knows their type */
	void *device;
};

/* A range's place on its bus. Its memory is used again for other ranges, but freed with the bus alone,
 * so that a late visitor only counts itself in and out. */
struct bus_entry {
	struct bus_range range; /* fixed while it is on the bus */
	_Atomic uint32_t users; /* accesses in it */
	struct bus_entry *next; /* in the list of the free ones */
};

struct bus_ranges {
	pthread_rwlock_t lock;	  /* guards writes of `version`, entries, count, capacity, free */
	_Atomic uint64_t version; /* unique among all buses; changes with the entries */
	struct bus_entry **entries; /* by rising address */
	unsigned count, capacity;
	struct bus_entry *free;
	pthread_mutex_t wait_lock; /* for `left` alone */
	pthread_cond_t left;
	_Atomic uint32_t waiting; /* threads that wait for a range's last user */
};

/* A range that was found before. It counts as long as its bus has the version under which it was. */
struct bus_recent {
	uint64_t version;
	struct bus_entry *entry;
	struct bus_range range; /* a copy of the entry's */
};

/* `ranges` is all zeroes. */
void bus_ranges_init(struct bus_ranges *ranges);
void bus_ranges_destroy(struct bus_ranges *ranges);

/* 0; -EEXIST when one that is there, which is copied to *taken, has some of it; -ENOMEM. Any thread. */
int bus_ranges_add(struct bus_ranges *ranges, const struct bus_range *range,
		   struct bus_range *taken);
/* Forget the range that starts at `first`, if there is one, and wait for the accesses in it. Any
 * thread that isn't in it itself, and holds no lock that its device takes. */
void bus_ranges_remove(struct bus_ranges *ranges, uint64_t first);

/* Call `visit` for each range, by rising addresses, with the lock held: it does not come back to the bus. */
void bus_ranges_visit(struct bus_ranges *ranges,
		      void (*visit)(void *context, uint64_t first, uint64_t last, const char *name), void *context);

static inline bool bus_range_holds(const struct bus_range *range, uint64_t address, unsigned size)
{
	return range->first <= address && address <= range->last &&
	       range->last - address >= size - 1;
}

/* bus_ranges_enter where *recent is another. */
struct bus_entry *bus_ranges_look_up(struct bus_ranges *ranges, uint64_t address, unsigned size,
				     struct bus_recent *recent);
void bus_ranges_wake(struct bus_ranges *ranges);

static inline void bus_ranges_leave(struct bus_ranges *ranges, struct bus_entry *entry)
{
	if (atomic_fetch_sub(&entry->users, 1) == 1 && atomic_load(&ranges->waiting))
		bus_ranges_wake(ranges);
}

/*
 * The range that holds all of [address, address + size), entered, or NULL. The caller leaves it.
 * `recent` is the caller's thread's own.
 */
static inline struct bus_entry *bus_ranges_enter(struct bus_ranges *ranges, uint64_t address,
						 unsigned size, struct bus_recent *recent)
{
	struct bus_entry *entry = recent->entry;

	if (recent->version == atomic_load(&ranges->version) &&
	    bus_range_holds(&recent->range, address, size)) {
		atomic_fetch_add(&entry->users, 1);
		/* Pairs with bus_ranges_remove: a new version first, then a look at `users`. */
		if (recent->version == atomic_load(&ranges->version))
			return entry;
		bus_ranges_leave(ranges, entry);
	}
	return bus_ranges_look_up(ranges, address, size, recent);
}

#endif
