/*
 * A node: one image of a chain, and what its format can do. Inside of the room only.
 *
 * Operations wait for the medium and may be called on any thread, several at once. Who calls keeps
 * requests to one place apart (range_lock.h): beside reads and writes in place, which `map` allowed
 * and which only change content, nothing goes on in the same granule.
 */
#ifndef KVIK_BLOCK_NODE_H
#define KVIK_BLOCK_NODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "block/file.h"
#include "block/limits.h"
#include "util/error.h"

struct node;

#define EXTENTS_MAX 32

/* Where a part of a request is. */
struct extent {
	struct file *file; /* NULL: it reads as zeroes */
	uint64_t at;	   /* in the file */
	uint64_t size;
};

/* What is known of a range's start, without the images below. */
struct node_status {
	uint64_t size;	   /* bytes for which it holds, at least 1 */
	bool is_allocated; /* this image decides; otherwise the one below, or zeroes without one */
	bool is_zero;	   /* of what is allocated: reads as zeroes */
	bool is_compressed;
	struct file *file; /* where it is, or would be, as it is; NULL: nowhere */
	uint64_t at;
};

struct node_driver {
	const char *name;
	/*
	 * Without waiting: the places of a range, if a plain read or write there is all that the
	 * request needs. Up to EXTENTS_MAX. How many, or -EAGAIN: use read or write.
	 */
	int (*map)(struct node *node, uint64_t offset, uint64_t size, bool is_write,
		   struct extent *extents);
	/* The range is inside of the node; vectors total `size`. 0 or -errno. */
	int (*read)(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector,
		    unsigned count);
	int (*write)(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector,
		     unsigned count);
	int (*zero)(struct node *node, uint64_t offset, uint64_t size, bool may_unmap);
	int (*discard)(struct node *node, uint64_t offset, uint64_t size);
	int (*flush)(struct node *node);
	/* As flush, and the image says of itself that nobody changes it, until somebody does. NULL: flush does that. */
	int (*settle)(struct node *node);
	int (*status)(struct node *node, uint64_t offset, uint64_t size, struct node_status *status);
	/* Write back what is not yet and free all but the node itself. 0, or the first -errno. */
	int (*close)(struct node *node);
};

struct node {
	const struct node_driver *driver;
	uint64_t size;		 /* bytes */
	uint32_t granule;	 /* bytes, a power of 2; what range locks lock; 0: none needed */
	uint32_t block_bytes;	 /* as in struct block_info */
	uint32_t discard_bytes;	 /* likewise */
	bool is_writable;
	bool was_writable;	 /* until node_end_writing */
	bool discards;		 /* free space on discard */
	bool was_probed;	 /* the format was found, not given */
	struct file file;	 /* the image's own */
	struct node *backing;	 /* owned, read-only; NULL: none */
};

/* Read a range of a node that may end beyond the node: that part is zeroes. */
int node_read(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector,
	      unsigned count);
int node_read_at(struct node *node, uint64_t offset, void *data, uint64_t size);
int node_write_at(struct node *node, uint64_t offset, const void *data, uint64_t size);

/* Have the image itself hold a range as it reads, so that what is below need not. Content stays. 0 or -errno. */
int node_fill(struct node *node, uint64_t offset, uint64_t size);

/* Nobody writes to it from now on: after its settle, by whoever has it for himself. Others may read it, too. */
void node_end_writing(struct node *node);
/* ... until this one, by whoever has the images above it. False: it was only opened for reading, or others use it. */
bool node_begin_writing(struct node *node);

/* Close the chain from `node` on, and free it. NULL does nothing. The first -errno. */
int node_close(struct node *node);

/* A raw image in `file`, which the node takes over. NULL without memory. */
struct node *raw_open(struct file *file);

#endif
