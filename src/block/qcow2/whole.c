#include "block/qcow2/whole.h"

#include <errno.h>
#include <stdlib.h>

int whole_read_l1(struct qcow2 *image, uint64_t offset, uint32_t size, uint64_t **table)
{
	uint32_t i;
	int result;

	*table = malloc(size * 8ull + 8);
	if (!*table)
		return -ENOMEM;
	result = file_read_at(&image->node.file, offset, *table, size * 8ull);
	for (i = 0; i < size; i++)
		(*table)[i] = be64toh((*table)[i]);
	if (result < 0) {
		free(*table);
		*table = NULL;
	}
	return result;
}

int whole_write_l1(struct qcow2 *image, uint64_t offset)
{
	uint8_t *bytes = malloc(image->l1_size * 8ull + 8);
	uint32_t i;
	int result;

	if (!bytes)
		return -ENOMEM;
	for (i = 0; i < image->l1_size; i++)
		put_be64(bytes + i * 8ull, image->l1[i]);
	result = file_write_at(&image->node.file, offset, bytes, image->l1_size * 8ull);
	free(bytes);
	return result;
}

/* The host clusters of one cluster's data: first and number. */
static uint64_t places_of(const struct qcow2 *image, const struct cluster *cluster, uint64_t *first)
{
	*first = cluster->host >> image->cluster_bits;
	if (cluster->is_compressed)
		return ((cluster->host + cluster->packed_bytes - 1) >> image->cluster_bits) - *first + 1;
	return cluster->has_host && image->data == &image->node.file;
}

static int change_table(struct qcow2 *image, const struct table *table, uint64_t guest, int delta)
{
	uint64_t i, first, count;
	struct cluster cluster;
	int result = 0;

	for (i = 0; i < 1ull << image->l2_bits && result == 0; i++) {
		const uint8_t *entry = table->data + i * image->entry_bytes;

		if (get_be64(entry) == 0)
			continue;
		result = cluster_decode(image, guest + (i << image->cluster_bits), entry, &cluster);
		if (result < 0)
			return result;
		count = places_of(image, &cluster, &first);
		if (count > 0 && delta > 0)
			result = refcount_change(image, first, count, 1);
		else if (count > 0)
			result = clusters_release(image, first << image->cluster_bits, count);
	}
	return result;
}

int whole_change(struct qcow2 *image, const uint64_t *l1, uint32_t size, int delta)
{
	struct table *table;
	uint32_t i;
	int result = 0;

	for (i = 0; i < size && result == 0; i++) {
		uint64_t place = l1[i] & ENTRY_OFFSET;

		if (place == 0)
			continue;
		if (!is_cluster_aligned(image, place))
			return image_is_corrupt(image, "an L2 table is at %#llx",
						(unsigned long long)place);
		result = table_get(image, &image->l2_tables, place, &table);
		if (result == 0)
			result = change_table(image, table,
					      (uint64_t)i << (image->cluster_bits + image->l2_bits),
					      delta);
		if (result == 0 && delta > 0)
			result = refcount_change(image, place >> image->cluster_bits, 1, 1);
		else if (result == 0)
			result = clusters_release(image, place, 1);
		table_trim(&image->l2_tables);
		table_trim(&image->refblocks);
	}
	return result;
}

static int is_single(struct qcow2 *image, uint64_t place, bool *single)
{
	uint64_t count;
	int result = refcount_get(image, place >> image->cluster_bits, &count);

	*single = count == 1;
	return result;
}

static int update_table(struct qcow2 *image, struct table *table)
{
	uint64_t i;
	bool single;
	int result = 0;

	for (i = 0; i < 1ull << image->l2_bits && result == 0; i++) {
		uint8_t *at = table->data + i * image->entry_bytes;
		uint64_t entry = get_be64(at), wanted;

		if (entry & ENTRY_COMPRESSED || (entry & ENTRY_OFFSET) == 0 ||
		    image->data != &image->node.file)
			continue;
		result = is_single(image, entry & ENTRY_OFFSET, &single);
		wanted = single ? entry | ENTRY_COPIED : entry & ~ENTRY_COPIED;
		if (result == 0 && wanted != entry) {
			put_be64(at, wanted);
			table_dirty(&image->l2_tables, table);
		}
	}
	return result;
}

int whole_update_flags(struct qcow2 *image, bool (*may_change)(void *context, uint64_t place), void *context)
{
	struct table *table;
	uint32_t i;
	bool single;
	int result = 0;

	for (i = 0; i < image->l1_size && result == 0; i++) {
		uint64_t place = image->l1[i] & ENTRY_OFFSET, wanted;

		if (place == 0 || !is_l2_place(image, place))
			continue;
		result = is_single(image, place, &single);
		if (result == 0 && (!may_change || may_change(context, place))) {
			result = table_get(image, &image->l2_tables, place, &table);
			if (result == 0)
				result = update_table(image, table);
		}
		wanted = place | (single ? ENTRY_COPIED : 0);
		if (result == 0 && wanted != image->l1[i])
			l1_set(image, i, wanted);
		table_trim(&image->l2_tables);
		table_trim(&image->refblocks);
	}
	return result;
}

int whole_write_refcounts(struct qcow2 *image)
{
	int result = image->is_corrupt ? -EIO : refcounts_write(image);

	if (result == 0)
		result = file_sync(&image->node.file);
	if (result == 0 && image->has_dirty_reftable)
		result = reftable_write(image);
	if (result == 0 && image->has_dirty_reftable) {
		image->has_dirty_reftable = false;
		result = file_sync(&image->node.file);
	}
	return result;
}

int whole_flush(struct qcow2 *image)
{
	int result = whole_write_refcounts(image);

	/* The flush sets free what is released, and the refcounts of that are written, too. */
	if (result == 0)
		result = qcow2_flush(&image->node);
	if (result == 0)
		result = whole_write_refcounts(image);
	return result;
}
