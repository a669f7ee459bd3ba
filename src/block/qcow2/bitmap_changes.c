/*
 * Making, dropping and changing bitmaps, while nothing else goes on. A bitmap that is changed gets a new table and new data, and
 * all of them a new directory, to which the header points once they are there; what was there before is then released. So at any
 * moment the file holds the old bitmaps or the new ones.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2/qcow2.h"
#include "block/qcow2/whole.h"

#define NAME_BYTES_MAX 1023

static int find(const struct qcow2 *image, const char *name)
{
	uint32_t i;

	for (i = 0; image->bitmaps && i < image->bitmap_count; i++)
		if (strcmp(image->bitmaps[i].name, name) == 0)
			return (int)i;
	return -1;
}

static bool is_zero(const uint8_t *bytes, uint64_t size)
{
	return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static uint64_t table_clusters(const struct qcow2 *image, const struct bitmap *bitmap)
{
	uint64_t clusters = clusters_for(image, bitmap->table_size * 8ull);

	return clusters > 0 ? clusters : 1;
}

/* Write its bits and its table to new places. */
static int write_content(struct qcow2 *image, struct bitmap *bitmap)
{
	uint8_t *table, *cluster = malloc(image->cluster_size);
	uint64_t i, at, length, place;
	int result = cluster ? 0 : -ENOMEM;

	bitmap->table_size = (uint32_t)clusters_for(image, bitmap->bits_bytes);
	table = calloc(table_clusters(image, bitmap), image->cluster_size);
	if (!table)
		result = -ENOMEM;
	for (i = 0; i < bitmap->table_size && result == 0; i++) {
		at = i << image->cluster_bits;
		length = bitmap->bits_bytes - at < image->cluster_size ? bitmap->bits_bytes - at : image->cluster_size;
		if (is_zero(bitmap->bits + at, length))
			continue;
		memset(cluster, 0, image->cluster_size);
		memcpy(cluster, bitmap->bits + at, length);
		result = clusters_make(image, 1, &place);
		if (result == 0)
			result = file_write_at(&image->node.file, place, cluster, image->cluster_size);
		put_be64(table + i * 8, place);
	}
	if (result == 0)
		result = clusters_make(image, table_clusters(image, bitmap), &bitmap->table_offset);
	if (result == 0)
		result = file_write_at(&image->node.file, bitmap->table_offset, table,
				       table_clusters(image, bitmap) << image->cluster_bits);
	free(table);
	free(cluster);
	return result;
}

static uint64_t entry_bytes(const struct bitmap *bitmap)
{
	return (BITMAP_ENTRY_BYTES + (uint64_t)bitmap->extra_bytes + strlen(bitmap->name) + 7) & ~7ull;
}

static void put_entry(const struct bitmap *bitmap, uint8_t *entry)
{
	put_be64(entry, bitmap->table_offset);
	put_be32(entry + 8, bitmap->table_size);
	put_be32(entry + 12, bitmap->flags);
	entry[16] = bitmap->type;
	entry[17] = bitmap->granularity_bits;
	put_be16(entry + 18, (uint16_t)strlen(bitmap->name));
	put_be32(entry + 20, bitmap->extra_bytes);
	if (bitmap->extra_bytes)
		memcpy(entry + BITMAP_ENTRY_BYTES, bitmap->extra, bitmap->extra_bytes);
	memcpy(entry + BITMAP_ENTRY_BYTES + bitmap->extra_bytes, bitmap->name, strlen(bitmap->name));
}

