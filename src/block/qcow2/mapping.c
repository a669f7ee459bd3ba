/* From guest offsets to host clusters: qcow2.txt, "Cluster mapping", "Extended L2 Entries". */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

int mapping_load(struct qcow2 *image, struct error *error)
{
	uint64_t bytes = image->l1_size * 8ull;
	uint32_t i;
	int result;

	image->l1 = malloc(bytes ? bytes : 1);
	image->l1_dirty = calloc(1, image->l1_size / L1_BLOCK + 1);
	if (!image->l1 || !image->l1_dirty)
		return error_set_errno(error, ENOMEM, "%s", image->node.file.path);
	result = file_read_at(&image->node.file, image->l1_offset, image->l1, bytes);
	if (result < 0)
		return error_set_errno(error, -result, "%s: its L1 table", image->node.file.path);
	result = cluster_set_add(&image->metadata, 0);
	if (result == 0)
		result = cluster_set_add_range(image, &image->metadata, image->l1_offset, bytes);
	for (i = 0; i < image->l1_size && result == 0; i++) {
		uint64_t offset;

		image->l1[i] = be64toh(image->l1[i]);
		offset = image->l1[i] & ENTRY_OFFSET;
		if (offset != 0 && is_cluster_aligned(image, offset))
			result = cluster_set_add(&image->metadata, offset >> image->cluster_bits);
	}
	return result < 0 ? error_set_errno(error, -result, "%s", image->node.file.path) : 0;
}

bool is_l2_place(const struct qcow2 *image, uint64_t place)
{
	return is_cluster_aligned(image, place) &&
	       place < __atomic_load_n(&image->node.file.size, __ATOMIC_RELAXED);
}

uint32_t all_subclusters(const struct qcow2 *image)
{
	return image->subclusters == 1 ? 1 : UINT32_MAX;
}

static int decode_compressed(struct qcow2 *image, uint64_t offset, struct cluster *cluster)
{
	unsigned shift = 62 - (image->cluster_bits - 8);
	uint64_t sectors = (cluster->entry >> shift & ((1ull << (image->cluster_bits - 8)) - 1)) + 1;

	if (image->data != &image->node.file)
		return image_is_corrupt(image, "guest offset %#llx is compressed in a data file",
					(unsigned long long)offset);
	cluster->host = cluster->entry & ((1ull << shift) - 1);
	if (cluster->host >= HOST_OFFSET_MAX || cluster->host == 0)
		return image_is_corrupt(image, "guest offset %#llx is compressed at %#llx",
					(unsigned long long)offset, (unsigned long long)cluster->host);
	cluster->packed_bytes = sectors * 512 - cluster->host % 512;
	cluster->is_compressed = true;
	return 0;
}

int cluster_decode(struct qcow2 *image, uint64_t offset, const uint8_t *entry,
		   struct cluster *cluster)
{
	bool has_data_file = image->data != &image->node.file;

	*cluster = (struct cluster){.entry = get_be64(entry)};
	if (cluster->entry & ENTRY_COMPRESSED)
		return decode_compressed(image, offset, cluster);
	cluster->host = cluster->entry & ENTRY_OFFSET;
	cluster->is_own = cluster->entry & ENTRY_COPIED;
	cluster->has_host = cluster->host != 0 || (has_data_file && cluster->is_own);
	if (image->subclusters > 1) {
		uint64_t bits = get_be64(entry + 8);

		cluster->allocated = bits;
		cluster->zero = bits >> 32;
		if (cluster->entry & ENTRY_ZERO || cluster->allocated & cluster->zero)
			return image_is_corrupt(image, "L2 entry of guest offset %#llx is impossible",
						(unsigned long long)offset);
	} else if (cluster->entry & ENTRY_ZERO) {
		if (image->version < 3)
			return image_is_corrupt(image, "L2 entry of guest offset %#llx is of version 3",
						(unsigned long long)offset);
		cluster->zero = 1;
	} else {
		cluster->allocated = cluster->has_host;
	}
	if (cluster->allocated && !cluster->has_host)
		return image_is_corrupt(image, "guest offset %#llx has data and no place",
					(unsigned long long)offset);
	if (cluster->has_host && !is_cluster_aligned(image, cluster->host))
		return image_is_corrupt(image, "guest offset %#llx is at unaligned %#llx",
					(unsigned long long)offset, (unsigned long long)cluster->host);
	if (cluster->has_host && has_data_file && cluster->host != cluster_start(image, offset))
		return image_is_corrupt(image, "guest offset %#llx is at %#llx of the data file",
					(unsigned long long)offset, (unsigned long long)cluster->host);
	cluster->is_own &= cluster->has_host;
	return 0;
}

static uint32_t l1_index(const struct qcow2 *image, uint64_t offset)
{
	return offset >> (image->cluster_bits + image->l2_bits);
}

static int check_l2_place(struct qcow2 *image, uint64_t offset, uint64_t place)
{
	if (is_cluster_aligned(image, place))
		return 0;
	return image_is_corrupt(image, "the L2 table of guest offset %#llx is at %#llx",
				(unsigned long long)offset, (unsigned long long)place);
}

