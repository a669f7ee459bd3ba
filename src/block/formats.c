/* Images as tools see them: the formats' functions under one name. */
#include "block/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/chain.h"
#include "block/foreign/blocks.h"
#include "block/foreign/formats.h"
#include "block/qcow2/whole.h"

static struct qcow2 *as_qcow2(const struct node *image)
{
	return image->driver == &qcow2_driver ? (struct qcow2 *)image : NULL;
}

int image_open(const char *path, const struct block_options *options, unsigned flags,
	       struct node **image, struct error *error)
{
	return chain_open(path, -1, options, flags, image, error);
}

bool image_is_qcow2(const struct node *image)
{
	return as_qcow2(image);
}

int image_close(struct node *image)
{
	return node_close(image);
}

uint64_t image_size(const struct node *image)
{
	return image->size;
}

int image_read(struct node *image, uint64_t offset, void *data, uint64_t size)
{
	return node_read_at(image, offset, data, size);
}

static int check_range(const struct node *image, uint64_t offset, uint64_t size)
{
	if (!image->is_writable)
		return -EROFS;
	return offset > image->size || size > image->size - offset ? -EINVAL : 0;
}

int image_write(struct node *image, uint64_t offset, const void *data, uint64_t size)
{
	int result = check_range(image, offset, size);

	return result < 0 ? result : node_write_at(image, offset, data, size);
}

int image_write_compressed(struct node *image, uint64_t offset, const void *data, uint64_t size)
{
	int result = check_range(image, offset, size);

	if (result < 0)
		return result;
	return as_qcow2(image) ? qcow2_write_compressed(image, offset, data, size) : -ENOTSUP;
}

int image_zero(struct node *image, uint64_t offset, uint64_t size, bool may_unmap)
{
	int result = check_range(image, offset, size);

	return result < 0 ? result : image->driver->zero(image, offset, size, may_unmap);
}

int image_flush(struct node *image)
{
	return image->driver->flush(image);
}

struct node *image_below(struct node *image)
{
	return image->backing;
}

const char *image_path(const struct node *image)
{
	return image->file.path;
}

int image_extent(struct node *image, uint64_t offset, uint64_t size, unsigned levels,
		 struct image_extent *extent)
{
	struct node_status status = {.size = size};
	uint64_t hole;
	int result = 0;

	*extent = (struct image_extent){.size = size};
	for (;; image = image->backing, extent->depth++) {
		/* Beyond an image's end there is nothing, and nothing below it counts. */
		if (offset >= image->size) {
			extent->is_zero = true;
			return 0;
		}
		if (extent->size > image->size - offset)
			extent->size = image->size - offset;
		result = image->driver->status(image, offset, extent->size, &status);
		if (result < 0)
			return result;
		extent->size = status.size;
		if (status.is_allocated)
			break;
		if (!image->backing || (levels > 0 && extent->depth + 1 == levels)) {
			extent->is_zero = !image->backing;
			/* A place that was set aside. */
			if (status.file && !image->backing) {
				extent->path = status.file->path;
				extent->at = status.at;
			}
			return 0;
		}
	}
	extent->is_present = true;
	extent->is_zero = status.is_zero;
	extent->is_data = !status.is_zero;
	extent->is_compressed = status.is_compressed;
	if (status.file) {
		extent->path = status.file->path;
		extent->at = status.at;
		/* What was set aside and never written is a hole in the file. */
		if (extent->is_data && status.at < status.file->size) {
			extent->is_zero = file_is_hole(status.file, status.at, &hole);
			if (hole < extent->size)
				extent->size = hole;
		}
	}
	return 0;
}

