/*
 * Images of other programs' formats that are disks in blocks of one size, each anywhere in the file or nowhere.
 * They are read, never written. A format says where a block is; all else is the same for them (blocks.c).
 *
 * A format's tables stay in the file and are read where they are wanted, entry by entry: so an image that lies can
 * neither take memory nor time.
 */
#ifndef KVIK_BLOCK_FOREIGN_BLOCKS_H
#define KVIK_BLOCK_FOREIGN_BLOCKS_H

#include <pthread.h>
#include <stdint.h>

#include "block/node.h"

struct blocks;

struct blocks_place {
	/* What is absent reads as zeroes, too; nothing says so. */
	enum { BLOCK_ABSENT, BLOCK_ZEROES, BLOCK_PLAIN, BLOCK_PACKED } kind;
	uint64_t at; /* in the file; the format's own when it is packed */
};

struct blocks {
	struct node node; /* first */
	uint64_t block_size; /* a power of 2, 512 bytes to 256 MiB */
	/* Where block `index`, which is inside of the disk, is. 0 or -errno. Any thread. */
	int (*find)(struct blocks *blocks, uint64_t index, struct blocks_place *place);
	/* Fill `data`, of block_size bytes, with a packed block: NULL where none are. 0 or -errno. Any thread. */
	int (*unpack)(struct blocks *blocks, uint64_t index, uint64_t at, uint8_t *data);

	/* The block that was unpacked last; guarded by `lock`. */
	pthread_mutex_t lock;
	uint8_t *unpacked;
	uint64_t unpacked_plus_1;
};

enum blocks_format { BLOCKS_VDI, BLOCKS_VMDK, BLOCKS_VHDX };

/* Complete one whose block_size and functions are filled in: a disk of `size` bytes in `file`, which it takes over. */
void blocks_init(struct blocks *blocks, enum blocks_format format, uint64_t size, const struct file *file);
/* NULL: it is none. */
const struct blocks *blocks_of(const struct node *node);

/* As image_check, of one of these: whether each block can be found. */
struct image_check;
int blocks_check(struct node *node, struct image_check *result, void (*say)(void *context, const char *line), void *context);

#endif
