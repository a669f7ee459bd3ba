/*
 * Images as files: what tools need that make, look at and change them while no guest uses them.
 * Everything here waits for the medium, and is called on one thread at a time.
 */
#ifndef KVIK_BLOCK_IMAGE_H
#define KVIK_BLOCK_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/block.h"
#include "util/error.h"

/* An image that is open, with those below it. */
struct node;

/* Whether kvik makes it: it reads more. */
bool image_format_is_known(const char *format);
bool image_is_qcow2(const struct node *image);

/*
 * Open for a tool. The options are block_open's; more in `flags`. 0 and `image`, which image_close
 * ends (everything is written back; 0 or the first -errno), or -errno and `error`.
 */
enum {
	IMAGE_FOR_CHECK = 1 << 0,   /* one that is to be checked or repaired: damage is no error */
	IMAGE_ALONE = 1 << 1,	    /* without the images below: what they hold reads as zeroes */
	IMAGE_SHARED = 1 << 2,	    /* others may be writing to it */
};
int image_open(const char *path, const struct block_options *options, unsigned flags,
	       struct node **image, struct error *error);
int image_close(struct node *image);

/* Bytes. */
uint64_t image_size(const struct node *image);
/* Of what is beyond the end of `image` zeroes are read. */
int image_read(struct node *image, uint64_t offset, void *data, uint64_t size);
int image_write(struct node *image, uint64_t offset, const void *data, uint64_t size);
/* `offset` at a cluster's start; a whole cluster, or what the image has of its last. */
int image_write_compressed(struct node *image, uint64_t offset, const void *data, uint64_t size);
int image_zero(struct node *image, uint64_t offset, uint64_t size, bool may_unmap);
int image_flush(struct node *image);
/* The next image below, or NULL. */
struct node *image_below(struct node *image);
const char *image_path(const struct node *image);
/* The path that an image at `path` means by `name`: relative to its folder. The caller's to free;
 * NULL without memory. */
char *image_resolve(const char *path, const char *name);

/* What of a range's start is known. */
struct image_extent {
	uint64_t size; /* bytes for which it holds */
	bool is_present; /* some image of the chain has it */
	bool is_zero;	 /* reads as zeroes */
	bool is_data;	 /* it has a place in a file, be it a hole there */
	bool is_compressed;
	unsigned depth;	  /* images down from the topmost */
	const char *path; /* where it is, as it is; NULL: nowhere */
	uint64_t at;
};
/* `levels`: look at so many images only (0: all). */
int image_extent(struct node *image, uint64_t offset, uint64_t size, unsigned levels,
		 struct image_extent *extent);

struct image_bitmap {
	const char *name;
	uint64_t granularity;
	bool is_in_use, is_auto;
};

/* All that an image tells of itself. Strings are the image's; NULL: there is none. */
struct image_description {
	const char *format, *path;
	uint64_t size, space; /* of the disk; on the host's medium, UINT64_MAX: nobody knows */
	uint64_t cluster_size; /* 0: no clusters */
	bool is_dirty;
	const char *backing, *backing_format; /* as named in the image */
	/* qcow2: */
	bool is_qcow2;
	unsigned version, refcount_bits;
	const char *compression; /* "zlib", "zstd" */
	bool is_lazy, is_corrupt, is_extended, is_data_raw;
	const char *data_file;
	unsigned snapshot_count, bitmap_count;
	/* vmdk: */
	const char *create_type; /* NULL: none is named */
	uint32_t cid, parent_cid;
	bool is_compressed;
};
void image_describe(struct node *image, struct image_description *description);
void image_snapshot_describe(struct node *image, unsigned index, struct block_snapshot *snapshot);
void image_bitmap_describe(struct node *image, unsigned index, struct image_bitmap *bitmap);

/* Make one (of `granularity` bytes; 0: by the clusters), drop it, have it say nothing, have it told of writes or not. qcow2. */
enum image_bitmap_action {
	IMAGE_BITMAP_ADD,
	IMAGE_BITMAP_ADD_DISABLED,
	IMAGE_BITMAP_REMOVE,
	IMAGE_BITMAP_CLEAR,
	IMAGE_BITMAP_ENABLE,
	IMAGE_BITMAP_DISABLE,
};
int image_bitmap_change(struct node *image, enum image_bitmap_action action, const char *name, uint64_t granularity,
			struct error *error);
