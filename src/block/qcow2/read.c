/* Reading, and saying where things are. */
#include <errno.h>

#include "block/qcow2/qcow2.h"
#include "block/vector.h"

/* Whether data may not be written there: a table is. */
static bool is_table(const struct qcow2 *image, uint64_t host, uint64_t size)
{
	uint64_t cluster = host >> image->cluster_bits;
	uint64_t last = (host + size - 1) >> image->cluster_bits;

	if (image->data != &image->node.file)
		return false;
	for (; cluster <= last; cluster++)
		if (is_metadata(image, cluster))
			return true;
	return false;
}

static bool may_write_in_place(struct qcow2 *image, const struct qcow2_range *range)
{
	if (range->kind != RANGE_DATA || !range->is_own)
		return false;
	if (is_table(image, range->host, range->size)) {
		image_is_corrupt(image, "data at %#llx is where a table is",
				 (unsigned long long)range->host);
		return false;
	}
	return true;
}

/* The part of an unallocated range that an image below has to say something of. */
static uint64_t backed_bytes(const struct qcow2 *image, uint64_t offset, uint64_t size)
{
	const struct node *backing = image->node.backing;

	if (!backing || offset >= backing->size)
		return 0;
	return size < backing->size - offset ? size : backing->size - offset;
}

/* One range's extents; how many, or -EAGAIN. */
static int map_range(struct qcow2 *image, uint64_t offset, const struct qcow2_range *range,
		     struct extent *extents, int room)
{
	struct extent below[EXTENTS_MAX];
	struct node *backing = image->node.backing;
	uint64_t backed = 0;
	int count = 0;

	switch (range->kind) {
	case RANGE_COMPRESSED: return -EAGAIN;
	case RANGE_DATA:
		extents[0] = (struct extent){image->data, range->host, range->size};
		return 1;
	case RANGE_ZEROES: break;
	case RANGE_UNALLOCATED: backed = backed_bytes(image, offset, range->size); break;
	}
	if (backed > 0) {
		count = backing->driver->map(backing, offset, backed, false, below);
		if (count < 0)
			return count;
		if (count >= room)
			return -EAGAIN;
		memcpy(extents, below, count * sizeof(*extents));
	}
	if (backed < range->size)
		extents[count++] = (struct extent){NULL, 0, range->size - backed};
	return count;
}

int qcow2_map(struct node *node, uint64_t offset, uint64_t size, bool is_write,
	      struct extent *extents)
{
	struct qcow2 *image = qcow2_of(node);
	uint64_t at = offset, end = offset + size;
	struct qcow2_range range;
	int result = 0, count = 0;

	if (is_write && __atomic_load_n(&image->is_corrupt, __ATOMIC_RELAXED))
		return -EIO;
	if (is_write && image->tracks_bitmaps &&
	    !__atomic_load_n(&image->bitmaps_in_use, __ATOMIC_ACQUIRE))
		return -EAGAIN;
	if (pthread_mutex_trylock(&image->lock) != 0)
		return -EAGAIN;
	for (; at < end && result == 0; at += range.size) {
		result = range_find(image, at, end - at, false, &range);
		if (result == 0 && is_write && !may_write_in_place(image, &range))
			result = -EAGAIN;
		if (result == 0 && count == EXTENTS_MAX)
			result = -EAGAIN;
		if (result < 0)
			break;
		result = map_range(image, at, &range, extents + count, EXTENTS_MAX - count);
		if (result > 0) {
			count += result;
			result = 0;
		}
	}
	pthread_mutex_unlock(&image->lock);
	if (result < 0)
		return result == -EIO ? -EIO : -EAGAIN;
	if (is_write)
		bitmaps_mark(image, offset, size);
	return count;
}

int qcow2_read(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector,
	       unsigned count)
{
	struct qcow2 *image = qcow2_of(node);
	struct iovec part[BLOCK_VECTORS_MAX];
	struct qcow2_range range;
	uint64_t done;
	unsigned parts;
	int result = 0;

	for (done = 0; done < size && result == 0; done += range.size) {
		pthread_mutex_lock(&image->lock);
		result = range_find(image, offset + done, size - done, true, &range);
		table_trim(&image->l2_tables);
		pthread_mutex_unlock(&image->lock);
		if (result < 0)
			return result;
		if (range.kind == RANGE_COMPRESSED) {
			result = compressed_read(image, range.entry,
						 (offset + done) & (image->cluster_size - 1),
						 range.size, vector, count, done);
		} else if (range.kind == RANGE_DATA) {
			parts = vector_part(vector, count, done, range.size, part);
			result = file_readv(image->data, range.host, part, parts);
		} else if (range.kind == RANGE_UNALLOCATED &&
			   backed_bytes(image, offset + done, range.size) > 0) {
			parts = vector_part(vector, count, done, range.size, part);
			result = node_read(node->backing, offset + done, range.size, part, parts);
		} else {
			vector_zero(vector, count, done, range.size);
		}
	}
	return result;
}

int qcow2_status(struct node *node, uint64_t offset, uint64_t size, struct node_status *status)
{
	struct qcow2 *image = qcow2_of(node);
	struct qcow2_range range;
	int result;

	pthread_mutex_lock(&image->lock);
	result = range_find(image, offset, size, true, &range);
	table_trim(&image->l2_tables);
	pthread_mutex_unlock(&image->lock);
	if (result < 0)
		return result;
	*status = (struct node_status){
		.size = range.size,
		.is_allocated = range.kind != RANGE_UNALLOCATED,
		.is_zero = range.kind == RANGE_ZEROES,
		.is_compressed = range.kind == RANGE_COMPRESSED,
	};
	if (range.has_host && range.kind != RANGE_COMPRESSED) {
		status->file = image->data;
		status->at = range.host;
	}
	return 0;
}
