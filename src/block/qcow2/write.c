/*
 * Writing, zeroing and discarding. The caller holds the clusters for itself (range_lock.h), so what
 * is found out about them under the lock still holds when data was moved without it.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/qcow2.h"
#include "block/vector.h"

/* Clusters that one step makes at most: bounds what a failure has to undo. */
#define RUN_BYTES (64u << 20)

/* A step of a write: clusters in a row, of one L2 table, that get places. */
struct write_step {
	uint64_t first;	  /* guest offset of the first cluster */
	uint64_t clusters;
	bool is_reuse;	  /* one cluster, which has its place */
	uint64_t host;	  /* where the first is, or will be */
	bool is_fresh;	  /* that place was never written: it is zeroes */
	uint64_t start, end; /* guest offsets: what will be data, whole subclusters */
	bool copies_first, copies_last; /* all of the first, the last cluster */
};

static bool has_data(const struct cluster *cluster)
{
	return cluster->is_compressed || cluster->allocated;
}

static bool can_reuse(const struct cluster *cluster)
{
	return !cluster->is_compressed && cluster->has_host && cluster->is_own;
}

/* How many clusters from `offset` on, up to `limit`, want new places; the last one's state. */
static int count_new(struct qcow2 *image, struct table *table, uint64_t offset, uint64_t limit,
		     uint64_t *count, struct cluster *last)
{
	struct cluster cluster;
	int result;

	for (*count = 0; *count < limit; ++*count) {
		uint64_t at = offset + (*count << image->cluster_bits);

		result = cluster_decode(image, at, l2_entry(image, table, at), &cluster);
		if (result < 0)
			return result;
		if (can_reuse(&cluster))
			break;
		*last = cluster;
	}
	return 0;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Find out what the step that writes `offset` is, and make its places. Under the lock. */
static int step_prepare(struct qcow2 *image, uint64_t offset, uint64_t size, struct write_step *step)
{
	uint64_t sub_size = 1ull << image->subcluster_bits, limit, table_left;
	struct cluster first, last = {0};
	struct table *table;
	unsigned sub;
	int result = l2_own(image, offset, &table);

	if (result < 0)
		return result;
	*step = (struct write_step){.first = cluster_start(image, offset), .clusters = 1};
	result = cluster_decode(image, offset, l2_entry(image, table, offset), &first);
	if (result < 0)
		return result;
	if (can_reuse(&first)) {
		step->is_reuse = true;
		step->host = first.host;
		step->end = min64(offset + size, step->first + image->cluster_size);
		if (image->data == &image->node.file &&
		    is_metadata(image, first.host >> image->cluster_bits))
			return image_is_corrupt(image, "data at %#llx is where a table is",
						(unsigned long long)first.host);
		/* Subclusters that are there need no filling up. */
		sub = (offset - step->first) >> image->subcluster_bits;
		step->start = first.allocated >> sub & 1 ? offset : offset & ~(sub_size - 1);
		sub = (step->end - 1 - step->first) >> image->subcluster_bits;
		if (!(first.allocated >> sub & 1))
			step->end = (step->end + sub_size - 1) & ~(sub_size - 1);
		return 0;
	}
	table_left = (1ull << image->l2_bits) -
		     (offset >> image->cluster_bits & ((1ull << image->l2_bits) - 1));
	limit = clusters_for(image, offset + size - step->first);
	limit = min64(min64(limit, table_left), (RUN_BYTES >> image->cluster_bits) + 1);
	result = count_new(image, table, step->first, limit, &step->clusters, &last);
	if (result < 0)
		return result;
	step->end = min64(offset + size, step->first + (step->clusters << image->cluster_bits));
	step->copies_first = has_data(&first);
	step->copies_last = has_data(&last);
	step->start = step->copies_first ? step->first : offset & ~(sub_size - 1);
	step->end = step->copies_last ? step->first + (step->clusters << image->cluster_bits)
				      : (step->end + sub_size - 1) & ~(sub_size - 1);
	if (image->data != &image->node.file) {
		step->host = step->first;
		return 0;
	}
	result = clusters_make(image, step->clusters, &step->host);
	step->is_fresh = step->host >= __atomic_load_n(&image->node.file.size, __ATOMIC_RELAXED);
	return result;
}

/* Whether a range reads as zeroes without looking at data. */
static bool is_zeroes(struct qcow2 *image, uint64_t offset, uint64_t size)
{
	struct node *backing = image->node.backing;
	struct qcow2_range range;
	bool result = true;

	pthread_mutex_lock(&image->lock);
	while (size > 0 && result) {
		if (range_find(image, offset, size, true, &range) < 0)
			result = false;
		else
			result = range.kind == RANGE_ZEROES ||
				 (range.kind == RANGE_UNALLOCATED &&
				  (!backing || offset >= backing->size));
		offset += range.size;
		size -= range.size;
	}
	pthread_mutex_unlock(&image->lock);
	return result;
}

/* What is beside the data in its first or last subcluster: read into a new buffer. NULL and 0 when
 * there is nothing or it needs no writing. */
static int read_beside(struct qcow2 *image, const struct write_step *step, uint64_t offset, uint64_t size,
		       uint8_t **data)
{
	struct iovec vector;
	int result;

	*data = NULL;
	if (size == 0 || (step->is_fresh && is_zeroes(image, offset, size)))
		return 0;
	*data = malloc(size);
	if (!*data)
		return -ENOMEM;
	vector = (struct iovec){*data, size};
	/* The disk may end in the middle of its last cluster. */
	if (offset >= image->node.size) {
		memset(*data, 0, size);
		return 0;
	}
	if (size > image->node.size - offset) {
		memset(*data + (image->node.size - offset), 0, size - (image->node.size - offset));
		vector.iov_len = image->node.size - offset;
	}
	result = qcow2_read(&image->node, offset, vector.iov_len, &vector, 1);
	if (result < 0) {
		free(*data);
		*data = NULL;
	}
	return result;
}

/* Write the step's data, with what is beside it, to its place. `size` bytes of it. */
static int step_write(struct qcow2 *image, const struct write_step *step, uint64_t offset, uint64_t size,
		      const struct iovec *vector, unsigned count, uint64_t skip)
{
	struct iovec parts[BLOCK_VECTORS_MAX + 2];
	uint8_t *head = NULL, *tail = NULL;
	uint64_t at = offset;
	unsigned used = 0;
	int result;

	result = read_beside(image, step, step->start, offset - step->start, &head);
	if (result == 0)
		result = read_beside(image, step, offset + size, step->end - (offset + size), &tail);
	if (result < 0)
		goto out;
	if (head) {
		at = step->start;
		parts[used++] = (struct iovec){head, offset - step->start};
	}
	used += vector_part(vector, count, skip, size, parts + used);
	if (tail)
		parts[used++] = (struct iovec){tail, step->end - (offset + size)};
	result = file_writev(image->data, step->host + (at - step->first), parts, used);
out:
	free(head);
	free(tail);
	return result;
}

/* Have the tables say where the step's data is. Under the lock. */
static int step_commit(struct qcow2 *image, const struct write_step *step)
{
	uint64_t i;
	struct table *table;
	int result = l2_own(image, step->first, &table);

	for (i = 0; i < step->clusters && result == 0; i++) {
		uint64_t at = step->first + (i << image->cluster_bits);
		uint64_t from = step->start > at ? step->start - at : 0;
		uint64_t to = min64(step->end - at, image->cluster_size);
		unsigned first = from >> image->subcluster_bits;
		unsigned last = (to - 1) >> image->subcluster_bits;
		uint32_t bits = (UINT32_MAX >> (31 - last)) & (UINT32_MAX << first);
		struct cluster old;

		result = cluster_decode(image, at, l2_entry(image, table, at), &old);
		if (result == 0 && !step->is_reuse)
			result = cluster_release(image, &old);
		if (result < 0)
			break;
		if (step->is_reuse)
			bits |= old.allocated;
		entry_set(image, table, at, step->host + (i << image->cluster_bits), true, bits,
			  old.zero & ~bits);
	}
	return result;
}

/* Write as much as one step can, at least a byte: `done` bytes. */
static int write_step(struct qcow2 *image, uint64_t offset, uint64_t size,
		      const struct iovec *vector, unsigned count, uint64_t skip, uint64_t *done)
{
	struct write_step step;
	uint64_t length;
	int result;

	pthread_mutex_lock(&image->lock);
	result = step_prepare(image, offset, size, &step);
	pthread_mutex_unlock(&image->lock);
	if (result < 0)
		return result;
	length = min64(size, step.first + (step.clusters << image->cluster_bits) - offset);
	result = step_write(image, &step, offset, length, vector, count, skip);
	pthread_mutex_lock(&image->lock);
	if (result == 0)
		result = step_commit(image, &step);
	else if (!step.is_reuse && image->data == &image->node.file)
		clusters_unmake(image, step.host, step.clusters);
	pthread_mutex_unlock(&image->lock);
	*done = length;
	return result;
}

int qcow2_write(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector,
		unsigned count)
{
	struct qcow2 *image = qcow2_of(node);
	struct iovec part[BLOCK_VECTORS_MAX];
	struct extent extents[EXTENTS_MAX];
	uint64_t done = 0, length = 0, i;
	unsigned parts;
	int extent_count, result = changes_begin(image);

	bitmaps_mark(image, offset, size);
	while (done < size && result == 0) {
		struct qcow2_range range;

		pthread_mutex_lock(&image->lock);
		result = range_find(image, offset + done, size - done, true, &range);
		pthread_mutex_unlock(&image->lock);
		if (result < 0)
			break;
		extent_count = range.kind == RANGE_DATA && range.is_own
				       ? qcow2_map(node, offset + done, range.size, true, extents)
				       : 0;
		if (extent_count == -EIO)
			return -EIO;
		if (extent_count <= 0) {
			result = write_step(image, offset + done, size - done, vector, count, done,
					    &length);
			done += length;
			continue;
		}
		for (i = 0; i < (unsigned)extent_count && result == 0; i++) {
			parts = vector_part(vector, count, done, extents[i].size, part);
			result = file_writev(extents[i].file, extents[i].at, part, parts);
			done += extents[i].size;
		}
	}
	return result;
}

/* ---- Zeroes and discards ---- */

/* Bytes up to where the next L2 table takes over. */
static uint64_t table_left(const struct qcow2 *image, uint64_t offset)
{
	uint64_t span = 1ull << (image->cluster_bits + image->l2_bits);

	return span - (offset & (span - 1));
}

/* Whether there is nothing from `offset` on up to there, and nothing below. */
static bool is_empty(struct qcow2 *image, uint64_t offset)
{
	const struct node *backing = image->node.backing;
	struct table *table;
	int result;

	pthread_mutex_lock(&image->lock);
	result = l2_find(image, offset, true, &table);
	pthread_mutex_unlock(&image->lock);
	return result == 0 && !table && (!backing || backing->size <= offset) &&
	       !(image->autoclear & AUTOCLEAR_RAW_DATA);
}

/* Zeroes as data: where tables cannot say it. */
static int write_zero_bytes(struct node *node, uint64_t offset, uint64_t size)
{
	uint64_t length = min64(size, 1u << 20);
	uint8_t *zeroes = calloc(1, length ? length : 1);
	struct iovec vector;
	int result = zeroes ? 0 : -ENOMEM;

	for (; size > 0 && result == 0; offset += length, size -= length) {
		length = min64(size, length);
		vector = (struct iovec){zeroes, length};
		result = qcow2_write(node, offset, length, &vector, 1);
	}
	free(zeroes);
	return result;
}

/* Make some subclusters of a cluster, or all, zeroes. -ENOTSUP: the tables cannot say it. */
static int zero_cluster(struct qcow2 *image, uint64_t offset, uint32_t bits, bool may_unmap)
{
	struct node *backing = image->node.backing;
	bool is_all = bits == all_subclusters(image);
	struct cluster old;
	struct table *table;
	int result = l2_find(image, offset, true, &table);

	if (result < 0)
		return result;
	old = (struct cluster){0};
	if (table)
		result = cluster_decode(image, offset, l2_entry(image, table, offset), &old);
	if (result < 0)
		return result;
	if (!old.is_compressed && !(old.allocated & bits) &&
	    ((old.zero & bits) == bits || !backing || backing->size <= offset) &&
	    !(may_unmap && old.has_host && is_all))
		return 0;
	if (image->version < 3) {
		/* Without the flag only nothing at all can be zeroes. */
		if (!is_all || !may_unmap || (backing && backing->size > offset))
			return -ENOTSUP;
		bits = 0;
	}
	if (!is_all && (old.is_compressed || (old.has_host && !old.is_own)))
		return -ENOTSUP;
	result = l2_own(image, offset, &table);
	if (result < 0)
		return result;
	if (is_all && (old.is_compressed || (old.has_host && (may_unmap || !old.is_own)))) {
		result = cluster_release(image, &old);
		if (result == 0)
			entry_set(image, table, offset, 0, false, 0, bits);
		return result;
	}
	entry_set(image, table, offset, old.host, old.has_host, old.allocated & ~bits,
		  (old.zero | bits));
	return 0;
}

int qcow2_zero(struct node *node, uint64_t offset, uint64_t size, bool may_unmap)
{
	struct qcow2 *image = qcow2_of(node);
	uint64_t sub_size = 1ull << image->subcluster_bits, length;
	int result = changes_begin(image);

	bitmaps_mark(image, offset, size);
	for (; size > 0 && result == 0; offset += length, size -= length) {
		uint64_t start = cluster_start(image, offset), in = offset - start;
		bool reaches_end;
		uint64_t to;

		if (is_empty(image, offset)) {
			length = min64(size, table_left(image, offset));
			continue;
		}
		length = min64(size, image->cluster_size - in);
		reaches_end = offset + length == node->size;
		to = reaches_end ? (in + length + sub_size - 1) & ~(sub_size - 1) : in + length;
		if (in % sub_size != 0 || to % sub_size != 0) {
			/* A part of a subcluster: up to its end, or to the request's. */
			length = min64(length, sub_size - in % sub_size);
			if (in % sub_size == 0 && to - in > sub_size)
				length = (to - in) & ~(sub_size - 1);
			else if (!is_zeroes(image, offset, length)) {
				result = write_zero_bytes(node, offset, length);
				continue;
			} else {
				continue;
			}
			to = in + length;
		}
		pthread_mutex_lock(&image->lock);
		result = zero_cluster(image, start,
				      (UINT32_MAX >> (31 - ((to - 1) >> image->subcluster_bits))) &
					      (UINT32_MAX << (in >> image->subcluster_bits)) &
					      all_subclusters(image),
				      may_unmap);
		pthread_mutex_unlock(&image->lock);
		if (result == 0 && image->autoclear & AUTOCLEAR_RAW_DATA)
			result = file_zero(image->data, offset, length,
					   may_unmap && node->discards);
		if (result == -ENOTSUP)
			result = write_zero_bytes(node, offset, length);
		if (result == 0 && (offset >> image->cluster_bits) % 4096 == 0)
			result = changes_begin(image);
	}
	return result;
}

int qcow2_discard(struct node *node, uint64_t offset, uint64_t size)
{
	struct qcow2 *image = qcow2_of(node);
	uint64_t end = offset + size, at, done = 0, step;
	int result;

	if (!node->discards)
		return 0;
	result = changes_begin(image);
	bitmaps_mark(image, offset, size);
	at = (offset + image->cluster_size - 1) & ~(image->cluster_size - 1);
	for (; at < end && result == 0; at += step) {
		bool is_backed = node->backing && node->backing->size > at;
		struct cluster old;
		struct table *table;

		/* The disk's last cluster may be a part of one. */
		if (end - at < image->cluster_size && end != node->size)
			break;
		/* What is below must not come to light: that would be no zeroes and not what was. */
		if (is_backed && image->version < 3)
			break;
		pthread_mutex_lock(&image->lock);
		result = l2_find(image, at, true, &table);
		if (result == 0 && table)
			result = cluster_decode(image, at, l2_entry(image, table, at), &old);
		step = table ? image->cluster_size : table_left(image, at);
		if (result == 0 && table && (old.has_host || old.is_compressed)) {
			result = l2_own(image, at, &table);
			if (result == 0)
				result = cluster_release(image, &old);
			if (result == 0)
				entry_set(image, table, at, 0, false, 0,
					  is_backed ? all_subclusters(image) : 0);
			if (result == 0 && image->autoclear & AUTOCLEAR_RAW_DATA)
				result = file_zero(image->data, at, image->cluster_size, true);
			else if (result == 0 && image->data != &node->file)
				result = file_discard(image->data, at, image->cluster_size);
		}
		pthread_mutex_unlock(&image->lock);
		if (result == 0 && ++done % 4096 == 0)
			result = changes_begin(image);
	}
	return result;
}
