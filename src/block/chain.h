/* Opening an image with all that lies below it. Inside of the room only. */
#ifndef KVIK_BLOCK_CHAIN_H
#define KVIK_BLOCK_CHAIN_H

#include "block/block.h"
#include "block/image.h"
#include "block/node.h"

#define CHAIN_MAX 64 /* images on top of one another: more is a circle, or an attack */

/*
 * As block_open and, with `fd` >= 0, block_open_fd; `flags` as image_open's. 0 and `node`, which
 * node_close ends.
 */
int chain_open(const char *path, int fd, const struct block_options *options, unsigned flags,
	       struct node **node, struct error *error);

/* What a qcow2 image is like that is made for what is written on top of others. */
struct image_creation chain_new_image(uint64_t size);

/*
 * How an image at `path` calls the one that it is put on. Names are relative to its folder: what is beside it is called by its
 * name alone, unless it is known where it is. A part of `below`'s, or all of it.
 */
const char *chain_name_below(const struct file *below, const char *path);

#endif