int l2_find(struct qcow2 *image, uint64_t offset, bool may_wait, struct table **table)
{
	uint32_t index = l1_index(image, offset);
	uint64_t place = index < image->l1_size ? image->l1[index] & ENTRY_OFFSET : 0;
	int result;

	*table = NULL;
	if (place == 0)
		return 0;
	result = check_l2_place(image, offset, place);
	if (result < 0)
		return result;
	if (may_wait)
		return table_get(image, &image->l2_tables, place, table);
	*table = table_find(&image->l2_tables, place);
	return *table ? 0 : -EAGAIN;
}

void l1_set(struct qcow2 *image, uint32_t index, uint64_t entry)
{
	image->l1[index] = entry;
	image->l1_dirty[index / L1_BLOCK] = 1;
	image->has_dirty_l1 = true;
}

int l2_own(struct qcow2 *image, uint64_t offset, struct table **table)
{
	uint32_t index = l1_index(image, offset);
	struct table *old = NULL;
	uint64_t place, entry;
	int result;

	if (index >= image->l1_size)
		return -EINVAL;
	entry = image->l1[index];
	result = l2_find(image, offset, true, &old);
	if (result < 0)
		return result;
	if (old && entry & ENTRY_COPIED) {
		*table = old;
		return 0;
	}
	result = clusters_make(image, 1, &place);
	if (result < 0)
		return result;
	result = table_new(image, &image->l2_tables, place, table);
	if (result == 0)
		result = cluster_set_add(&image->metadata, place >> image->cluster_bits);
	if (result < 0) {
		table_drop(&image->l2_tables, place);
		clusters_unmake(image, place, 1);
		return result;
	}
	l1_set(image, index, place | ENTRY_COPIED);
	if (!old)
		return 0;
	memcpy((*table)->data, old->data, image->cluster_size);
	return clusters_release(image, entry & ENTRY_OFFSET, 1);
}

uint8_t *l2_entry(const struct qcow2 *image, const struct table *table, uint64_t offset)
{
	uint64_t index = offset >> image->cluster_bits & ((1ull << image->l2_bits) - 1);

	return table->data + index * image->entry_bytes;
}

void entry_set(struct qcow2 *image, struct table *table, uint64_t offset, uint64_t host,
	       bool has_host, uint32_t allocated, uint32_t zero)
{
	uint8_t *at = l2_entry(image, table, offset);
	uint64_t entry = has_host ? host | ENTRY_COPIED : 0;

	if (image->subclusters > 1)
		put_be64(at + 8, (uint64_t)zero << 32 | allocated);
	else if (zero)
		entry |= ENTRY_ZERO;
	put_be64(at, entry);
	table_dirty(&image->l2_tables, table);
}

int cluster_release(struct qcow2 *image, const struct cluster *cluster)
{
	uint64_t first, last;

	if (cluster->is_compressed) {
		first = cluster->host >> image->cluster_bits;
		last = (cluster->host + cluster->packed_bytes - 1) >> image->cluster_bits;
		return clusters_release(image, first << image->cluster_bits, last - first + 1);
	}
	if (cluster->has_host && image->data == &image->node.file)
		return clusters_release(image, cluster->host, 1);
	return 0;
}

static enum range_kind kind_of(const struct cluster *cluster, unsigned sub)
{
	if (cluster->is_compressed)
		return RANGE_COMPRESSED;
	if (cluster->allocated >> sub & 1)
		return RANGE_DATA;
	return cluster->zero >> sub & 1 ? RANGE_ZEROES : RANGE_UNALLOCATED;
}

int range_find(struct qcow2 *image, uint64_t offset, uint64_t size, bool may_wait,
	       struct qcow2_range *range)
{
	uint64_t l2_span = 1ull << (image->cluster_bits + image->l2_bits);
	uint64_t table_end = (offset & ~(l2_span - 1)) + l2_span, in_cluster, at;
	struct cluster cluster;
	struct table *table;
	unsigned sub;
	int result = l2_find(image, offset, may_wait, &table);

	if (result < 0)
		return result;
	if (size > table_end - offset)
		size = table_end - offset;
	*range = (struct qcow2_range){.kind = RANGE_UNALLOCATED, .size = size};
	if (!table)
		return 0;
	result = cluster_decode(image, offset, l2_entry(image, table, offset), &cluster);
	if (result < 0)
		return result;
	in_cluster = offset & (image->cluster_size - 1);
	sub = in_cluster >> image->subcluster_bits;
	range->kind = kind_of(&cluster, sub);
	range->is_own = cluster.is_own;
	range->has_host = cluster.has_host;
	range->host = cluster.host + in_cluster;
	range->entry = cluster.entry;
	at = offset;
	for (;;) {
		/* To the end of the subclusters that are of this kind. */
		while (sub < image->subclusters && kind_of(&cluster, sub) == range->kind)
			sub++;
		at = cluster_start(image, at) + ((uint64_t)sub << image->subcluster_bits);
		if (range->kind == RANGE_COMPRESSED)
			at = cluster_start(image, offset) + image->cluster_size;
		if (sub < image->subclusters || at - offset >= size ||
		    range->kind == RANGE_COMPRESSED)
			break;
		/* And on in the next cluster, if it goes on there. */
		result = cluster_decode(image, at, l2_entry(image, table, at), &cluster);
		if (result < 0)
			break; /* it is that cluster's matter */
		if (kind_of(&cluster, 0) != range->kind || cluster.is_own != range->is_own ||
		    cluster.has_host != range->has_host ||
		    (range->has_host && cluster.host != range->host + (at - offset)))
			break;
		sub = 0;
	}
	if (at - offset < size)
		range->size = at - offset;
	return 0;
}
