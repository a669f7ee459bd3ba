/*
 * The order in which changes reach the medium. A flush
 *
 *   1. under the lock: writes refcount blocks, and takes copies of the L2 tables and L1 entries that
 *      changed, with the list of clusters that those changes set free;
 *   2. without it: a barrier; then what the copies hold, L1 entries after another barrier, for an
 *      entry must not point to a table that isn't there; a last barrier;
 *   3. under the lock: lowers the refcounts of what was set free.
 *
 * The data that new L2 entries point to was written before they were changed in memory, so the first
 * barrier covers it. Meanwhile requests go on; what they change is in no copy, and the next flush's.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

/* Changes that may be in memory before somebody has to write them. */
#define FREES_MAX 4096

struct copy {
	uint64_t offset;
	uint8_t *data;
	uint64_t size;
};

struct flush {
	struct copy *tables, *l1_blocks;
	unsigned table_count, l1_count;
	struct free_list frees;
};

static void flush_end(struct flush *flush)
{
	unsigned i;

	for (i = 0; i < flush->table_count; i++)
		free(flush->tables[i].data);
	for (i = 0; i < flush->l1_count; i++)
		free(flush->l1_blocks[i].data);
	free(flush->tables);
	free(flush->l1_blocks);
}

static int copy_l1(struct qcow2 *image, struct flush *flush)
{
	unsigned blocks = image->l1_size / L1_BLOCK + 1, i, k;

	if (!image->has_dirty_l1)
		return 0;
	flush->l1_blocks = calloc(blocks, sizeof(*flush->l1_blocks));
	if (!flush->l1_blocks)
		return -ENOMEM;
	for (i = 0; i < blocks; i++) {
		struct copy *copy = &flush->l1_blocks[flush->l1_count];
		unsigned entries = L1_BLOCK;

		if (!image->l1_dirty[i])
			continue;
		if (entries > image->l1_size - i * L1_BLOCK)
			entries = image->l1_size - i * L1_BLOCK;
		copy->offset = image->l1_offset + i * L1_BLOCK * 8ull;
		copy->size = entries * 8;
		copy->data = malloc(copy->size);
		if (!copy->data)
			return -ENOMEM;
		for (k = 0; k < entries; k++)
			put_be64(copy->data + k * 8, image->l1[i * L1_BLOCK + k]);
		flush->l1_count++;
	}
	return 0;
}

static int copy_tables(struct qcow2 *image, struct flush *flush)
{
	struct table_cache *cache = &image->l2_tables;
	unsigned i;

	if (cache->dirty == 0)
		return 0;
	flush->tables = calloc(cache->dirty, sizeof(*flush->tables));
	if (!flush->tables)
		return -ENOMEM;
	for (i = 0; i < cache->count; i++) {
		struct table *table = cache->tables[i];
		struct copy *copy = &flush->tables[flush->table_count];

		if (!table->is_dirty)
			continue;
		*copy = (struct copy){table->offset, malloc(image->cluster_size),
				      image->cluster_size};
		if (!copy->data)
			return -ENOMEM;
		memcpy(copy->data, table->data, image->cluster_size);
		flush->table_count++;
	}
	return 0;
}

/* All copies are there: what they hold counts as written. */
static void take_over(struct qcow2 *image, struct flush *flush)
{
	unsigned i;

	for (i = 0; i < flush->table_count; i++) {
		struct table *table = table_find(&image->l2_tables, flush->tables[i].offset);

		table_clean(&image->l2_tables, table);
		table->is_flushing = true;
	}
	memset(image->l1_dirty, 0, image->l1_size / L1_BLOCK + 1);
	image->has_dirty_l1 = false;
	flush->frees = image->frees;
	image->frees = (struct free_list){NULL};
}

/* The opposite, after a failure: all of it is still to be written. */
static void give_back(struct qcow2 *image, struct flush *flush)
{
	unsigned i;
	size_t k;

	for (i = 0; i < flush->table_count; i++) {
		struct table *table = table_find(&image->l2_tables, flush->tables[i].offset);

		if (table)
			table_dirty(&image->l2_tables, table);
	}
	for (i = 0; i < flush->l1_count; i++) {
		image->l1_dirty[(flush->l1_blocks[i].offset - image->l1_offset) / 8 / L1_BLOCK] = 1;
		image->has_dirty_l1 = true;
	}
	for (k = 0; k < flush->frees.count; k++)
		clusters_release(image, flush->frees.runs[k].first << image->cluster_bits,
				 flush->frees.runs[k].count);
	free(flush->frees.runs);
}

