/* Dirty bitmaps, as others see them. */
#include "block/dirty.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/dirty_marks.h"
#include "block/disk.h"

#define GRANULARITY	65536u
#define GRANULARITY_MAX (1ull << 31)

/* -- on the I/O thread -- */

struct bitmap_change {
	struct block *block;
	struct block_bitmap *bitmap;
	bool is_enabled;
};

static void insert(void *context)
{
	const struct bitmap_change *change = context;

	change->bitmap->next = change->block->bitmaps;
	change->block->bitmaps = change->bitmap;
}

static void take_out(void *context)
{
	const struct bitmap_change *change = context;
	struct block_bitmap **at = &change->block->bitmaps;

	while (*at != change->bitmap)
		at = &(*at)->next;
	*at = change->bitmap->next;
}

static void enable(void *context)
{
	const struct bitmap_change *change = context;

	change->bitmap->is_enabled = change->is_enabled;
}

static void empty(void *context)
{
	const struct bitmap_change *change = context;

	memset(change->bitmap->words, 0, dirty_words(change->bitmap->granules) * sizeof(uint64_t));
}

int block_bitmap_add(struct block *block, const char *name, uint64_t granularity, bool is_enabled, struct error *error)
{
	struct bitmap_change change = {.block = block};
	struct block_bitmap *bitmap;
	unsigned count = 0;

	if (!granularity)
		granularity = GRANULARITY;
	if (!*name || strlen(name) > BLOCK_BITMAP_NAME_MAX)
		return error_set(error, EINVAL, "a bitmap's name has 1 to %d bytes", BLOCK_BITMAP_NAME_MAX);
	if (granularity < BLOCK_SECTOR_SIZE || granularity > GRANULARITY_MAX || granularity & (granularity - 1))
		return error_set(error, EINVAL, "Granularity must be a power of 2, and at least 512");
	if (block_bitmap_find(block, name))
		return error_set(error, EEXIST, "Bitmap already exists: %.60s", name);
	for (bitmap = block->bitmaps; bitmap; bitmap = bitmap->next)
		count++;
	if (count == BLOCK_BITMAPS_MAX)
		return error_set(error, ENOSPC, "at most %d bitmaps of a disk", BLOCK_BITMAPS_MAX);
	bitmap = calloc(1, sizeof(*bitmap));
	if (!bitmap)
		return error_set_errno(error, ENOMEM, "a bitmap");
	bitmap->bits_log2 = __builtin_ctzll(granularity);
	bitmap->granules = dirty_granules(block_size(block), bitmap->bits_log2);
	bitmap->words = calloc(dirty_words(bitmap->granules), sizeof(uint64_t));
	bitmap->name = strdup(name);
	bitmap->is_enabled = is_enabled;
	if (!bitmap->words || !bitmap->name) {
		dirty_free(bitmap);
		return error_set_errno(error, ENOMEM, "a bitmap");
	}
	change.bitmap = bitmap;
	block_call(block, insert, &change);
	return 0;
}

struct block_bitmap *block_bitmap_find(const struct block *block, const char *name)
{
	struct block_bitmap *bitmap = block->bitmaps;

	while (bitmap && strcmp(bitmap->name, name) != 0)
		bitmap = bitmap->next;
	return bitmap;
}

struct block_bitmap *block_bitmap_at(const struct block *block, unsigned index)
{
	struct block_bitmap *bitmap = block->bitmaps;

	while (bitmap && index--)
		bitmap = bitmap->next;
	return bitmap;
}

static int check_free(const struct block_bitmap *bitmap, struct error *error)
{
	return bitmap->lent ? error_set(error, EBUSY, "Bitmap '%.60s' is currently in use by another operation and cannot be used",
					bitmap->name)
			    : 0;
}

int block_bitmap_remove(struct block *block, struct block_bitmap *bitmap, struct error *error)
{
	struct bitmap_change change = {.block = block, .bitmap = bitmap};
	int result = check_free(bitmap, error);

	if (result < 0)
		return result;
	block_call(block, take_out, &change);
	dirty_free(bitmap);
	return 0;
}

int block_bitmap_clear(struct block *block, struct block_bitmap *bitmap, bool is_kept, struct error *error)
{
	struct bitmap_change change = {.block = block, .bitmap = bitmap};
	int result = check_free(bitmap, error);

	if (result < 0)
		return result;
	if (!is_kept) {
		block_call(block, empty, &change);
		return 0;
	}
	block_freeze(block);
	result = dirty_lend(bitmap);
	block_thaw(block);
	return result < 0 ? error_set_errno(error, -result, "a bitmap") : 0;
}

void block_bitmap_unclear(struct block_bitmap *bitmap, bool is_restored)
{
	if (bitmap->lent)
		dirty_return(bitmap, is_restored);
}

int block_bitmap_enable(struct block *block, struct block_bitmap *bitmap, bool is_enabled, struct error *error)
{
	struct bitmap_change change = {.block = block, .bitmap = bitmap, .is_enabled = is_enabled};
	int result = check_free(bitmap, error);

	if (result == 0)
		block_call(block, enable, &change);
	return result;
}

int block_bitmap_merge(struct block_bitmap *to, const struct block_bitmap *from, struct error *error)
{
	uint64_t at, granule = 1ull << from->bits_log2;
	int result = check_free(to, error);

	if (result < 0)
		return result;
	if (dirty_granules(from->granules << from->bits_log2, to->bits_log2) < to->granules)
		return error_set(error, EINVAL, "Bitmaps are of different sizes");
	for (at = 0; at < from->granules; at++)
		if (dirty_has(from, from->words, at << from->bits_log2, granule) ||
		    (from->lent && dirty_has(from, from->lent, at << from->bits_log2, granule)))
			dirty_set(to, to->words, at << from->bits_log2, granule);
	return 0;
}

void block_bitmap_describe(const struct block_bitmap *bitmap, struct block_bitmap_facts *facts)
{
	uint64_t word, count = 0;

	for (word = 0; word < dirty_words(bitmap->granules); word++)
		count += __builtin_popcountll(__atomic_load_n(&bitmap->words[word], __ATOMIC_RELAXED) |
					      (bitmap->lent ? bitmap->lent[word] : 0));
	*facts = (struct block_bitmap_facts){.name = bitmap->name,
					     .granularity = 1ull << bitmap->bits_log2,
					     .dirty_bytes = count << bitmap->bits_log2,
					     .is_enabled = bitmap->is_enabled,
					     .is_busy = bitmap->lent != NULL};
}
