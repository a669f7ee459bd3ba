/*
 * Dirty bitmaps (qcow2.txt, "Bitmaps") of an image that is in use are kept true; bitmap_changes.c makes and drops them. What is
 * written is tracked in memory in each that wants it ("auto"); on the medium they are marked in use
 * from the first write until they are written back at the end, so after a crash whoever made them
 * knows that they say too little.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/qcow2/qcow2.h"

#define ENTRY_BYTES BITMAP_ENTRY_BYTES
#define FLAG_IN_USE BITMAP_IN_USE
#define FLAG_AUTO   BITMAP_AUTO
/* What is held in memory of one bitmap, and of all. */
#define BITS_BYTES_MAX (64u << 20)
#define BITS_TOTAL_MAX (128u << 20)

#define TABLE_OFFSET 0x00fffffffffffe00ull
#define TABLE_ONES   1ull

static int damaged(const struct qcow2 *image, struct error *error)
{
	return error_set(error, EINVAL, "%s: its list of bitmaps is damaged", image->node.file.path);
}

uint64_t bitmap_bytes(const struct bitmap *bitmap, uint64_t size)
{
	uint64_t granules = (size >> bitmap->granularity_bits) + !!(size & ((1ull << bitmap->granularity_bits) - 1));

	return granules / 8 + !!(granules % 8);
}

int bitmap_read(struct qcow2 *image, struct bitmap *bitmap)
{
	uint64_t i, at, length, place;
	uint8_t *table = malloc(bitmap->table_size * 8ull + 1);
	int result = table ? 0 : -ENOMEM;

	bitmap->bits = calloc(1, bitmap->bits_bytes ? bitmap->bits_bytes : 1);
	if (!bitmap->bits)
		result = -ENOMEM;
	if (result == 0)
		result = file_read_at(&image->node.file, bitmap->table_offset, table,
				      bitmap->table_size * 8ull);
	for (i = 0; i < bitmap->table_size && result == 0; i++) {
		uint64_t entry = get_be64(table + i * 8);

		at = i << image->cluster_bits;
		length = bitmap->bits_bytes - at < image->cluster_size ? bitmap->bits_bytes - at
								       : image->cluster_size;
		place = entry & TABLE_OFFSET;
		if (place != 0)
			result = file_read_at(&image->node.file, place, bitmap->bits + at, length);
		else if (entry & TABLE_ONES)
			memset(bitmap->bits + at, 0xff, length);
	}
	free(table);
	return result;
}

/* Whether other tables are in a range where one of a bitmap's is to be: it will be written to. */
static bool is_taken(const struct qcow2 *image, uint64_t offset, uint64_t size)
{
	uint64_t first = offset >> image->cluster_bits, count = clusters_for(image, size);

	for (; count > 0; count--)
		if (is_metadata(image, first + count - 1))
			return true;
	return false;
}

/* `total`: bytes of bits that are held already. */
static int load_bitmap(struct qcow2 *image, struct bitmap *bitmap, uint64_t *total)
{
	if (!(bitmap->flags & FLAG_AUTO) || !image->node.is_writable)
		return 0;
	image->tracks_bitmaps = true;
	if (bitmap->flags & FLAG_IN_USE || bitmap->type != 1)
		return 0;
	bitmap->bits_bytes = bitmap_bytes(bitmap, image->node.size);
	/* What cannot be tracked is left marked as in use. */
	if (bitmap->bits_bytes > BITS_BYTES_MAX || bitmap->bits_bytes > BITS_TOTAL_MAX - *total ||
	    bitmap->table_size != clusters_for(image, bitmap->bits_bytes) ||
	    is_taken(image, bitmap->table_offset, bitmap->table_size * 8ull))
		return 0;
	*total += bitmap->bits_bytes;
	return bitmap_read(image, bitmap);
}

/* None of a list that could not be read. */
static uint32_t held(const struct qcow2 *image)
{
	return image->bitmaps ? image->bitmap_count : 0;
}

void bitmaps_end(struct qcow2 *image)
{
	uint32_t i;

	for (i = 0; i < held(image); i++) {
		free(image->bitmaps[i].name);
		free(image->bitmaps[i].extra);
		free(image->bitmaps[i].bits);
		free(image->bitmaps[i].table);
	}
	free(image->bitmaps);
	image->bitmaps = NULL;
	image->tracks_bitmaps = false;
}