void image_describe(struct node *image, struct image_description *description)
{
	const struct qcow2 *qcow2 = as_qcow2(image);
	const struct vmdk_facts *vmdk = vmdk_facts(image);

	*description = (struct image_description){
		.format = image->driver->name,
		.path = image->file.path,
		.size = image->size,
		.space = file_space(&image->file),
		.cluster_size = blocks_of(image) ? blocks_of(image)->block_size : 0,
	};
	if (vmdk) {
		description->create_type = vmdk->create_type;
		description->cid = vmdk->cid;
		description->parent_cid = vmdk->parent_cid;
		description->is_compressed = vmdk->is_compressed;
	}
	if (!qcow2)
		return;
	description->is_qcow2 = true;
	description->cluster_size = qcow2->cluster_size;
	description->is_dirty = qcow2->incompatible & INCOMPATIBLE_DIRTY;
	description->backing = qcow2->backing_name;
	description->backing_format = qcow2->backing_format;
	description->version = qcow2->version;
	description->refcount_bits = 1u << qcow2->refcount_order;
	description->compression = qcow2->compression == COMPRESSION_ZSTD ? "zstd" : "zlib";
	description->is_lazy = qcow2->is_lazy;
	description->is_corrupt = qcow2->incompatible & INCOMPATIBLE_CORRUPT;
	description->is_extended = qcow2->subclusters > 1;
	description->is_data_raw = qcow2->autoclear & AUTOCLEAR_RAW_DATA;
	description->data_file = qcow2->data_name;
	description->snapshot_count = qcow2->snapshot_count;
	description->bitmap_count = qcow2->bitmaps && !qcow2->has_bad_bitmaps ? qcow2->bitmap_count : 0;
}

void image_snapshot_describe(struct node *image, unsigned index, struct block_snapshot *snapshot)
{
	const struct snapshot *it = &as_qcow2(image)->snapshots[index];

	*snapshot = (struct block_snapshot){
		.id = it->id,
		.name = it->name,
		.state_bytes = it->state_bytes,
		.disk_bytes = it->disk_size,
		.seconds = it->seconds,
		.nanoseconds = it->nanoseconds,
		.clock_ns = it->clock_ns,
		.icount_plus_1 = it->icount + 1,
	};
}

void image_bitmap_describe(struct node *image, unsigned index, struct image_bitmap *bitmap)
{
	const struct bitmap *it = &as_qcow2(image)->bitmaps[index];

	*bitmap = (struct image_bitmap){
		.name = it->name,
		.granularity = 1ull << it->granularity_bits,
		.is_in_use = it->flags & BITMAP_IN_USE,
		.is_auto = it->flags & BITMAP_AUTO,
	};
}

int image_bitmap_change(struct node *image, enum image_bitmap_action action, const char *name, uint64_t granularity,
			struct error *error)
{
	struct qcow2 *qcow2 = as_qcow2(image);

	if (!qcow2)
		return error_set(error, ENOTSUP, "%s: only qcow2 images have bitmaps", image->file.path);
	return qcow2_bitmap_change(qcow2, action, name, granularity, error);
}

int image_bitmap_merge(struct node *image, const char *name, struct node *source, const char *source_name, struct error *error)
{
	if (!as_qcow2(image) || !as_qcow2(source))
		return error_set(error, ENOTSUP, "%s: only qcow2 images have bitmaps",
				 (as_qcow2(image) ? source : image)->file.path);
	return qcow2_bitmap_merge(as_qcow2(image), name, as_qcow2(source), source_name, error);
}

int64_t image_measure_bitmaps(struct node *image, uint64_t cluster_size)
{
	struct qcow2 *qcow2 = as_qcow2(image);
	uint64_t bytes = 0, directory = 0, clusters;
	unsigned i;

	if (!qcow2 || qcow2->version < 3)
		return -1;
	for (i = 0; qcow2->bitmaps && i < qcow2->bitmap_count; i++) {
		const struct bitmap *bitmap = &qcow2->bitmaps[i];

		if (bitmap->flags & BITMAP_IN_USE)
			continue;
		clusters = (bitmap_bytes(bitmap, image->size) + cluster_size - 1) / cluster_size;
		bytes += (clusters + (clusters * 8 + cluster_size - 1) / cluster_size) * cluster_size;
		directory += (BITMAP_ENTRY_BYTES + strlen(bitmap->name) + 7) & ~7ull;
	}
	return (int64_t)(bytes + (directory + cluster_size - 1) / cluster_size * cluster_size);
}

