#include "device/bus/range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 32

/* Called with the lock held for writing, or before anyone else knows the bus. */
static void renew_version(struct bus_ranges *ranges)
{
	static _Atomic uint64_t versions;

	atomic_store(&ranges->version, atomic_fetch_add(&versions, 1) + 1);
}

void bus_ranges_init(struct bus_ranges *ranges)
{
	pthread_rwlock_init(&ranges->lock, NULL);
	pthread_mutex_init(&ranges->wait_lock, NULL);
	pthread_cond_init(&ranges->left, NULL);
	renew_version(ranges);
}

void bus_ranges_destroy(struct bus_ranges *ranges)
{
	struct bus_entry *entry;

	while (ranges->count)
		free(ranges->entries[--ranges->count]);
	free(ranges->entries);
	while ((entry = ranges->free)) {
		ranges->free = entry->next;
		free(entry);
	}
	pthread_cond_destroy(&ranges->left);
	pthread_mutex_destroy(&ranges->wait_lock);
	pthread_rwlock_destroy(&ranges->lock);
}

/* The position of the first range that does not end below `address`. */
static unsigned find_position(const struct bus_ranges *ranges, uint64_t address)
{
	unsigned low = 0, high = ranges->count, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (ranges->entries[middle]->range.last < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Room for one more: an entry that is nobody's, or NULL. With the lock held. */
static struct bus_entry *take_entry(struct bus_ranges *ranges)
{
	unsigned capacity = ranges->capacity ? ranges->capacity * 2 : FIRST_CAPACITY;
	struct bus_entry *entry = ranges->free, **larger;

	if (ranges->count == ranges->capacity) {
		larger = realloc(ranges->entries, capacity * sizeof(*larger));
		if (!larger)
			return NULL;
		ranges->entries = larger;
		ranges->capacity = capacity;
	}
	if (!entry)
		return calloc(1, sizeof(*entry));
	ranges->free = entry->next;
	return entry;
}

int bus_ranges_add(struct bus_ranges *ranges, const struct bus_range *range,
		   struct bus_range *taken)
{
	struct bus_entry *entry;
	unsigned position;
	int result = 0;

	pthread_rwlock_wrlock(&ranges->lock);
	position = find_position(ranges, range->first);
	if (position < ranges->count && ranges->entries[position]->range.first <= range->last) {
		*taken = ranges->entries[position]->range;
		result = -EEXIST;
	} else if (!(entry = take_entry(ranges))) {
		result = -ENOMEM;
	} else {
		memmove(ranges->entries + position + 1, ranges->entries + position,
			(ranges->count - position) * sizeof(*ranges->entries));
		/* Late visitors may still count themselves in and out of `users`. */
		entry->range = *range;
		ranges->entries[position] = entry;
		ranges->count++;
		renew_version(ranges);
	}
	pthread_rwlock_unlock(&ranges->lock);
	return result;
}

static void wait_until_left(struct bus_ranges *ranges, struct bus_entry *entry)
{
	if (!atomic_load(&entry->users))
		return;
	pthread_mutex_lock(&ranges->wait_lock);
	atomic_fetch_add(&ranges->waiting, 1);
	while (atomic_load(&entry->users))
		pthread_cond_wait(&ranges->left, &ranges->wait_lock);
	atomic_fetch_sub(&ranges->waiting, 1);
	pthread_mutex_unlock(&ranges->wait_lock);
}

void bus_ranges_wake(struct bus_ranges *ranges)
{
	pthread_mutex_lock(&ranges->wait_lock);
	pthread_cond_broadcast(&ranges->left);
	pthread_mutex_unlock(&ranges->wait_lock);
}

void bus_ranges_remove(struct bus_ranges *ranges, uint64_t first)
{
	struct bus_entry *entry = NULL;
	unsigned position;

	pthread_rwlock_wrlock(&ranges->lock);
	position = find_position(ranges, first);
	if (position < ranges->count && ranges->entries[position]->range.first == first) {
		entry = ranges->entries[position];
		ranges->count--;
		memmove(ranges->entries + position, ranges->entries + position + 1,
			(ranges->count - position) * sizeof(*ranges->entries));
		renew_version(ranges);
	}
	pthread_rwlock_unlock(&ranges->lock);
	if (!entry)
		return;
	wait_until_left(ranges, entry);
	pthread_rwlock_wrlock(&ranges->lock);
	entry->next = ranges->free;
	ranges->free = entry;
	pthread_rwlock_unlock(&ranges->lock);
}

struct bus_entry *bus_ranges_look_up(struct bus_ranges *ranges, uint64_t address, unsigned size,
				     struct bus_recent *recent)
{
	struct bus_entry *found = NULL;
	unsigned position;

	pthread_rwlock_rdlock(&ranges->lock);
	position = find_position(ranges, address);
	if (position < ranges->count &&
	    bus_range_holds(&ranges->entries[position]->range, address, size)) {
		found = ranges->entries[position];
		recent->entry = found;
		recent->range = found->range;
		recent->version = atomic_load(&ranges->version);
		atomic_fetch_add(&found->users, 1);
	}
	pthread_rwlock_unlock(&ranges->lock);
	return found;
}

void bus_ranges_visit(struct bus_ranges *ranges,
		      void (*visit)(void *context, uint64_t first, uint64_t last, const char *name), void *context)
{
	const struct bus_range *range;
	unsigned i;

	pthread_rwlock_rdlock(&ranges->lock);
	for (i = 0; i < ranges->count; i++) {
		range = &ranges->entries[i]->range;
		visit(context, range->first, range->last, range->name);
	}
	pthread_rwlock_unlock(&ranges->lock);
}