int bitmaps_load(struct qcow2 *image, struct error *error)
{
	uint8_t *directory;
	uint64_t at = 0, left, total = 0;
	uint32_t i;
	int result;

	if (image->bitmap_count == 0)
		return 0;
	if (image->bitmaps_offset > image->node.file.size ||
	    image->bitmaps_bytes > image->node.file.size - image->bitmaps_offset ||
	    is_taken(image, image->bitmaps_offset, image->bitmaps_bytes))
		return damaged(image, error);
	directory = malloc(image->bitmaps_bytes + 1);
	image->bitmaps = calloc(image->bitmap_count, sizeof(*image->bitmaps));
	result = directory && image->bitmaps ? 0 : -ENOMEM;
	if (result == 0)
		result = file_read_at(&image->node.file, image->bitmaps_offset, directory,
				      image->bitmaps_bytes);
	for (i = 0; i < image->bitmap_count && result == 0; i++) {
		struct bitmap *bitmap = &image->bitmaps[i];
		const uint8_t *entry = directory + at;
		uint64_t name_bytes, extra_bytes;

		left = image->bitmaps_bytes - at;
		if (left < ENTRY_BYTES) {
			result = damaged(image, error);
			break;
		}
		bitmap->entry_at = at;
		bitmap->table_offset = get_be64(entry);
		bitmap->table_size = get_be32(entry + 8);
		bitmap->flags = get_be32(entry + 12);
		bitmap->type = entry[16];
		bitmap->granularity_bits = entry[17];
		name_bytes = get_be16(entry + 18);
		extra_bytes = get_be32(entry + 20);
		if (name_bytes + extra_bytes > left - ENTRY_BYTES || bitmap->granularity_bits < 9 ||
		    bitmap->granularity_bits > 31 || !is_cluster_aligned(image, bitmap->table_offset) ||
		    bitmap->table_offset >= HOST_OFFSET_MAX ||
		    bitmap->table_size > L1_BYTES_MAX / 8) {
			result = damaged(image, error);
			break;
		}
		bitmap->name = malloc(name_bytes + 1);
		bitmap->extra = malloc(extra_bytes + 1);
		if (!bitmap->name || !bitmap->extra) {
			result = -ENOMEM;
			break;
		}
		bitmap->extra_bytes = extra_bytes;
		memcpy(bitmap->extra, entry + ENTRY_BYTES, extra_bytes);
		memcpy(bitmap->name, entry + ENTRY_BYTES + extra_bytes, name_bytes);
		bitmap->name[name_bytes] = 0;
		at += (ENTRY_BYTES + name_bytes + extra_bytes + 7) & ~7ull;
		if (at > image->bitmaps_bytes)
			at = image->bitmaps_bytes;
		result = load_bitmap(image, bitmap, &total);
	}
	free(directory);
	if (result < 0 && result != -EINVAL)
		error_set_errno(error, -result, "%s: its bitmaps", image->node.file.path);
	if (result < 0)
		bitmaps_end(image);
	return result;
}

int bitmaps_drop(struct qcow2 *image)
{
	int result;

	bitmaps_end(image);
	image->bitmap_count = 0;
	image->bitmaps_offset = image->bitmaps_bytes = 0;
	image->has_bad_bitmaps = false;
	image->autoclear &= ~AUTOCLEAR_BITMAPS;
	result = header_write(image);
	return result < 0 ? result : file_sync(&image->node.file);
}

int bitmap_write_flags(struct qcow2 *image, const struct bitmap *bitmap, uint32_t flags)
{
	uint8_t field[4];

	put_be32(field, flags);
	return file_write_at(&image->node.file, image->bitmaps_offset + bitmap->entry_at + 12, field,
			     sizeof(field));
}

int bitmaps_begin(struct qcow2 *image)
{
	uint32_t i;
	int result = 0;

	if (!image->tracks_bitmaps || image->bitmaps_in_use)
		return 0;
	for (i = 0; i < held(image) && result == 0; i++)
		if (image->bitmaps[i].flags & FLAG_AUTO)
			result = bitmap_write_flags(image, &image->bitmaps[i],
					     image->bitmaps[i].flags | FLAG_IN_USE);
	if (result == 0)
		result = file_sync(&image->node.file);
	if (result == 0)
		__atomic_store_n(&image->bitmaps_in_use, true, __ATOMIC_RELEASE);
	return result;
}

