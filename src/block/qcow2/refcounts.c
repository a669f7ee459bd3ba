/*
 * Refcounts (qcow2.txt, "Host cluster management"): which host clusters are used, and how often.
 *
 * A refcount block that is missing is made when a cluster that it counts is first used; it may count
 * itself. Blocks may be written at any time as long as counts were only raised: the worst is a leak.
 * Counts are lowered by flushes alone, once nothing points to the clusters any more (flush.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2/qcow2.h"
#include "block/vector.h"

/* ---- Entries of refcount blocks ---- */

uint64_t refcount_max(const struct qcow2 *image)
{
	return image->refcount_order == 6 ? UINT64_MAX : (1ull << (1u << image->refcount_order)) - 1;
}

static uint64_t refcount_entry(const struct qcow2 *image, const uint8_t *block, uint64_t index)
{
	unsigned bits = 1u << image->refcount_order;

	switch (bits) {
	case 8: return block[index];
	case 16: return get_be16(block + index * 2);
	case 32: return get_be32(block + index * 4);
	case 64: return get_be64(block + index * 8);
	default: return block[index * bits / 8] >> (index * bits % 8) & ((1u << bits) - 1);
	}
}

void refcount_put(const struct qcow2 *image, uint8_t *block, uint64_t index, uint64_t value)
{
	unsigned bits = 1u << image->refcount_order, shift = index * bits % 8;
	uint8_t mask = (1u << (bits < 8 ? bits : 0)) - 1;

	switch (bits) {
	case 8: block[index] = value; break;
	case 16: put_be16(block + index * 2, value); break;
	case 32: put_be32(block + index * 4, value); break;
	case 64: put_be64(block + index * 8, value); break;
	default:
		block[index * bits / 8] =
			(block[index * bits / 8] & ~(mask << shift)) | (value & mask) << shift;
		break;
	}
}

/* ---- Blocks ---- */

int refcounts_load(struct qcow2 *image, struct error *error)
{
	uint64_t bytes = (uint64_t)image->reftable_clusters << image->cluster_bits;
	uint32_t i;
	int result;

	image->reftable_size = bytes / 8;
	image->reftable = malloc(bytes ? bytes : 1);
	if (!image->reftable)
		return error_set_errno(error, ENOMEM, "%s", image->node.file.path);
	result = file_read_at(&image->node.file, image->reftable_offset, image->reftable, bytes);
	if (result < 0)
		return error_set_errno(error, -result, "%s: its refcount table", image->node.file.path);
	for (i = 0; i < image->reftable_size && result == 0; i++) {
		uint64_t entry = be64toh(image->reftable[i]), offset = entry & REFTABLE_OFFSET;

		image->reftable[i] = offset;
		image->reftable_reserved += (entry & REFTABLE_RESERVED) != 0;
		if (offset != 0 && is_cluster_aligned(image, offset))
			result = cluster_set_add(&image->metadata, offset >> image->cluster_bits);
	}
	if (result == 0)
		result = cluster_set_add_range(image, &image->metadata, image->reftable_offset, bytes);
	return result < 0 ? error_set_errno(error, -result, "%s", image->node.file.path) : 0;
}

static bool block_exists(const struct qcow2 *image, uint64_t index)
{
	return index < image->reftable_size && image->reftable[index] != 0;
}

/* The block `index`, which exists. */
static int block_get(struct qcow2 *image, uint64_t index, struct table **block)
{
	uint64_t offset = image->reftable[index];

	if (!is_cluster_aligned(image, offset) || offset >= HOST_OFFSET_MAX)
		return image_is_corrupt(image, "refcount block %llu is at %#llx",
					(unsigned long long)index, (unsigned long long)offset);
	return table_get(image, &image->refblocks, offset, block);
}

int refcount_get(struct qcow2 *image, uint64_t cluster, uint64_t *count)
{
	uint64_t index = cluster >> image->refblock_bits;
	struct table *block;
	int result;

	*count = 0;
	if (!block_exists(image, index))
		return 0;
	result = block_get(image, index, &block);
	if (result == 0)
		*count = refcount_entry(image, block->data,
				   cluster & ((1ull << image->refblock_bits) - 1));
	return result;
}

