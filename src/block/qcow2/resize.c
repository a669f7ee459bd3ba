/* Another size of the disk, and places for clusters ahead of time. */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/whole.h"

/* A longer L1 table at a new place. `entries` are more than there are. */
static int l1_grow(struct qcow2 *image, uint32_t entries)
{
	uint64_t bytes = entries * 8ull, old_clusters = clusters_for(image, image->l1_size * 8ull);
	uint64_t old_offset = image->l1_offset, *old = image->l1, *longer, i, place;
	uint8_t *dirty;
	uint32_t old_size = image->l1_size;
	int result;

	if (bytes > L1_BYTES_MAX)
		return -EFBIG;
	longer = calloc(1, bytes);
	dirty = calloc(1, entries / L1_BLOCK + 1);
	if (!longer || !dirty) {
		free(longer);
		free(dirty);
		return -ENOMEM;
	}
	memcpy(longer, old, old_size * 8ull);
	result = clusters_make(image, clusters_for(image, bytes), &place);
	if (result < 0) {
		free(longer);
		free(dirty);
		return result;
	}
	/* Written whole: what was dirty must be sound to point to, so that goes out before. */
	image->l1 = longer;
	image->l1_size = entries;
	result = whole_write_refcounts(image);
	if (result == 0)
		result = whole_write_l1(image, place);
	if (result == 0)
		result = file_sync(&image->node.file);
	if (result == 0) {
		image->l1_offset = place;
		result = header_switch(image);
	}
	if (result < 0) {
		image->l1 = old;
		image->l1_size = old_size;
		image->l1_offset = old_offset;
		free(longer);
		free(dirty);
		return result;
	}
	free(old);
	free(image->l1_dirty);
	image->l1_dirty = dirty;
	for (i = 0; i < old_clusters; i++)
		cluster_set_remove(&image->metadata, (old_offset >> image->cluster_bits) + i);
	result = cluster_set_add_range(image, &image->metadata, place, bytes);
	if (result == 0 && old_clusters > 0)
		result = clusters_release(image, old_offset, old_clusters);
	return result;
}

int whole_set_size(struct qcow2 *image, uint64_t size, uint32_t l1_size)
{
	unsigned span_bits = image->cluster_bits + image->l2_bits;
	uint64_t needed = (size >> span_bits) + !!(size & ((1ull << span_bits) - 1));
	uint64_t old_size = image->node.size;
	int result = qcow2_flush(&image->node);

	if (needed > L1_BYTES_MAX / 8)
		return -EFBIG;
	if (needed < l1_size)
		needed = l1_size;
	if (result == 0 && needed > image->l1_size)
		result = l1_grow(image, needed);
	if (result < 0)
		return result;
	image->node.size = size;
	result = header_write(image);
	if (result == 0)
		result = file_sync(&image->node.file);
	if (result < 0)
		image->node.size = old_size;
	return result;
}

/* Give places to all clusters of a range that have none; `fills`: written with zeroes. */
static int preallocate(struct qcow2 *image, uint64_t offset, uint64_t size, bool fills)
{
	uint64_t end = offset + size, at, host;
	int result = changes_begin(image);

	for (at = cluster_start(image, offset); at < end && result == 0;) {
		uint64_t count = clusters_for(image, end - at), i;
		struct cluster cluster;
		struct table *table;

		result = l2_own(image, at, &table);
		if (result == 0)
			result = cluster_decode(image, at, l2_entry(image, table, at), &cluster);
		if (result < 0)
			break;
		if (cluster.is_compressed || cluster.has_host || cluster.zero) {
			at += image->cluster_size;
			continue;
		}
		/* Up to the table's end, or what is there already. */
		for (i = 1; i < count && i < 1024; i++) {
			uint64_t next = at + (i << image->cluster_bits);

			if ((next >> image->cluster_bits & ((1ull << image->l2_bits) - 1)) == 0 ||
			    get_be64(l2_entry(image, table, next)) != 0)
				break;
		}
		count = i;
		host = at;
		if (image->data == &image->node.file)
			result = clusters_make(image, count, &host);
		if (result == 0 && fills)
			result = file_zero(image->data, host, count << image->cluster_bits, false);
		else if (result == 0 && host + (count << image->cluster_bits) > image->data->size)
			result = file_truncate(image->data, host + (count << image->cluster_bits));
		/* With subclusters there is a place, and nothing in it yet. */
		for (i = 0; i < count && result == 0; i++, at += image->cluster_size)
			entry_set(image, table, at, host + (i << image->cluster_bits), true,
				  image->subclusters == 1, 0);
		if (result == 0)
			result = changes_begin(image);
	}
	return result;
}

