/* Dirty bitmaps (dirty.h), from inside of the room. */
#ifndef KVIK_BLOCK_DIRTY_MARKS_H
#define KVIK_BLOCK_DIRTY_MARKS_H

#include <stdbool.h>
#include <stdint.h>

struct block_bitmap {
	char *name;
	unsigned bits_log2; /* of a granule's bytes */
	uint64_t granules;
	uint64_t *words; /* atomic; marked by the I/O thread */
	uint64_t *lent;	 /* what a copy has taken; NULL: none has */
	bool is_enabled; /* the I/O thread's */
	struct block_bitmap *next; /* the list changes on the I/O thread */
};

/* How many granules a size has, and how many words they. */
uint64_t dirty_granules(uint64_t size, unsigned bits_log2);
uint64_t dirty_words(uint64_t granules);
/* A range in some words of a bitmap's: set it, and whether something of it is set. */
void dirty_set(const struct block_bitmap *bitmap, uint64_t *words, uint64_t offset, uint64_t size);
bool dirty_has(const struct block_bitmap *bitmap, const uint64_t *words, uint64_t offset, uint64_t size);
void dirty_free(struct block_bitmap *bitmap);

/* On the I/O thread: this was changed, or may have been. */
void dirty_mark(struct block_bitmap *list, uint64_t offset, uint64_t size);

/* With the disk frozen: a copy takes what is set, which the bitmap has no more, and what is written from now on is set in
 * it. 0 or -ENOMEM. */
int dirty_lend(struct block_bitmap *bitmap);
bool dirty_is_lent(const struct block_bitmap *bitmap);
/* Whether something of a range is in what was taken. */
bool dirty_has_lent(const struct block_bitmap *bitmap, uint64_t offset, uint64_t size);
/* The copy has ended: what it took is set again (`is_kept`), or forgotten. */
void dirty_return(struct block_bitmap *bitmap, bool is_kept);

/* The disk will have another size, with the disk frozen. 0 or -ENOMEM: some may be larger than the disk is. */
int dirty_resize(struct block_bitmap *list, uint64_t size);
/* The disk is closed. */
void dirty_end(struct block_bitmap *list);

#endif