int refcounts_are_zero(struct qcow2 *image, uint64_t cluster, bool *are_zero)
{
	uint64_t index = cluster >> image->refblock_bits;
	struct table *block;
	int result;

	*are_zero = true;
	if (!block_exists(image, index))
		return 0;
	result = block_get(image, index, &block);
	if (result == 0)
		*are_zero = bytes_are_zero(block->data, image->cluster_size);
	return result;
}

/* The first of `count` clusters in a row that nobody uses. */
static int find_free(struct qcow2 *image, uint64_t count, uint64_t *first)
{
	uint64_t block_entries = 1ull << image->refblock_bits;
	uint64_t cluster = image->free_hint, found = 0;
	bool is_first = true;
	int result = 0;

	while (found < count) {
		uint64_t index = cluster >> image->refblock_bits, in_block, value;
		struct table *block;

		if (cluster >= HOST_OFFSET_MAX >> image->cluster_bits)
			return -EFBIG;
		if (!block_exists(image, index)) {
			/* Nothing there is used. */
			in_block = block_entries - (cluster & (block_entries - 1));
			if (is_first)
				image->free_hint = cluster;
			is_first = false;
			found += in_block;
			cluster += in_block;
			continue;
		}
		result = block_get(image, index, &block);
		if (result < 0)
			return result;
		for (in_block = cluster & (block_entries - 1);
		     in_block < block_entries && found < count; in_block++, cluster++) {
			value = refcount_entry(image, block->data, in_block);
			if (value != 0) {
				found = 0;
				continue;
			}
			if (is_first)
				image->free_hint = cluster;
			is_first = false;
			found++;
		}
	}
	/* What was found may be more than was wanted, at its end. */
	*first = cluster - found;
	return 0;
}

static int change_existing(struct qcow2 *image, uint64_t cluster, int delta)
{
	struct table *block;
	uint64_t value, index = cluster & ((1ull << image->refblock_bits) - 1);
	int result = block_get(image, cluster >> image->refblock_bits, &block);

	if (result < 0)
		return result;
	value = refcount_entry(image, block->data, index);
	if (delta < 0 && value == 0)
		return image_is_corrupt(image, "cluster %llu is freed and was not used",
					(unsigned long long)cluster);
	if (delta > 0 && value == refcount_max(image))
		return -ERANGE;
	refcount_put(image, block->data, index, value + delta);
	table_dirty(&image->refblocks, block);
	if (value + delta == 0 && cluster < image->free_hint)
		image->free_hint = cluster;
	return 0;
}

static int reftable_grow(struct qcow2 *image, uint64_t index);

/* Make the missing block `index`. */
static int block_make(struct qcow2 *image, uint64_t index)
{
	uint64_t cluster, counted_by;
	struct table *block;
	int result;

	if (index >= image->reftable_size) {
		result = reftable_grow(image, index);
		if (result < 0 || block_exists(image, index))
			return result;
	}
	for (;;) {
		result = find_free(image, 1, &cluster);
		if (result < 0)
			return result;
		counted_by = cluster >> image->refblock_bits;
		if (counted_by == index || block_exists(image, counted_by))
			break;
		if (counted_by >= image->reftable_size)
			return -EFBIG;
		/* That one finds the same cluster, and counts itself. */
		result = block_make(image, counted_by);
		if (result < 0)
			return result;
	}
	if (is_metadata(image, cluster))
		return image_is_corrupt(image, "cluster %llu holds tables and counts as free",
					(unsigned long long)cluster);
	result = table_new(image, &image->refblocks, cluster << image->cluster_bits, &block);
	if (result < 0)
		return result;
	result = cluster_set_add(&image->metadata, cluster);
	if (result < 0)
		return result;
	image->reftable[index] = cluster << image->cluster_bits;
	image->has_dirty_reftable = true;
	return change_existing(image, cluster, 1);
}

/*
 * A larger refcount table, with `index` in it, and half as much again. It is placed behind all that
 * is counted, where the blocks that will count it and themselves are made at once. Rare; durable step
 * by step.
 */