/* The header's: a directory of `count` bitmaps at a new place. */
static int write_directory(struct qcow2 *image, const struct bitmap *bitmaps, uint32_t count)
{
	uint64_t old_offset = image->bitmaps_offset, old_bytes = image->bitmaps_bytes, autoclear = image->autoclear;
	uint64_t bytes = 0, at = 0, offset = 0, i;
	uint32_t old_count = image->bitmap_count;
	uint8_t *directory;
	int result = 0;

	for (i = 0; i < count; i++)
		bytes += entry_bytes(&bitmaps[i]);
	directory = calloc(1, bytes + 1);
	if (!directory)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		put_entry(&bitmaps[i], directory + at);
		at += entry_bytes(&bitmaps[i]);
	}
	if (count > 0)
		result = clusters_make(image, clusters_for(image, bytes), &offset);
	if (result == 0)
		result = file_write_at(&image->node.file, offset, directory, bytes);
	free(directory);
	if (result == 0)
		result = whole_write_refcounts(image);
	if (result < 0)
		return result;
	image->bitmap_count = count;
	image->bitmaps_offset = offset;
	image->bitmaps_bytes = bytes;
	image->autoclear = count > 0 ? image->autoclear | AUTOCLEAR_BITMAPS : image->autoclear & ~AUTOCLEAR_BITMAPS;
	result = header_switch(image);
	if (result < 0) {
		image->bitmap_count = old_count;
		image->bitmaps_offset = old_offset;
		image->bitmaps_bytes = old_bytes;
		image->autoclear = autoclear;
	}
	return result;
}

/* What a bitmap had on the medium. */
static int release(struct qcow2 *image, const struct bitmap *bitmap)
{
	uint64_t *table;
	uint32_t i;
	int result = whole_read_l1(image, bitmap->table_offset, bitmap->table_size, &table);

	if (result < 0)
		return result;
	for (i = 0; i < bitmap->table_size && result == 0; i++)
		if (table[i] & ENTRY_OFFSET)
			result = clusters_release(image, table[i] & ENTRY_OFFSET, 1);
	free(table);
	return result == 0 ? clusters_release(image, bitmap->table_offset, table_clusters(image, bitmap)) : result;
}

/*
 * Have bitmap `index` (-1: a new one) be `to` (NULL: not be there), which has bits if they are to be others. Then all of them are
 * loaded anew.
 */
static int replace(struct qcow2 *image, int index, const struct bitmap *to, struct error *error)
{
	uint64_t old_offset = image->bitmaps_offset, old_bytes = image->bitmaps_bytes;
	uint32_t count = image->bitmap_count, i, k = 0;
	struct bitmap *bitmaps = calloc(count + 1, sizeof(*bitmaps)), with, gone = {0};
	bool has_content = to && to->bits;
	int result = bitmaps ? 0 : -ENOMEM;

	if (index >= 0)
		gone = image->bitmaps[index];
	if (to)
		with = *to;
	if (result == 0 && has_content)
		result = write_content(image, &with);
	for (i = 0; result == 0 && i < count; i++)
		if ((int)i != index)
			bitmaps[k++] = image->bitmaps[i];
		else if (to)
			bitmaps[k++] = with;
	if (result == 0 && index < 0)
		bitmaps[k++] = with;
	if (result == 0)
		result = write_directory(image, bitmaps, k);
	free(bitmaps);
	if (result == 0) {
		image->bitmap_count = count;
		bitmaps_end(image);
		image->bitmap_count = k;
	}
	if (result == 0 && old_bytes > 0)
		result = clusters_release(image, old_offset, clusters_for(image, old_bytes));
	if (result == 0 && index >= 0 && (has_content || !to))
		result = release(image, &gone);
	if (result == 0)
		result = whole_flush(image);
	if (result < 0)
		return error_set_errno(error, -result, "%s: cannot write its bitmaps", image->node.file.path);
	return bitmaps_load(image, error);
}

static int begin(struct qcow2 *image, struct error *error)
{
	int result;

	if (!image->node.is_writable)
		return error_set(error, EROFS, "%s is opened for reading only", image->node.file.path);
	if (image->version < 3)
		return error_set(error, ENOTSUP, "%s: images of compat=0.10 have no bitmaps", image->node.file.path);
	if (image->bitmap_count > 0 && !image->bitmaps)
		return error_set(error, EIO, "%s: its list of bitmaps is damaged", image->node.file.path);
	/* What is tracked in memory is on the medium then. */
	result = image->node.driver->settle(&image->node);
	return result < 0 ? error_set_errno(error, -result, "cannot write %s", image->node.file.path) : 0;
}