void bitmaps_mark(struct qcow2 *image, uint64_t offset, uint64_t size)
{
	uint32_t i;

	if (!image->tracks_bitmaps || size == 0)
		return;
	for (i = 0; i < held(image); i++) {
		const struct bitmap *bitmap = &image->bitmaps[i];
		uint64_t bit = offset >> bitmap->granularity_bits;
		uint64_t last = (offset + size - 1) >> bitmap->granularity_bits;

		for (; bitmap->bits && bit <= last && bit / 8 < bitmap->bits_bytes; bit++)
			__atomic_fetch_or(&bitmap->bits[bit / 8], 1u << bit % 8, __ATOMIC_RELAXED);
	}
}

static bool is_all(const uint8_t *bytes, uint64_t size, uint8_t value)
{
	return bytes[0] == value && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Write a bitmap's bits to their clusters; the new table's entries are in `table`. */
static int write_bits(struct qcow2 *image, const struct bitmap *bitmap, uint8_t *table)
{
	uint64_t i, at, length, place;
	int result;

	result = file_read_at(&image->node.file, bitmap->table_offset, table,
			      bitmap->table_size * 8ull);
	for (i = 0; i < bitmap->table_size && result == 0; i++) {
		at = i << image->cluster_bits;
		length = bitmap->bits_bytes - at < image->cluster_size ? bitmap->bits_bytes - at
								       : image->cluster_size;
		place = get_be64(table + i * 8) & TABLE_OFFSET;
		/* A cluster that is there stays: the table that points to it is still the old one. */
		if (place == 0 && is_all(bitmap->bits + at, length, 0)) {
			put_be64(table + i * 8, 0);
			continue;
		}
		if (place == 0)
			result = clusters_make(image, 1, &place);
		else if (!is_l2_place(image, place) || is_metadata(image, place >> image->cluster_bits))
			result = image_is_corrupt(image, "bits of bitmap '%.100s' are at %#llx", bitmap->name,
						  (unsigned long long)place);
		if (result == 0)
			result = file_write_at(&image->node.file, place, bitmap->bits + at, length);
		/* The rest of the last cluster must be zeroes. */
		if (result == 0)
			result = file_zero(&image->node.file, place + length,
					   image->cluster_size - length, false);
		put_be64(table + i * 8, place);
	}
	return result;
}

int bitmaps_store(struct qcow2 *image)
{
	uint32_t i;
	int result = 0;

	if (!image->bitmaps_in_use)
		return 0;
	pthread_mutex_lock(&image->lock);
	for (i = 0; i < held(image) && result == 0; i++) {
		struct bitmap *bitmap = &image->bitmaps[i];

		if (!bitmap->bits || bitmap->table_size == 0)
			continue;
		/* There is one from a turn that failed. */
		if (!bitmap->table)
			bitmap->table = malloc(bitmap->table_size * 8ull);
		result = bitmap->table ? write_bits(image, bitmap, bitmap->table) : -ENOMEM;
	}
	pthread_mutex_unlock(&image->lock);
	return result;
}

int bitmaps_finish(struct qcow2 *image)
{
	uint32_t i;
	int result = 0;

	/* Bits and refcounts are there; now tables, and only then are they not in use any more. */
	for (i = 0; i < held(image) && result == 0 && image->bitmaps_in_use; i++)
		if (image->bitmaps[i].table)
			result = file_write_at(&image->node.file, image->bitmaps[i].table_offset,
					       image->bitmaps[i].table,
					       image->bitmaps[i].table_size * 8ull);
	if (result == 0)
		result = file_sync(&image->node.file);
	for (i = 0; i < held(image) && result == 0 && image->bitmaps_in_use; i++)
		if (image->bitmaps[i].bits)
			result = bitmap_write_flags(image, &image->bitmaps[i],
					     image->bitmaps[i].flags & ~FLAG_IN_USE);
	for (i = 0; i < held(image); i++) {
		free(image->bitmaps[i].table);
		image->bitmaps[i].table = NULL;
	}
	if (result == 0)
		__atomic_store_n(&image->bitmaps_in_use, false, __ATOMIC_RELEASE);
	return result;
}
