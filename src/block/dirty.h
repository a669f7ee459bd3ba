/*
 * Dirty bitmaps: what of a disk was written since somebody began to watch, in granules, for backups of what has changed.
 * They are kept in memory, and end with the process. All but marking is for the thread that closes disks.
 */
#ifndef KVIK_BLOCK_DIRTY_H
#define KVIK_BLOCK_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"

struct block;
struct block_bitmap;

#define BLOCK_BITMAPS_MAX     256
#define BLOCK_BITMAP_NAME_MAX 1023

/* A new one, with nothing in it; `granularity` is a power of 2 from 512 to 2 GiB, 0: 64 KiB. 0, or -errno and `error`. */
int block_bitmap_add(struct block *block, const char *name, uint64_t granularity, bool is_enabled, struct error *error);
struct block_bitmap *block_bitmap_find(const struct block *block, const char *name); /* or NULL */
struct block_bitmap *block_bitmap_at(const struct block *block, unsigned index);     /* likewise */

/* Each 0, or -EBUSY and `error` while a copy has it. `is_kept`: what is cleared is put aside, and it is busy until
 * block_bitmap_unclear. */
int block_bitmap_remove(struct block *block, struct block_bitmap *bitmap, struct error *error);
int block_bitmap_clear(struct block *block, struct block_bitmap *bitmap, bool is_kept, struct error *error);
int block_bitmap_enable(struct block *block, struct block_bitmap *bitmap, bool is_enabled, struct error *error);
/* What is set in `from`, of this disk or of one as large, is set in `to`. */
int block_bitmap_merge(struct block_bitmap *to, const struct block_bitmap *from, struct error *error);
/* After a clear with `is_kept`: what was set is set again, or forgotten. */
void block_bitmap_unclear(struct block_bitmap *bitmap, bool is_restored);

struct block_bitmap_facts {
	const char *name;
	uint64_t granularity, dirty_bytes;
	bool is_enabled, is_busy;
};
void block_bitmap_describe(const struct block_bitmap *bitmap, struct block_bitmap_facts *facts);

#endif
