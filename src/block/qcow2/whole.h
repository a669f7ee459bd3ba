/*
 * Work on whole mappings: what snapshots, resizing and checking have in common. Nothing else goes on
 * meanwhile, so the lock is not taken, and qcow2_flush's careful order is the caller's matter.
 */
#ifndef KVIK_BLOCK_QCOW2_WHOLE_H
#define KVIK_BLOCK_QCOW2_WHOLE_H

#include "block/qcow2/qcow2.h"

/* Read an L1 table into host byte order: `table` is the caller's to free. */
int whole_read_l1(struct qcow2 *image, uint64_t offset, uint32_t size, uint64_t **table);
/* Write the active L1 table, as it is, to another place. */
int whole_write_l1(struct qcow2 *image, uint64_t offset);
/*
 * Add a reference to (1), or take one from (-1), every L2 table and cluster that an L1 table reaches.
 * Lowering counts is for what is not pointed to any more.
 */
int whole_change(struct qcow2 *image, const uint64_t *l1, uint32_t size, int delta);
/* Have the flags of the active tables say whose refcount is 1: of L2 tables that are at possible places. In the tables
 * themselves only where `may_change`, if there is one, says so. */
int whole_update_flags(struct qcow2 *image, bool (*may_change)(void *context, uint64_t place), void *context);
/* Write refcount blocks and their table, with a barrier. */
int whole_write_refcounts(struct qcow2 *image);
/* The same and everything else. */
int whole_flush(struct qcow2 *image);

/* Have the header say another size, with an L1 table of at least `l1_size` entries and for it. */
int whole_set_size(struct qcow2 *image, uint64_t size, uint32_t l1_size);

int qcow2_resize(struct qcow2 *image, uint64_t size, enum image_preallocation preallocation,
		 struct error *error);
/* In the file at `path`, or open as `fd`, unless that is -1. */
int qcow2_create(const char *path, int fd, const struct image_creation *creation, struct error *error);
/* As block_snapshot_create; without `seconds` it is of now. */
int qcow2_snapshot_create(struct qcow2 *image, const struct block_snapshot *what, struct error *error);
/* Whether the image can have any. 0, or -errno and `error`. */
int qcow2_snapshot_possible(struct qcow2 *image, struct error *error);

/* The state of a machine, beyond the disk's end: block_state_* (block.h). */
int qcow2_state_write(struct qcow2 *image, uint64_t at, const void *data, uint64_t size);
int qcow2_state_drop(struct qcow2 *image);
int qcow2_state_open(struct qcow2 *image, const char *id, struct error *error);
int qcow2_state_read(struct qcow2 *image, uint64_t at, void *data, uint64_t size);
void qcow2_state_close(struct qcow2 *image);


int qcow2_snapshot_apply(struct qcow2 *image, const char *name, struct error *error);
/* Have an image that is open for reading only show a snapshot instead. */
int qcow2_snapshot_view(struct qcow2 *image, const char *name, struct error *error);
int qcow2_bitmap_change(struct qcow2 *image, enum image_bitmap_action action, const char *name, uint64_t granularity,
			struct error *error);
int qcow2_bitmap_merge(struct qcow2 *image, const char *name, struct qcow2 *source, const char *source_name,
		       struct error *error);
/* Whether the disk can have another size, as far as its bitmaps go; they are marked in use, until the other one makes them of
 * that size. 0, or -errno and `error`; 0 or -errno. */
int bitmaps_before_resize(struct qcow2 *image, struct error *error);
int bitmaps_after_resize(struct qcow2 *image, uint64_t old_size);

int qcow2_amend(struct qcow2 *image, const struct image_amendment *wanted, struct error *error);
/* Have the image hold nothing: all of its disk is the backing file's. */
int qcow2_empty(struct qcow2 *image);
int qcow2_snapshot_delete(struct qcow2 *image, const char *name, struct error *error);

#endif