/* Add what a bitmap of `source`, which may be the same image, says. */
int image_bitmap_merge(struct node *image, const char *name, struct node *source, const char *source_name,
		       struct error *error);
/* Bytes that the image's bitmaps take in one with such clusters; -1: it can have none. */
int64_t image_measure_bitmaps(struct node *image, uint64_t cluster_size);

enum image_preallocation {
	IMAGE_PREALLOCATION_OFF,
	IMAGE_PREALLOCATION_METADATA,
	IMAGE_PREALLOCATION_FALLOC,
	IMAGE_PREALLOCATION_FULL,
};

/* What is to be made. Zero: the format's defaults, as qemu-img's. */
struct image_creation {
	const char *format; /* "raw" or "qcow2" */
	uint64_t size;
	const char *backing, *backing_format; /* qcow2; the backing file isn't looked at */
	unsigned version; /* 2 or 3 */
	uint64_t cluster_size;
	unsigned refcount_bits;
	bool is_lazy, is_extended, is_data_raw;
	const char *compression; /* "zlib", "zstd" */
	const char *data_file;
	enum image_preallocation preallocation;
	bool has_version, has_preallocation; /* somebody asked for them: for who tells what is made */
};
/* Make it, in place of what is there. 0, or -errno and `error`. */
int image_create(const char *path, const struct image_creation *creation, struct error *error);
/* The same in a file that is open, unless `fd` is -1. */
int image_create_in(const char *path, int fd, const struct image_creation *creation, struct error *error);
/* Whether the file of one that was just made was empty: a device's or an export's bytes stay until they are written. */
bool image_has_new_file(const struct node *image);

/* Change the disk's size. `preallocation` is of what is added. */
int image_resize(struct node *image, uint64_t size, enum image_preallocation preallocation,
		 struct error *error);

/* Internal snapshots, named by id or name. */
int image_snapshot_create(struct node *image, const char *name, struct error *error);
int image_snapshot_apply(struct node *image, const char *name, struct error *error);
int image_snapshot_delete(struct node *image, const char *name, struct error *error);

/* Have an image that is open for reading only show a snapshot instead. */
int image_snapshot_view(struct node *image, const char *name, struct error *error);

/* Have the image hold nothing any more: its disk is the backing file's. qcow2 only. */
int image_empty(struct node *image, struct error *error);

/* Write another backing file's name into the image (NULL: none). Its content is the caller's matter. */
int image_set_backing(struct node *image, const char *backing, const char *format,
		      struct error *error);

/*
 * Change what a qcow2 image is, as qemu-img's amend: its version (only 3 from 2), whether its refcounts are lazy and how wide
 * they are, and of an external data file its name, and that it is no raw image any more. All is to be said, changed or not.
 */
struct image_amendment {
	unsigned version, refcount_bits;
	bool is_lazy, is_data_raw;
	const char *data_file; /* NULL: as it is */
};
int image_amend(struct node *image, const struct image_amendment *wanted, struct error *error);

enum image_repair {
	IMAGE_REPAIR_NONE,
	IMAGE_REPAIR_LEAKS,
	IMAGE_REPAIR_REFCOUNTS, /* also those that are too low */
	IMAGE_REPAIR_ALL, /* also entries that cannot be: what they named is lost */
};

struct image_check {
	uint64_t corruptions, leaks; /* that are left */
	uint64_t corruptions_fixed, leaks_fixed;
	uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
	uint64_t end; /* of the last cluster that is used */
};
/*
 * Look for contradictions in an image, and repair some. `say` is given a line for each (NULL: none).
 * 0, -ENOTSUP of a format that has nothing to check, or another -errno and `error`.
 */
int image_check(struct node *image, enum image_repair repair, struct image_check *result,
		void (*say)(void *context, const char *line), void *context, struct error *error);

/*
 * The image of an open disk, for image_describe and its like and for image_below: on the thread that makes its snapshots,
 * and as long as it is open.
 */
struct node *block_image(const struct block *block);

/* What an image of this kind would take: `required` now, `full` when all of it was written. */
void image_measure(const struct image_creation *creation, uint64_t data_bytes, uint64_t *required,
		   uint64_t *full);

#endif
