#include "block/dirty_marks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64
/* 1 PiB at 64 KiB: 2 GiB of bits, of which the host gives those that are set. */
#define GRANULES_MAX (1ull << 34)

uint64_t dirty_granules(uint64_t size, unsigned bits_log2)
{
	return (size >> bits_log2) + !!(size & ((1ull << bits_log2) - 1));
}

uint64_t dirty_words(uint64_t granules)
{
	return granules / WORD_BITS + 1;
}

void dirty_set(const struct block_bitmap *bitmap, uint64_t *words, uint64_t offset, uint64_t size)
{
	uint64_t at = offset >> bitmap->bits_log2, last;

	if (!size)
		return;
	last = (offset + size - 1) >> bitmap->bits_log2;
	for (; at <= last && at < bitmap->granules; at++)
		__atomic_fetch_or(&words[at / WORD_BITS], 1ull << at % WORD_BITS, __ATOMIC_RELAXED);
}

bool dirty_has(const struct block_bitmap *bitmap, const uint64_t *words, uint64_t offset, uint64_t size)
{
	uint64_t at = offset >> bitmap->bits_log2, last;

	if (!size)
		return false;
	last = (offset + size - 1) >> bitmap->bits_log2;
	for (; at <= last && at < bitmap->granules; at++)
		if (__atomic_load_n(&words[at / WORD_BITS], __ATOMIC_RELAXED) >> at % WORD_BITS & 1)
			return true;
	return false;
}

void dirty_mark(struct block_bitmap *list, uint64_t offset, uint64_t size)
{
	struct block_bitmap *bitmap;

	for (bitmap = list; bitmap; bitmap = bitmap->next)
		if (bitmap->is_enabled)
			dirty_set(bitmap, bitmap->words, offset, size);
}

int dirty_lend(struct block_bitmap *bitmap)
{
	uint64_t *fresh = calloc(dirty_words(bitmap->granules), sizeof(uint64_t));

	if (!fresh)
		return -ENOMEM;
	bitmap->lent = bitmap->words;
	bitmap->words = fresh;
	return 0;
}

bool dirty_is_lent(const struct block_bitmap *bitmap)
{
	return bitmap->lent;
}

bool dirty_has_lent(const struct block_bitmap *bitmap, uint64_t offset, uint64_t size)
{
	return dirty_has(bitmap, bitmap->lent, offset, size);
}

void dirty_return(struct block_bitmap *bitmap, bool is_kept)
{
	uint64_t word;

	for (word = 0; word < dirty_words(bitmap->granules) && is_kept; word++)
		__atomic_fetch_or(&bitmap->words[word], bitmap->lent[word], __ATOMIC_RELAXED);
	free(bitmap->lent);
	bitmap->lent = NULL;
}

int dirty_resize(struct block_bitmap *list, uint64_t size)
{
	struct block_bitmap *bitmap;

	for (bitmap = list; bitmap; bitmap = bitmap->next) {
		uint64_t granules = dirty_granules(size, bitmap->bits_log2), old = bitmap->granules, at;
		uint64_t *words;

		if (granules > old) {
			words = granules > GRANULES_MAX ? NULL : calloc(dirty_words(granules), sizeof(uint64_t));
			if (!words)
				return -ENOMEM;
			memcpy(words, bitmap->words, dirty_words(old) * sizeof(uint64_t));
			free(bitmap->words);
			bitmap->words = words;
		}
		/* Beyond the end nothing is set, so that nothing is when it grows again. */
		for (at = granules; at < old; at++)
			bitmap->words[at / WORD_BITS] &= ~(1ull << at % WORD_BITS);
		bitmap->granules = granules;
	}
	return 0;
}

void dirty_free(struct block_bitmap *bitmap)
{
	free(bitmap->name);
	free(bitmap->words);
	free(bitmap->lent);
	free(bitmap);
}

void dirty_end(struct block_bitmap *list)
{
	struct block_bitmap *bitmap;

	while ((bitmap = list)) {
		list = bitmap->next;
		dirty_free(bitmap);
	}
}