static int reftable_grow(struct qcow2 *image, uint64_t index)
{
	uint64_t entries_per_cluster = image->cluster_size / 8;
	uint64_t clusters = (index + index / 2) / entries_per_cluster + 1;
	uint64_t block_clusters = 1ull << image->refblock_bits;
	uint64_t place = (uint64_t)image->reftable_size << image->refblock_bits;
	uint64_t old_offset = image->reftable_offset, old_clusters = image->reftable_clusters;
	uint64_t file_end = clusters_for(image, image->node.file.size), i, blocks, first_block;
	uint64_t *larger, *old = image->reftable;
	uint32_t old_size = image->reftable_size;
	struct table *block;
	int result;

	if (index >= REFTABLE_BYTES_MAX / 8)
		return -EFBIG;
	/* Not into what a damaged image has in uncounted places. */
	if (place < file_end)
		place = file_end;
	/* The table and its blocks lie in the range that those blocks count; it must have entries. */
	first_block = place >> image->refblock_bits;
	for (blocks = 1;; blocks++) {
		uint64_t needed_entries = first_block + blocks + 1;

		if (clusters * entries_per_cluster < needed_entries)
			clusters = needed_entries / entries_per_cluster + 1;
		if ((place & (block_clusters - 1)) + clusters + blocks <= blocks * block_clusters)
			break;
	}
	if (clusters << image->cluster_bits > REFTABLE_BYTES_MAX ||
	    place + clusters + blocks >= HOST_OFFSET_MAX >> image->cluster_bits)
		return -EFBIG;
	larger = calloc(clusters, image->cluster_size);
	if (!larger)
		return -ENOMEM;
	memcpy(larger, old, (size_t)old_size * 8);
	image->reftable = larger;
	image->reftable_size = clusters * entries_per_cluster;
	image->reftable_clusters = clusters;
	image->reftable_offset = place << image->cluster_bits;
	for (i = 0; i < blocks; i++) {
		uint64_t cluster = place + clusters + i;

		if (larger[first_block + i] != 0)
			continue; /* there is one: its cluster is left over, and counted below */
		larger[first_block + i] = cluster << image->cluster_bits;
		result = table_new(image, &image->refblocks, cluster << image->cluster_bits, &block);
		if (result == 0)
			result = cluster_set_add(&image->metadata, cluster);
		if (result < 0)
			goto fail;
	}
	for (i = 0; i < clusters + blocks; i++) {
		bool is_used = i < clusters ||
			       larger[first_block + i - clusters] ==
				       (place + i) << image->cluster_bits;

		result = is_used ? change_existing(image, place + i, 1) : 0;
		if (result == 0 && i < clusters)
			result = cluster_set_add(&image->metadata, place + i);
		if (result < 0)
			goto fail;
	}
	result = refcounts_write(image);
	if (result == 0)
		result = reftable_install(image);
	if (result < 0)
		goto fail;
	free(old);
	for (i = 0; i < old_clusters; i++)
		cluster_set_remove(&image->metadata, (old_offset >> image->cluster_bits) + i);
	return clusters_release(image, old_offset, old_clusters);

fail:
	/* Nothing points to what was written. */
	for (i = 0; i < clusters + blocks; i++) {
		table_drop(&image->refblocks, (place + i) << image->cluster_bits);
		cluster_set_remove(&image->metadata, place + i);
	}
	free(larger);
	image->reftable = old;
	image->reftable_size = old_size;
	image->reftable_offset = old_offset;
	image->reftable_clusters = old_clusters;
	return result;
}

int refcounts_write(struct qcow2 *image)
{
	struct table_cache *cache = &image->refblocks;
	unsigned i;
	int result;

	for (i = 0; i < cache->count && cache->dirty > 0; i++) {
		struct table *block = cache->tables[i];

		if (!block->is_dirty)
			continue;
		result = file_write_at(&image->node.file, block->offset, block->data,
				       image->cluster_size);
		if (result < 0)
			return result;
		table_clean(cache, block);
	}
	return 0;
}

int reftable_write(struct qcow2 *image)
{
	uint64_t bytes = (uint64_t)image->reftable_size * 8;
	uint8_t *table = malloc(bytes);
	uint32_t i;
	int result;

	if (!table)
		return -ENOMEM;
	for (i = 0; i < image->reftable_size; i++)
		put_be64(table + i * 8ull, image->reftable[i]);
	result = file_write_at(&image->node.file, image->reftable_offset, table, bytes);
	free(table);
	return result;
}

int reftable_install(struct qcow2 *image)
{
	int result = reftable_write(image);

	if (result == 0)
		result = file_sync(&image->node.file);
	return result < 0 ? result : header_switch(image);
}

/* ---- Clusters ---- */

