#include "block/foreign/blocks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/image.h"
#include "block/vector.h"

#define RUN_MAX 4096 /* blocks that are looked at for one answer */

static struct blocks *as_blocks(struct node *node)
{
	return (struct blocks *)node;
}

static int blocks_map(struct node *node, uint64_t offset, uint64_t size, bool is_write, struct extent *extents)
{
	(void)node;
	(void)offset;
	(void)size;
	(void)is_write;
	(void)extents;
	return -EAGAIN; /* the tables are in the file */
}

static int read_packed(struct blocks *blocks, uint64_t index, uint64_t at, uint64_t skip, uint64_t size,
		       const struct iovec *vector, unsigned count)
{
	int result = 0;

	pthread_mutex_lock(&blocks->lock);
	if (!blocks->unpacked)
		blocks->unpacked = malloc(blocks->block_size);
	if (!blocks->unpacked) {
		result = -ENOMEM;
	} else if (blocks->unpacked_plus_1 != index + 1) {
		blocks->unpacked_plus_1 = 0;
		result = blocks->unpack(blocks, index, at, blocks->unpacked);
		if (result == 0)
			blocks->unpacked_plus_1 = index + 1;
	}
	if (result == 0)
		vector_put(vector, count, 0, blocks->unpacked + skip, size);
	pthread_mutex_unlock(&blocks->lock);
	return result;
}

static int read_block(struct blocks *blocks, uint64_t index, uint64_t skip, uint64_t size, const struct iovec *vector,
		      unsigned count)
{
	struct blocks_place place;
	int result = blocks->find(blocks, index, &place);

	if (result < 0)
		return result;
	switch (place.kind) {
	case BLOCK_PLAIN: return file_readv(&blocks->node.file, place.at + skip, vector, count);
	case BLOCK_PACKED: return read_packed(blocks, index, place.at, skip, size, vector, count);
	default: vector_zero(vector, count, 0, size); return 0;
	}
}

static int blocks_read(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector, unsigned count)
{
	struct blocks *blocks = as_blocks(node);
	struct iovec part[BLOCK_VECTORS_MAX];
	uint64_t done, skip, length;
	int result = 0;

	for (done = 0; done < size && result == 0; done += length) {
		skip = (offset + done) % blocks->block_size;
		length = blocks->block_size - skip < size - done ? blocks->block_size - skip : size - done;
		result = read_block(blocks, (offset + done) / blocks->block_size, skip, length, part,
				    vector_part(vector, count, done, length, part));
	}
	return result;
}

static int blocks_write(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector, unsigned count)
{
	(void)node;
	(void)offset;
	(void)size;
	(void)vector;
	(void)count;
	return -EROFS;
}

static int blocks_zero(struct node *node, uint64_t offset, uint64_t size, bool may_unmap)
{
	(void)node;
	(void)offset;
	(void)size;
	(void)may_unmap;
	return -EROFS;
}

static int blocks_discard(struct node *node, uint64_t offset, uint64_t size)
{
	(void)node;
	(void)offset;
	(void)size;
	return -EROFS;
}

static int blocks_flush(struct node *node)
{
	(void)node;
	return 0;
}

static int blocks_status(struct node *node, uint64_t offset, uint64_t size, struct node_status *status)
{
	struct blocks *blocks = as_blocks(node);
	uint64_t index = offset / blocks->block_size, skip = offset % blocks->block_size, known = 0;
	struct blocks_place place, next;
	int result = blocks->find(blocks, index, &place);

	if (result < 0)
		return result;
	for (next = place; known < RUN_MAX && next.kind == place.kind; known++) {
		if (place.kind == BLOCK_PLAIN && next.at != place.at + known * blocks->block_size)
			break;
		if ((known + 1) * blocks->block_size - skip >= size) {
			known++;
			break;
		}
		/* What cannot be found is for whoever reads it. */
		if (blocks->find(blocks, index + known + 1, &next) < 0) {
			known++;
			break;
		}
	}
	*status = (struct node_status){
		.size = known * blocks->block_size - skip,
		.is_allocated = place.kind != BLOCK_ABSENT,
		.is_zero = place.kind == BLOCK_ZEROES,
		.is_compressed = place.kind == BLOCK_PACKED,
		.file = place.kind == BLOCK_PLAIN ? &node->file : NULL,
		.at = place.at + skip,
	};
	if (status->size > size)
		status->size = size;
	return 0;
}

int blocks_check(struct node *node, struct image_check *result, void (*say)(void *context, const char *line), void *context)
{
	struct blocks *blocks = as_blocks(node);
	uint64_t index, count = (node->size + blocks->block_size - 1) / blocks->block_size;
	struct blocks_place place;
	char line[80];
	int found;

	*result = (struct image_check){0};
	for (index = 0; index < count; index++) {
		found = blocks->find(blocks, index, &place);
		if (found == -ENOMEM)
			return found;
		if (found == 0 && (place.kind != BLOCK_PLAIN || place.at < node->file.size))
			continue;
		result->corruptions++;
		snprintf(line, sizeof(line), "ERROR block %llu is at no possible place", (unsigned long long)index);
		if (say)
			say(context, line);
	}
	return 0;
}

static int blocks_close(struct node *node)
{
	pthread_mutex_destroy(&as_blocks(node)->lock);
	free(as_blocks(node)->unpacked);
	return 0;
}

/* The drivers differ in name alone. */
#define DRIVER(format)                                                                                                 \
	{.name = format,                                                                                               \
	 .map = blocks_map,                                                                                            \
	 .read = blocks_read,                                                                                          \
	 .write = blocks_write,                                                                                        \
	 .zero = blocks_zero,                                                                                          \
	 .discard = blocks_discard,                                                                                    \
	 .flush = blocks_flush,                                                                                        \
	 .status = blocks_status,                                                                                      \
	 .close = blocks_close}

static const struct node_driver drivers[] = {DRIVER("vdi"), DRIVER("vmdk"), DRIVER("vhdx")};

void blocks_init(struct blocks *blocks, enum blocks_format format, uint64_t size, const struct file *file)
{
	pthread_mutex_init(&blocks->lock, NULL);
	blocks->node = (struct node){
		.driver = &drivers[format],
		.size = (size + BLOCK_SECTOR_SIZE - 1) / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE,
		.block_bytes = BLOCK_SECTOR_SIZE,
		.discard_bytes = BLOCK_SECTOR_SIZE,
		.file = *file,
	};
}

const struct blocks *blocks_of(const struct node *node)
{
	return node->driver->close == blocks_close ? (const struct blocks *)node : NULL;
}