/* ---- Making and changing ---- */

static int preallocate_raw(struct file *file, uint64_t size, enum image_preallocation preallocation)
{
	if (preallocation == IMAGE_PREALLOCATION_FALLOC)
		return file_allocate(file, 0, size);
	if (preallocation == IMAGE_PREALLOCATION_FULL)
		return file_zero(file, 0, size, false);
	return 0;
}

static int create_raw(const char *path, int fd, const struct image_creation *creation, struct error *error)
{
	const unsigned flags = FILE_WRITABLE | FILE_CREATE;
	struct file file;
	int result;

	if (creation->backing)
		return error_set(error, EINVAL, "%s: a raw image can have no backing file", path);
	if (creation->preallocation == IMAGE_PREALLOCATION_METADATA)
		return error_set(error, EINVAL, "%s: preallocation=metadata: a raw image has none",
				 path);
	result = fd < 0 ? file_open(&file, path, flags, error) : file_open_fd(&file, fd, path, flags, error);
	if (result < 0)
		return result;
	result = file_truncate(&file, creation->size);
	if (result == 0)
		result = preallocate_raw(&file, creation->size, creation->preallocation);
	if (result == 0)
		result = file_sync(&file);
	file_close(&file);
	return result < 0 ? error_set_errno(error, -result, "cannot make %s", path) : 0;
}

int image_create(const char *path, const struct image_creation *creation, struct error *error)
{
	return image_create_in(path, -1, creation, error);
}

int image_create_in(const char *path, int fd, const struct image_creation *creation, struct error *error)
{
	if (strcmp(creation->format, "raw") == 0)
		return create_raw(path, fd, creation, error);
	if (strcmp(creation->format, "qcow2") == 0)
		return qcow2_create(path, fd, creation, error);
	return error_set(error, ENOTSUP, "%s: images of format '%s' cannot be made: raw and qcow2 can",
			 path, creation->format);
}

bool image_has_new_file(const struct node *image)
{
	return image->file.is_regular;
}

int image_resize(struct node *image, uint64_t size, enum image_preallocation preallocation,
		 struct error *error)
{
	int result;

	if (!image->is_writable)
		return error_set(error, EROFS, "%s can only be read", image->file.path);
	if (as_qcow2(image))
		return qcow2_resize(as_qcow2(image), size, preallocation, error);
	result = file_truncate(&image->file, size);
	if (result == 0 && size > image->size)
		result = preallocate_raw(&image->file, size, preallocation);
	if (result < 0)
		return error_set_errno(error, -result, "cannot resize %s", image->file.path);
	image->size = size;
	return 0;
}

static int need_qcow2(const struct node *image, struct error *error)
{
	return as_qcow2(image) ? 0
			       : error_set(error, ENOTSUP, "%s: only qcow2 images have that",
					   image->file.path);
}

int image_snapshot_create(struct node *image, const char *name, struct error *error)
{
	int result = need_qcow2(image, error);

	return result < 0 ? result
			  : qcow2_snapshot_create(as_qcow2(image), &(struct block_snapshot){.name = name, .icount_plus_1 = 1}, error);
}

int image_snapshot_apply(struct node *image, const char *name, struct error *error)
{
	int result = need_qcow2(image, error);

	return result < 0 ? result : qcow2_snapshot_apply(as_qcow2(image), name, error);
}

int image_snapshot_delete(struct node *image, const char *name, struct error *error)
{
	int result = need_qcow2(image, error);

	return result < 0 ? result : qcow2_snapshot_delete(as_qcow2(image), name, error);
}

int image_snapshot_view(struct node *image, const char *name, struct error *error)
{
	int result = need_qcow2(image, error);

	return result < 0 ? result : qcow2_snapshot_view(as_qcow2(image), name, error);
}