int refcount_change(struct qcow2 *image, uint64_t first, uint64_t count, int delta)
{
	uint64_t i;
	int result = 0;

	for (i = 0; i < count && result == 0; i++) {
		uint64_t index = (first + i) >> image->refblock_bits;

		/* What is referred to already has a count: a damaged entry names any place. */
		if (!block_exists(image, index))
			result = image_is_corrupt(image, "cluster %llu is in use and not counted",
						  (unsigned long long)(first + i));
		else
			result = change_existing(image, first + i, delta);
	}
	/* All or nothing, as far as it is known. */
	for (; result < 0 && i > 1; i--)
		change_existing(image, first + i - 2, -delta);
	return result;
}

int refcount_set(struct qcow2 *image, uint64_t cluster, uint64_t value)
{
	uint64_t index = cluster >> image->refblock_bits;
	struct table *block;
	int result;

	if (!block_exists(image, index))
		return value == 0 ? 0 : -ENOENT;
	result = block_get(image, index, &block);
	if (result < 0)
		return result;
	if (value > refcount_max(image))
		return -ERANGE;
	refcount_put(image, block->data, cluster & ((1ull << image->refblock_bits) - 1), value);
	table_dirty(&image->refblocks, block);
	if (value == 0 && cluster < image->free_hint)
		image->free_hint = cluster;
	return 0;
}

int clusters_make(struct qcow2 *image, uint64_t count, uint64_t *offset)
{
	uint64_t first, i;
	int result;

again:
	result = find_free(image, count, &first);
	if (result < 0)
		return result;
	if (first + count > HOST_OFFSET_MAX >> image->cluster_bits)
		return -EFBIG;
	for (i = 0; i < count; i++) {
		if (!block_exists(image, (first + i) >> image->refblock_bits)) {
			/* It takes a cluster itself, perhaps one of these. */
			result = block_make(image, (first + i) >> image->refblock_bits);
			if (result < 0)
				return result;
			goto again;
		}
		if (is_metadata(image, first + i))
			return image_is_corrupt(image, "cluster %llu holds tables and counts as free",
						(unsigned long long)(first + i));
	}
	for (i = 0; i < count; i++) {
		result = change_existing(image, first + i, 1);
		if (result < 0)
			return result;
	}
	if (first == image->free_hint)
		image->free_hint = first + count;
	*offset = first << image->cluster_bits;
	return 0;
}

void clusters_unmake(struct qcow2 *image, uint64_t offset, uint64_t count)
{
	uint64_t i;

	for (i = 0; i < count; i++)
		change_existing(image, (offset >> image->cluster_bits) + i, -1);
}

int clusters_release(struct qcow2 *image, uint64_t offset, uint64_t count)
{
	struct free_list *list = &image->frees;
	uint64_t first = offset >> image->cluster_bits;
	struct free_run *last = list->count ? &list->runs[list->count - 1] : NULL;

	if (last && last->first + last->count == first) {
		last->count += count;
		return 0;
	}
	if (list->count == list->capacity) {
		size_t capacity = list->capacity ? list->capacity * 2 : 64;
		struct free_run *more = realloc(list->runs, capacity * sizeof(*more));

		if (!more)
			return -ENOMEM; /* leaked */
		list->runs = more;
		list->capacity = capacity;
	}
	list->runs[list->count++] = (struct free_run){first, count};
	return 0;
}

int clusters_release_now(struct qcow2 *image, struct free_list *frees)
{
	int result = 0;
	uint64_t i, value;
	size_t k;

	for (k = 0; k < frees->count && result == 0; k++) {
		const struct free_run *run = &frees->runs[k];

		for (i = 0; i < run->count && result == 0; i++) {
			uint64_t cluster = run->first + i;

			result = refcount_change(image, cluster, 1, -1);
			if (result == 0)
				result = refcount_get(image, cluster, &value);
			if (result < 0 || value > 0)
				continue;
			table_drop(&image->l2_tables, cluster << image->cluster_bits);
			cluster_set_remove(&image->metadata, cluster);
			if (image->node.discards)
				file_discard(&image->node.file, cluster << image->cluster_bits,
					     image->cluster_size);
		}
	}
	if (frees->count > 0) {
		/* What was unpacked from one of them may be something else tomorrow. */
		pthread_mutex_lock(&image->unpacked_lock);
		image->unpacked_entry = 0;
		pthread_mutex_unlock(&image->unpacked_lock);
		image->byte_hint = 0;
	}
	free(frees->runs);
	*frees = (struct free_list){NULL};
	return result;
}
