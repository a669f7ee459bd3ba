/*
 * A disk's content, copied while its guest goes on: as it is at one moment (a backup), or as it is at the end, where the
 * disk may go on in the copy (a mirror, and a commit into an image below), or into the disk's own topmost image, which then
 * needs those below no longer (a stream); or what images in the middle hold, into one below them.
 *
 * All but what is said otherwise is for one thread, which is not an I/O thread.
 */
#ifndef KVIK_BLOCK_COPY_H
#define KVIK_BLOCK_COPY_H

#include "block/block.h"

struct block_bitmap;

enum block_copy_kind {
	BLOCK_COPY_BACKUP, /* what the disk held when it began; it ends by itself */
	BLOCK_COPY_MIRROR, /* it is ready when all is copied, and stays so until it is finished or ended */
	BLOCK_COPY_COMMIT, /* likewise, into an image below; of images in the middle (`top`) it ends by itself */
	BLOCK_COPY_STREAM, /* from images below into the topmost; it ends by itself */
};

struct block_copy_options {
	enum block_copy_kind kind;
	/* The target's; of a commit, of the image below (NULL: the lowest); of a stream, of the one that stays below (NULL:
	 * none) or, with `has_bottom`, of the lowest that does not. */
	const char *path;
	bool has_bottom;
	const char *top; /* of a commit: the image from which on those above `path` go into that; NULL: the topmost */
	/* Of a stream, and a commit with `top`: what the image above calls the one that it stands on then (NULL: by its path). */
	const char *backing;
	int fd;		    /* of the file at `path`, which stays the caller's; -1: it is opened by its path */
	const char *format; /* "raw", "qcow2" */
	bool is_new;	    /* the file is emptied and made an image of the disk's size; else it is one */
	bool only_top;	    /* only what the topmost image holds; a new image names the one below */
	uint64_t speed;	    /* bytes a second, 0: no limit */
	/* Of a backup: only what is set in it (block/dirty.h), NULL: all. Of what was copied it is cleared, unless the backup
	 * fails; or not at all. */
	struct block_bitmap *bitmap;
	bool leaves_bitmap;
	/* It is ready, pauses, goes on, or has ended. On a thread of its own; takes no time, and calls nothing of this header. */
	void (*changed)(void *context);
	void *context;
};

struct block_copy_status {
	uint64_t done, total; /* bytes; what changes is to be done again */
	bool is_ready, has_ended;
	bool is_paused; /* nothing is copied but what a guest's change waits for */
	int result; /* of one that has ended by itself: 0 or -errno; -ENODEV: the disk has gone */
};

struct block_copy;

/* One at a time of a disk, which meanwhile keeps its size and its images. 0, or -errno and `error`. */
int block_copy_start(struct block *block, const struct block_copy_options *options, struct block_copy **copy,
		     struct error *error);
void block_copy_look(struct block_copy *copy, struct block_copy_status *status);
void block_copy_set_speed(struct block_copy *copy, uint64_t bytes_a_second);
/* Pause, or go on; it does soon, unless nothing is left but its end. */
void block_copy_pause(struct block_copy *copy, bool pauses);
/* The disk goes on in the target of a mirror or commit that is ready; the images that it had are closed (of a commit, those
 * above the target). 0, or -errno and `error`: it stays what it was. block_copy_end follows in either case. */
int block_copy_finish(struct block_copy *copy, struct error *error);
/* Forget it, wherever it is: the target of a backup that had not ended is worth nothing, that of a mirror that was ready is
 * what the disk holds now. 0 or -errno. */
int block_copy_end(struct block_copy *copy);

#endif