static int write_copies(struct qcow2 *image, const struct copy *copies, unsigned count)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < count && result == 0; i++)
		result = file_write_at(&image->node.file, copies[i].offset, copies[i].data,
				       copies[i].size);
	return result;
}

static int barrier(struct qcow2 *image)
{
	int result = file_sync(&image->node.file);

	if (result == 0 && image->data != &image->node.file)
		result = file_sync(image->data);
	return result;
}

static int write_all(struct qcow2 *image, const struct flush *flush)
{
	int result = 0;

	if (flush->table_count > 0 || flush->l1_count > 0)
		result = barrier(image);
	if (result == 0)
		result = write_copies(image, flush->tables, flush->table_count);
	if (result == 0 && flush->l1_count > 0 && flush->table_count > 0)
		result = barrier(image);
	if (result == 0)
		result = write_copies(image, flush->l1_blocks, flush->l1_count);
	if (result == 0)
		result = barrier(image);
	return result;
}

/* Under the lock: refcounts, unless they are for the end only, and new blocks of them before the
 * table that points to them. */
static int write_refcounts(struct qcow2 *image)
{
	int result;

	if (image->incompatible & INCOMPATIBLE_DIRTY)
		return 0;
	result = refcounts_write(image);
	if (result < 0 || !image->has_dirty_reftable)
		return result;
	result = file_sync(&image->node.file);
	if (result == 0)
		result = reftable_write(image);
	if (result == 0)
		image->has_dirty_reftable = false;
	return result;
}

int qcow2_flush(struct node *node)
{
	struct qcow2 *image = qcow2_of(node);
	struct flush flush = {NULL};
	unsigned i;
	int result;

	if (!node->is_writable)
		return 0;
	if (__atomic_load_n(&image->is_corrupt, __ATOMIC_RELAXED))
		return -EIO;
	pthread_mutex_lock(&image->lock);
	while (image->is_flushing)
		pthread_cond_wait(&image->flushed, &image->lock);
	result = write_refcounts(image);
	if (result == 0)
		result = copy_tables(image, &flush);
	if (result == 0)
		result = copy_l1(image, &flush);
	if (result < 0)
		goto out;
	take_over(image, &flush);
	image->is_flushing = true;
	pthread_mutex_unlock(&image->lock);

	result = write_all(image, &flush);

	pthread_mutex_lock(&image->lock);
	image->is_flushing = false;
	for (i = 0; i < flush.table_count; i++) {
		struct table *table = table_find(&image->l2_tables, flush.tables[i].offset);

		if (table)
			table->is_flushing = false;
	}
	if (result < 0)
		give_back(image, &flush);
	else
		result = clusters_release_now(image, &flush.frees);
	pthread_cond_broadcast(&image->flushed);
out:
	pthread_mutex_unlock(&image->lock);
	flush_end(&flush);
	return result;
}

int changes_begin(struct qcow2 *image)
{
	bool is_much;
	int result = 0;

	if (__atomic_load_n(&image->is_corrupt, __ATOMIC_RELAXED))
		return -EIO;
	pthread_mutex_lock(&image->lock);
	if (image->is_lazy && !(image->incompatible & INCOMPATIBLE_DIRTY))
		result = header_set_feature(image, INCOMPATIBLE_DIRTY, true);
	if (result == 0)
		result = bitmaps_begin(image);
	table_trim(&image->l2_tables);
	if (image->refblocks.dirty > 0 &&
	    image->refblocks.count > image->refblocks.limit && result == 0)
		result = refcounts_write(image);
	table_trim(&image->refblocks);
	is_much = image->frees.count > FREES_MAX ||
		  image->l2_tables.dirty > image->l2_tables.limit / 2;
	pthread_mutex_unlock(&image->lock);
	if (result == 0 && is_much)
		result = qcow2_flush(&image->node);
	return result;
}
