/*
 * A copy of a disk from inside, for its own files. A thread of its own (copy_thread.c) reads the disk by requests, as a
 * guest does, and writes to the target, piece by piece as a map of bits says (copy_pieces.c). The I/O thread looks at that
 * map for each change (copy_watch.c):
 *
 *   a backup lets it begin only where nothing is left to be copied; what has to wait is begun by the thread,
 *   a mirror (and a commit, whose target is an image below) sets the bits of what was changed, to be copied again,
 *   a commit of images in the middle lets it be: nobody changes those,
 *   a stream lets it be: what is changed is in the topmost image then, where its requests (BLOCK_FILL) leave it alone.
 *
 * One that pauses, or is slow because it is limited, still copies what has to wait.
 *
 * Bits of a mirror are taken away before a piece is read, so a change that ends later sets them again; those of a
 * backup after it was written. Where a copy begins and ends the disk is frozen, so that no change is under way that
 * did not know of it. copy_start.c is how one comes to be, copy_finish.c its end.
 */
#ifndef KVIK_BLOCK_COPY_PARTS_H
#define KVIK_BLOCK_COPY_PARTS_H

#include "block/copy.h"
#include "block/disk.h"
#include "block/image.h"

#define PIECE	   65536u
#define RUN_PIECES 16 /* that are copied at once */

struct block_copy {
	struct disk_watch watch; /* the disk's */
	struct block *block; /* NULL: the disk has gone, or the copy is off it */
	enum block_copy_kind kind;
	struct node *target; /* owned, but for a commit's; NULL: the disk is in it now, or it is closed; a stream has none */
	struct node *base;   /* of a stream, the disk's: what stays below; NULL: nothing does */
	struct node *source; /* of a commit of images in the middle, the disk's: the uppermost of them; NULL: the disk is copied */
	struct node *above;  /* the image that stands on that */
	char *backing;	     /* what an image is to call what it stands on then; NULL: by its path */
	bool has_borrowed;   /* the target stands on what the disk's topmost image does */
	bool is_off;	     /* changes are not its matter any more; set while the disk is frozen */
	void (*changed)(void *context);
	void *context;
	struct block_bitmap *bitmap; /* lent; NULL: none */
	bool leaves_bitmap;
	uint64_t *bits; /* of pieces that are to be copied; atomic */
	uint64_t pieces, size;
	uint64_t next;	/* where to look first; atomic */
	uint8_t *buffer;
	pthread_t thread;
	bool has_thread;
	/* Requests that wait for the thread: the I/O thread's alone. */
	struct request_list waiting;
	bool has_waiting; /* atomic */

	pthread_mutex_t lock; /* guards what follows; nothing is called under it */
	pthread_cond_t wake;
	struct block_copy_status status;
	uint64_t speed, next_ns; /* of a limited one: when it may go on */
	bool is_ending, is_to_pause, has_request_ended;
	int request_result;
};

/* -- what is left to be copied, by pieces; any thread -- */

uint64_t copy_piece_of(uint64_t offset);
/* 0 or -ENOMEM. `size` is the disk's, and nothing is to be copied so far. */
int copy_pieces_init(struct block_copy *copy, uint64_t size);
bool copy_is_set(const struct block_copy *copy, uint64_t piece);
void copy_set(struct block_copy *copy, uint64_t piece);
void copy_clear(struct block_copy *copy, uint64_t piece);
uint64_t copy_count_set(const struct block_copy *copy);
/* The first from `from` on, around the end; `pieces`: there is none. */
uint64_t copy_find_set(const struct block_copy *copy, uint64_t from);

/* -- the disk's I/O thread (struct disk_watch) -- */

/* Whether what changes while it lasts is to be copied again. */
bool copy_follows(const struct block_copy *copy);
struct block_copy *copy_of_watch(struct disk_watch *watch);
bool copy_holds(struct disk_watch *watch, struct block_request *request);
void copy_changed(struct disk_watch *watch, const struct block_request *request);
/* Those that waited: some do again. */
void copy_begin_waiting(void *copy);
/* Changes are nobody's matter any more; and the disk knows it no longer. With the disk frozen. */
void copy_take_off(struct block_copy *copy);
void copy_detach(struct block_copy *copy);

/* -- its thread -- */

void *copy_run(void *copy);
/* What is in the buffer is the disk's from `offset` on. 0 or -errno. */
int copy_write_target(struct block_copy *copy, uint64_t offset, uint64_t size);
/* What was written will be there whatever happens. 0 or -errno. */
int copy_settle_target(struct block_copy *copy);
/* It has ended so, which is told. */
void copy_tell_end(struct block_copy *copy, int result);

/* -- any other -- */

void copy_disk_goes(struct disk_watch *watch); /* the disk is closed */
void copy_free(struct block_copy *copy); /* once it is off its disk, and its thread has ended */

#endif