int image_empty(struct node *image, struct error *error)
{
	int result = need_qcow2(image, error);

	if (result < 0)
		return result;
	result = qcow2_empty(as_qcow2(image));
	return result < 0 ? error_set_errno(error, -result, "cannot empty %s", image->file.path) : 0;
}

char *image_resolve(const char *path, const char *name)
{
	return file_resolve(path, name);
}

static int replace(char **string, const char *with)
{
	char *copy = with ? strdup(with) : NULL;

	if (with && !copy)
		return -ENOMEM;
	free(*string);
	*string = copy;
	return 0;
}

int image_set_backing(struct node *image, const char *backing, const char *format,
		      struct error *error)
{
	struct qcow2 *qcow2 = as_qcow2(image);
	int result = need_qcow2(image, error);

	if (result < 0)
		return result;
	if (backing && strlen(backing) > NAME_MAX_BYTES)
		return error_set(error, EINVAL, "a backing file's name has at most %d bytes",
				 NAME_MAX_BYTES);
	if (backing && qcow2->autoclear & AUTOCLEAR_RAW_DATA)
		return error_set(error, EINVAL, "%s: with data_file_raw there is no backing file",
				 image->file.path);
	result = image_flush(image);
	if (result == 0)
		result = replace(&qcow2->backing_name, backing);
	if (result == 0)
		result = replace(&qcow2->backing_format, backing ? format : NULL);
	if (result == 0)
		result = header_write(qcow2);
	if (result == 0)
		result = file_sync(&image->file);
	return result < 0 ? error_set_errno(error, -result, "cannot write %s", image->file.path) : 0;
}

int image_amend(struct node *image, const struct image_amendment *wanted, struct error *error)
{
	int result = need_qcow2(image, error);

	return result < 0 ? result : qcow2_amend(as_qcow2(image), wanted, error);
}

int image_check(struct node *image, enum image_repair repair, struct image_check *result,
		void (*say)(void *context, const char *line), void *context, struct error *error)
{
	if (blocks_of(image) && repair == IMAGE_REPAIR_NONE)
		return blocks_check(image, result, say, context);
	if (!as_qcow2(image))
		return error_set(error, ENOTSUP, "%s: a %s image has nothing to %s", image->file.path, image->driver->name,
				 repair == IMAGE_REPAIR_NONE ? "check" : "repair");
	if (repair != IMAGE_REPAIR_NONE && !image->is_writable)
		return error_set(error, EROFS, "%s is opened for reading only", image->file.path);
	return qcow2_check(as_qcow2(image), repair, result, say, context, error);
}

/* Clusters that the tables of so many data clusters take, too. */
static uint64_t qcow2_clusters(const struct image_creation *creation, uint64_t data)
{
	uint64_t cluster = creation->cluster_size, entries = cluster / (creation->is_extended ? 16 : 8);
	uint64_t disk = creation->size / cluster + !!(creation->size % cluster);
	uint64_t l2 = disk / entries + !!(disk % entries);
	uint64_t l1 = l2 * 8 / cluster + !!(l2 * 8 % cluster);
	uint64_t per_block = cluster * 8 / creation->refcount_bits, blocks = 0, table = 0, total, before;

	total = 1 + l1 + l2 + data;
	do {
		before = blocks + table;
		blocks = (total + before + per_block - 1) / per_block;
		table = (blocks * 8 + cluster - 1) / cluster;
	} while (blocks + table != before);
	return total + blocks + table;
}

void image_measure(const struct image_creation *creation, uint64_t data_bytes, uint64_t *required,
		   uint64_t *full)
{
	uint64_t cluster = creation->cluster_size;
	uint64_t disk = creation->size / cluster + !!(creation->size % cluster);
	uint64_t data = data_bytes / cluster + !!(data_bytes % cluster);

	if (strcmp(creation->format, "raw") == 0) {
		*required = *full = creation->size;
		return;
	}
	/* All tables and refcounts, with only the data that there is: as qemu-img reckons. */
	*full = qcow2_clusters(creation, disk) * cluster;
	*required = *full - (disk - data) * cluster;
}
