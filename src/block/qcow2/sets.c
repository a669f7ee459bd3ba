/*
 * Sets of host clusters. Tables that the image changes all the time are in a hash set, cluster by cluster. What snapshots keep
 * for themselves is a list of ranges: an image of a few kilobytes can name 65,536 tables of 32 MiB.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

static uint64_t *set_slot(const struct cluster_set *set, uint64_t cluster)
{
	uint64_t at = cluster * 0x9e3779b97f4a7c15ull >> 16 & (set->capacity - 1);

	while (set->slots[at] != 0 && set->slots[at] != cluster + 1)
		at = (at + 1) & (set->capacity - 1);
	return &set->slots[at];
}

int cluster_set_add(struct cluster_set *set, uint64_t cluster)
{
	uint64_t *slot;

	if (set->count * 2 >= set->capacity) {
		struct cluster_set more = {.capacity = set->capacity ? set->capacity * 2 : 64};
		uint64_t i;

		more.slots = calloc(more.capacity, sizeof(*more.slots));
		if (!more.slots)
			return -ENOMEM;
		for (i = 0; i < set->capacity; i++)
			if (set->slots[i] != 0)
				*set_slot(&more, set->slots[i] - 1) = set->slots[i];
		more.count = set->count;
		free(set->slots);
		*set = more;
	}
	slot = set_slot(set, cluster);
	set->count += *slot == 0;
	*slot = cluster + 1;
	return 0;
}

int cluster_set_add_range(struct qcow2 *image, struct cluster_set *set, uint64_t offset,
			  uint64_t size)
{
	uint64_t cluster = offset >> image->cluster_bits, count = clusters_for(image, size);
	int result = 0;

	for (; count > 0 && result == 0; count--)
		result = cluster_set_add(set, cluster++);
	return result;
}

void cluster_set_remove(struct cluster_set *set, uint64_t cluster)
{
	uint64_t *slot, *next, moved;

	if (set->capacity == 0)
		return;
	slot = set_slot(set, cluster);
	if (*slot == 0)
		return;
	*slot = 0;
	set->count--;
	/* Those after it may have been pushed on by it. */
	for (next = slot;;) {
		next = next + 1 == set->slots + set->capacity ? set->slots : next + 1;
		if (*next == 0)
			return;
		moved = *next;
		*next = 0;
		*set_slot(set, moved - 1) = moved;
	}
}

static bool cluster_set_has(const struct cluster_set *set, uint64_t cluster)
{
	return set->capacity > 0 && *set_slot(set, cluster) != 0;
}

void cluster_set_end(struct cluster_set *set)
{
	free(set->slots);
	*set = (struct cluster_set){NULL};
}

static int by_start(const void *a, const void *b)
{
	const struct cluster_range *one = a, *two = b;

	return (one->first > two->first) - (one->first < two->first);
}

void cluster_ranges_sort(struct cluster_ranges *ranges)
{
	size_t i, last = 0;

	if (ranges->count == 0)
		return;
	qsort(ranges->ranges, ranges->count, sizeof(*ranges->ranges), by_start);
	for (i = 1; i < ranges->count; i++) {
		struct cluster_range *before = &ranges->ranges[last], *next = &ranges->ranges[i];

		if (next->first > before->last)
			ranges->ranges[++last] = *next;
		else if (next->last > before->last)
			before->last = next->last;
	}
	ranges->count = last + 1;
}

static bool cluster_ranges_have(const struct cluster_ranges *ranges, uint64_t cluster)
{
	size_t low = 0, high = ranges->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (cluster < ranges->ranges[middle].first)
			high = middle;
		else if (cluster > ranges->ranges[middle].last)
			low = middle + 1;
		else
			return true;
	}
	return false;
}

void cluster_ranges_end(struct cluster_ranges *ranges)
{
	free(ranges->ranges);
	*ranges = (struct cluster_ranges){NULL};
}

bool is_metadata(const struct qcow2 *image, uint64_t cluster)
{
	return cluster_set_has(&image->metadata, cluster) || cluster_ranges_have(&image->snapshot_l1s, cluster);
}
