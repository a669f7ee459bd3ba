/*
 * Raw images: the disk's bytes are the file's. A size that is no whole number of sectors is rounded
 * up; what is beyond the file's end reads as zeroes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/node.h"
#include "block/probe.h"
#include "block/vector.h"

/*
 * Of an image whose format was found by its start: whether a write would make that start another
 * format's.
 */
static bool is_disguise(struct node *node, uint64_t offset, uint64_t size,
			const struct iovec *vector, unsigned count)
{
	uint8_t start[BLOCK_SECTOR_SIZE];
	uint64_t length;

	if (!node->was_probed || offset >= sizeof(start) || size == 0)
		return false;
	if (file_read_at(&node->file, 0, start, sizeof(start)) < 0)
		return true;
	length = sizeof(start) - offset;
	vector_get(vector, count, 0, start + offset, length < size ? length : size);
	return strcmp(image_probe(start, sizeof(start)), "raw") != 0;
}

static int raw_map(struct node *node, uint64_t offset, uint64_t size, bool is_write,
		   struct extent *extents)
{
	if (is_write && node->was_probed && offset < BLOCK_SECTOR_SIZE)
		return -EAGAIN;
	extents[0] = (struct extent){&node->file, offset, size};
	return 1;
}

static int raw_read(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector,
		    unsigned count)
{
	(void)size;
	return file_readv(&node->file, offset, vector, count);
}

static int raw_write(struct node *node, uint64_t offset, uint64_t size, const struct iovec *vector,
		     unsigned count)
{
	uint8_t start[BLOCK_SECTOR_SIZE];
	struct iovec part[BLOCK_VECTORS_MAX];
	uint64_t length;
	int result;

	if (!node->was_probed || offset >= sizeof(start) || size == 0)
		return file_writev(&node->file, offset, vector, count);
	/* What is looked at is what is written: guest memory may change in between. */
	length = sizeof(start) - offset < size ? sizeof(start) - offset : size;
	vector_get(vector, count, 0, start, length);
	if (is_disguise(node, offset, length, &(struct iovec){start, length}, 1))
		return -EPERM;
	result = file_write_at(&node->file, offset, start, length);
	if (result < 0 || length == size)
		return result;
	count = vector_part(vector, count, length, size - length, part);
	return file_writev(&node->file, offset + length, part, count);
}

static int raw_zero(struct node *node, uint64_t offset, uint64_t size, bool may_unmap)
{
	return file_zero(&node->file, offset, size, may_unmap && node->discards);
}

static int raw_discard(struct node *node, uint64_t offset, uint64_t size)
{
	return node->discards ? file_discard(&node->file, offset, size) : 0;
}

static int raw_flush(struct node *node)
{
	return node->is_writable ? file_sync(&node->file) : 0;
}

static int raw_status(struct node *node, uint64_t offset, uint64_t size, struct node_status *status)
{
	uint64_t length, file_size = __atomic_load_n(&node->file.size, __ATOMIC_RELAXED);

	*status = (struct node_status){.is_allocated = true, .size = size, .file = &node->file, .at = offset};
	/* The rest of the last sector. */
	if (offset >= file_size) {
		status->is_zero = true;
		return 0;
	}
	status->is_zero = file_is_hole(&node->file, offset, &length);
	if (length < size)
		status->size = length;
	return 0;
}

static int raw_close(struct node *node)
{
	(void)node;
	return 0;
}

static const struct node_driver raw_driver = {
	.name = "raw",
	.map = raw_map,
	.read = raw_read,
	.write = raw_write,
	.zero = raw_zero,
	.discard = raw_discard,
	.flush = raw_flush,
	.status = raw_status,
	.close = raw_close,
};

struct node *raw_open(struct file *file)
{
	struct node *node = calloc(1, sizeof(*node));

	if (!node)
		return NULL;
	*node = (struct node){
		.driver = &raw_driver,
		.size = (file->size + BLOCK_SECTOR_SIZE - 1) / BLOCK_SECTOR_SIZE * BLOCK_SECTOR_SIZE,
		.block_bytes = BLOCK_SECTOR_SIZE,
		.discard_bytes = FILE_PAGE,
		.is_writable = file->is_writable,
		.file = *file,
	};
	return node;
}
