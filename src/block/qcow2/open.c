/* Opening and closing. */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/qcow2.h"
#include "block/qcow2/whole.h"
#include "util/log.h"

#define L2_CACHE_BYTES	     (32u << 20)
#define REFBLOCK_CACHE_BYTES (4u << 20)

static void free_all(struct qcow2 *image)
{
	unsigned i;

	table_cache_end(&image->l2_tables);
	table_cache_end(&image->refblocks);
	cluster_set_end(&image->metadata);
	free(image->frees.runs);
	snapshots_end(image);
	bitmaps_end(image);
	for (i = 0; i < image->extension_count; i++)
		free(image->extensions[i].data);
	free(image->extensions);
	free(image->header_tail);
	free(image->backing_name);
	free(image->backing_format);
	free(image->data_name);
	free(image->l1);
	free(image->l1_dirty);
	free(image->reftable);
	free(image->unpacked);
	file_close(&image->data_file);
	pthread_mutex_destroy(&image->lock);
	pthread_mutex_destroy(&image->unpacked_lock);
	pthread_cond_destroy(&image->flushed);
}

static unsigned cache_limit(const struct qcow2 *image, unsigned bytes)
{
	unsigned limit = bytes >> image->cluster_bits;

	return limit < 8 ? 8 : limit;
}

int qcow2_open(struct file *file, bool for_check, struct qcow2 **opened, struct error *error)
{
	struct qcow2 *image = calloc(1, sizeof(*image));
	int result;

	if (!image)
		return error_set_errno(error, ENOMEM, "%s", file->path);
	image->node.driver = &qcow2_driver;
	image->node.file = *file;
	image->node.is_writable = file->is_writable;
	image->data = &image->node.file;
	image->data_file.fd = image->data_file.direct_fd = -1;
	pthread_mutex_init(&image->lock, NULL);
	pthread_mutex_init(&image->unpacked_lock, NULL);
	pthread_cond_init(&image->flushed, NULL);
	image->is_checking = for_check;
	result = header_read(image, error);
	if (result < 0)
		goto fail;
	image->node.granule = image->cluster_size;
	image->node.block_bytes = 1u << image->subcluster_bits;
	image->node.discard_bytes = image->cluster_size;
	if (table_cache_init(&image->l2_tables, cache_limit(image, L2_CACHE_BYTES)) < 0 ||
	    table_cache_init(&image->refblocks, cache_limit(image, REFBLOCK_CACHE_BYTES)) < 0) {
		result = error_set_errno(error, ENOMEM, "%s", file->path);
		goto fail;
	}
	result = refcounts_load(image, error);
	if (result == 0)
		result = mapping_load(image, error);
	if (result == 0)
		result = snapshots_load(image, error);
	if (result < 0)
		goto fail;
	*opened = image;
	return 0;

fail:
	free_all(image);
	free(image);
	return result;
}

/* After a crash: refcounts are what the tables say. What else is wrong with those is the matter of whoever uses them. */
static int repair_dirty(struct qcow2 *image, struct error *error)
{
	struct image_check check;
	int result;

	/* What cannot be read cannot be counted. */
	if (image->snapshots_lost > 0)
		return error_set(error, EIO,
				 "%s was not closed, and its list of snapshots is damaged: it can be read, or repaired by "
				 "kvik image check -r all",
				 image->node.file.path);
	result = qcow2_check(image, IMAGE_REPAIR_REFCOUNTS, &check, NULL, NULL, error);
	if (result == 0 && image->incompatible & INCOMPATIBLE_DIRTY)
		result = error_set(error, EIO,
				   "%s was not closed, and cannot be repaired: see kvik image check",
				   image->node.file.path);
	return result;
}

int qcow2_start(struct qcow2 *image, bool for_check, struct error *error)
{
	const char *path = image->node.file.path;
	int result = bitmaps_load(image, error);

	if (result == -EINVAL && for_check) {
		image->has_bad_bitmaps = true;
		return 0;
	}
	if (result < 0 || !image->node.is_writable || for_check)
		return result;
	if (image->incompatible & INCOMPATIBLE_CORRUPT)
		return error_set(error, EIO,
				 "%s is marked as damaged: it can be read, or repaired by "
				 "kvik image check -r all",
				 path);
	if (image->incompatible & INCOMPATIBLE_DIRTY) {
		result = repair_dirty(image, error);
		if (result < 0)
			return result;
	}
	/* What kvik doesn't know it doesn't keep true. */
	if (image->autoclear & ~AUTOCLEAR_KNOWN) {
		image->autoclear &= AUTOCLEAR_KNOWN;
		result = header_write(image);
		if (result == 0)
			result = file_sync(&image->node.file);
		if (result < 0)
			return error_set_errno(error, -result, "cannot write %s", path);
	}
	return 0;
}

static int qcow2_settle(struct node *node)
{
	struct qcow2 *image = qcow2_of(node);
	int result;

	if (image->is_corrupt)
		return -EIO;
	result = bitmaps_store(image);
	if (result == 0)
		result = whole_flush(image);
	if (result == 0)
		result = bitmaps_finish(image);
	if (result == 0 && image->version >= 3 && image->incompatible & INCOMPATIBLE_DIRTY)
		result = header_set_feature(image, INCOMPATIBLE_DIRTY, false);
	return result;
}

static int qcow2_close(struct node *node)
{
	struct qcow2 *image = qcow2_of(node);
	int result = 0;

	if (node->is_writable && !(image->is_checking && !image->is_corrupt))
		result = qcow2_settle(node);
	free_all(image);
	return result;
}

const struct node_driver qcow2_driver = {
	.name = "qcow2",
	.map = qcow2_map,
	.read = qcow2_read,
	.write = qcow2_write,
	.zero = qcow2_zero,
	.discard = qcow2_discard,
	.flush = qcow2_flush,
	.settle = qcow2_settle,
	.status = qcow2_status,
	.close = qcow2_close,
};