static int check_use(const struct qcow2 *image, int index, const char *name, struct error *error)
{
	if (index < 0)
		return error_set(error, ENOENT, "%s has no bitmap '%s'", image->node.file.path, name);
	if (image->bitmaps[index].flags & BITMAP_IN_USE || image->bitmaps[index].type != BITMAP_DIRTY_TYPE)
		return error_set(error, EINVAL, "%s: bitmap '%s' was not closed and says too little: it can only be removed",
				 image->node.file.path, name);
	return 0;
}

static int add(struct qcow2 *image, const char *name, uint64_t granularity, uint32_t flags, struct error *error)
{
	struct bitmap bitmap = {.type = BITMAP_DIRTY_TYPE, .flags = flags, .name = (char *)name};
	int result;

	if (find(image, name) >= 0)
		return error_set(error, EEXIST, "%s has a bitmap '%s' already", image->node.file.path, name);
	if (name[0] == 0 || strlen(name) > NAME_BYTES_MAX || image->bitmap_count == BITMAPS_MAX)
		return error_set(error, EINVAL, "%s: a bitmap's name has 1 to %d bytes, and there are at most %u",
				 image->node.file.path, NAME_BYTES_MAX, BITMAPS_MAX);
	if (granularity == 0)
		granularity = image->cluster_size < 4096 ? 4096 : image->cluster_size > 65536 ? 65536 : image->cluster_size;
	if (granularity & (granularity - 1) || granularity >> BITMAP_GRANULARITY_BITS_MIN == 0 ||
	    granularity >> BITMAP_GRANULARITY_BITS_MAX > 1)
		return error_set(error, EINVAL, "%s: a bitmap's granularity is a power of two from 512 bytes to 2 GiB",
				 image->node.file.path);
	bitmap.granularity_bits = (uint8_t)__builtin_ctzll(granularity);
	bitmap.bits_bytes = bitmap_bytes(&bitmap, image->node.size);
	if (clusters_for(image, bitmap.bits_bytes) > L1_BYTES_MAX / 8)
		return error_set(error, EFBIG, "%s: a bitmap of so small a granularity is too large", image->node.file.path);
	bitmap.bits = calloc(1, bitmap.bits_bytes + 1);
	if (!bitmap.bits)
		return error_set_errno(error, ENOMEM, "%s", image->node.file.path);
	result = replace(image, -1, &bitmap, error);
	free(bitmap.bits);
	return result;
}

int qcow2_bitmap_change(struct qcow2 *image, enum image_bitmap_action action, const char *name, uint64_t granularity,
			struct error *error)
{
	struct bitmap changed;
	int index, result = begin(image, error);

	if (result < 0)
		return result;
	if (action == IMAGE_BITMAP_ADD || action == IMAGE_BITMAP_ADD_DISABLED)
		return add(image, name, granularity, action == IMAGE_BITMAP_ADD ? BITMAP_AUTO : 0, error);
	index = find(image, name);
	if (action == IMAGE_BITMAP_REMOVE && index >= 0)
		return replace(image, index, NULL, error);
	result = check_use(image, index, name, error);
	if (result < 0)
		return result;
	changed = image->bitmaps[index];
	changed.bits = NULL;
	if (action == IMAGE_BITMAP_ENABLE)
		changed.flags |= BITMAP_AUTO;
	if (action == IMAGE_BITMAP_DISABLE)
		changed.flags &= ~BITMAP_AUTO;
	if (action == IMAGE_BITMAP_CLEAR) {
		changed.bits_bytes = bitmap_bytes(&changed, image->node.size);
		changed.bits = calloc(1, changed.bits_bytes + 1);
		if (!changed.bits)
			return error_set_errno(error, ENOMEM, "%s", image->node.file.path);
	}
	result = replace(image, index, &changed, error);
	free(changed.bits);
	return result;
}

/* Its bits, in a copy that is the caller's. */
static int read_copy(struct qcow2 *image, const struct bitmap *bitmap, struct bitmap *copy, struct error *error)
{
	int result;

	*copy = *bitmap;
	copy->bits_bytes = bitmap_bytes(copy, image->node.size);
	copy->bits = NULL;
	if (copy->table_size != clusters_for(image, copy->bits_bytes))
		return error_set(error, EINVAL, "%s: bitmap '%s' is damaged: it is not of the disk's size",
				 image->node.file.path, bitmap->name);
	result = bitmap_read(image, copy);
	if (result == 0)
		return 0;
	free(copy->bits);
	return error_set_errno(error, -result, "%s: bitmap '%s'", image->node.file.path, bitmap->name);
}