static int shrink(struct qcow2 *image, uint64_t size)
{
	uint64_t from = (size + image->cluster_size - 1) & ~(image->cluster_size - 1);
	bool discards = image->node.discards;
	int result = 0;

	image->node.discards = true;
	if (from < image->node.size)
		result = qcow2_discard(&image->node, from, image->node.size - from);
	image->node.discards = discards;
	return result;
}

/* What is added reads as zeroes: not as what is left in the last cluster, or in the backing file. */
static int clear_added(struct qcow2 *image, uint64_t from)
{
	uint64_t to = (from + image->cluster_size - 1) & ~(image->cluster_size - 1);

	if (image->node.backing && image->node.backing->size > to)
		to = image->node.backing->size;
	if (to > image->node.size)
		to = image->node.size;
	return to > from ? qcow2_zero(&image->node, from, to - from, false) : 0;
}

int qcow2_empty(struct qcow2 *image)
{
	uint64_t *old = malloc(image->l1_size * 8ull + 8);
	uint32_t i, size = image->l1_size;
	int result = old ? changes_begin(image) : -ENOMEM;

	bitmaps_mark(image, 0, image->node.size);
	if (result == 0)
		memcpy(old, image->l1, size * 8ull);
	for (i = 0; i < size && result == 0; i++)
		l1_set(image, i, 0);
	if (result == 0)
		result = whole_flush(image);
	if (result == 0)
		result = whole_change(image, old, size, -1);
	if (result == 0)
		result = whole_flush(image);
	free(old);
	return result;
}

int qcow2_resize(struct qcow2 *image, uint64_t size, enum image_preallocation preallocation,
		 struct error *error)
{
	uint64_t old_size = image->node.size;
	int result = 0;

	if (!image->node.is_writable)
		return error_set(error, EROFS, "%s is opened for reading only",
				 image->node.file.path);
	if (image->snapshot_count + image->snapshots_lost > 0 && image->version < 3)
		return error_set(error, ENOTSUP,
				 "%s has snapshots, which know no size of their own in version 2",
				 image->node.file.path);
	result = bitmaps_before_resize(image, error);
	if (result < 0)
		return result;
	if (size < old_size)
		result = shrink(image, size);
	if (result == 0)
		result = whole_set_size(image, size, 0);
	if (result == 0 && size > old_size)
		result = clear_added(image, old_size);
	if (result == 0 && image->autoclear & AUTOCLEAR_RAW_DATA && image->data->is_regular)
		result = file_truncate(image->data, size);
	if (result == 0 && size > old_size && preallocation != IMAGE_PREALLOCATION_OFF)
		result = preallocate(image, old_size, size - old_size,
					   preallocation == IMAGE_PREALLOCATION_FULL);
	if (result == 0 && preallocation == IMAGE_PREALLOCATION_FALLOC && size > old_size)
		file_allocate(image->data, 0, image->data->size); /* where it can be had */
	if (result == 0)
		result = whole_flush(image);
	if (result == 0)
		result = bitmaps_after_resize(image, old_size);
	if (result == -EFBIG)
		return error_set(error, EFBIG,
				 "%s: clusters of %llu bytes allow no disk of %llu bytes: larger ones do",
				 image->node.file.path, (unsigned long long)image->cluster_size,
				 (unsigned long long)size);
	return result < 0 ? error_set_errno(error, -result, "%s: cannot resize",
					    image->node.file.path)
			  : 0;
}