static void merge_bits(struct bitmap *to, const struct bitmap *from)
{
	uint64_t bit, first, last, one = 1ull << from->granularity_bits;

	for (bit = 0; bit < from->bits_bytes * 8; bit++) {
		if (!(from->bits[bit / 8] >> bit % 8 & 1))
			continue;
		first = bit << from->granularity_bits >> to->granularity_bits;
		last = ((bit << from->granularity_bits) + one - 1) >> to->granularity_bits;
		for (; first <= last && first / 8 < to->bits_bytes; first++)
			to->bits[first / 8] |= (uint8_t)(1u << first % 8);
	}
}

int qcow2_bitmap_merge(struct qcow2 *image, const char *name, struct qcow2 *source, const char *source_name,
		       struct error *error)
{
	struct bitmap to, from;
	int result = begin(image, error);

	if (result == 0)
		result = check_use(image, find(image, name), name, error);
	if (result == 0)
		result = check_use(source, find(source, source_name), source_name, error);
	if (result == 0 && image->node.size != source->node.size)
		result = error_set(error, EINVAL, "bitmaps of disks of %llu and of %llu bytes cannot be merged",
				   (unsigned long long)image->node.size, (unsigned long long)source->node.size);
	if (result == 0)
		result = read_copy(image, &image->bitmaps[find(image, name)], &to, error);
	if (result < 0)
		return result;
	result = read_copy(source, &source->bitmaps[find(source, source_name)], &from, error);
	if (result == 0) {
		merge_bits(&to, &from);
		free(from.bits);
		result = replace(image, find(image, name), &to, error);
	}
	free(to.bits);
	return result;
}

int bitmaps_before_resize(struct qcow2 *image, struct error *error)
{
	uint32_t i;
	int result = 0;

	if (image->bitmap_count == 0)
		return 0;
	result = begin(image, error);
	for (i = 0; i < image->bitmap_count && result == 0; i++)
		result = check_use(image, (int)i, image->bitmaps[i].name, error);
	if (result < 0)
		return result;
	for (i = 0; i < image->bitmap_count && result == 0; i++) {
		image->bitmaps[i].flags |= BITMAP_IN_USE;
		result = bitmap_write_flags(image, &image->bitmaps[i], image->bitmaps[i].flags);
	}
	if (result == 0)
		result = file_sync(&image->node.file);
	return result < 0 ? error_set_errno(error, -result, "cannot write %s", image->node.file.path) : 0;
}

int bitmaps_after_resize(struct qcow2 *image, uint64_t old_size)
{
	uint32_t i;
	int result = 0;

	/* What was tracked meanwhile is of what is new. */
	__atomic_store_n(&image->bitmaps_in_use, false, __ATOMIC_RELEASE);
	for (i = 0; image->bitmaps && i < image->bitmap_count && result == 0; i++) {
		struct bitmap old = image->bitmaps[i], other;
		struct error ignored;
		uint64_t bits;

		old.flags &= ~BITMAP_IN_USE;
		old.bits_bytes = bitmap_bytes(&old, old_size);
		old.bits = NULL;
		if (old.table_size != clusters_for(image, old.bits_bytes))
			continue;
		result = bitmap_read(image, &old);
		other = old;
		other.bits_bytes = bitmap_bytes(&old, image->node.size);
		other.bits = calloc(1, other.bits_bytes + 1);
		if (!other.bits)
			result = -ENOMEM;
		if (result == 0) {
			memcpy(other.bits, old.bits, old.bits_bytes < other.bits_bytes ? old.bits_bytes : other.bits_bytes);
			/* No bits for what is not there. */
			bits = (image->node.size + (1ull << old.granularity_bits) - 1) >> old.granularity_bits;
			if (bits % 8)
				other.bits[other.bits_bytes - 1] &= (uint8_t)((1u << bits % 8) - 1);
			result = replace(image, (int)i, &other, &ignored);
		}
		free(old.bits);
		free(other.bits);
	}
	return result;
}
