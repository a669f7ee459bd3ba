/*
 * Changes to a disk while it is in use. Requests that come wait, those under way end first, and then the images are
 * nobody's but the change's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/chain.h"
#include "block/dirty_marks.h"
#include "block/disk.h"
#include "block/image.h"
#include "block/lock.h"
#include "block/qcow2/whole.h"

static void begin_freeze(void *context)
{
	struct block *block = context;

	block->is_frozen = true;
}

static void end_freeze(void *context)
{
	struct block *block = context;
	block->is_frozen = false;
	request_list_start(&block->held, block);
}

void block_freeze(struct block *block)
{
	pthread_mutex_lock(&block->freezing);
	block_call(block, begin_freeze, block);
	pthread_mutex_lock(&block->lock);
	while (__atomic_load_n(&block->active, __ATOMIC_ACQUIRE) > 0)
		pthread_cond_wait(&block->changed, &block->lock);
	pthread_mutex_unlock(&block->lock);
}

void block_thaw(struct block *block)
{
	block_call(block, end_freeze, block);
	pthread_mutex_unlock(&block->freezing);
}

/* While it is copied it stays what it is. */
static int check_copy(const struct block *block, struct error *error)
{
	return block->watch ? error_set(error, EBUSY, "%s is being copied", block->info.path) : 0;
}

void block_watch_size(struct block *block, void (*resized)(void *context), void *context)
{
	block->resized = resized;
	block->resized_context = context;
}

int block_resize(struct block *block, uint64_t size_bytes, struct error *error)
{
	int result;

	if (size_bytes % BLOCK_SECTOR_SIZE || size_bytes > INT64_MAX)
		return error_set(error, EINVAL, "%s: a disk's size is a multiple of %d bytes", block->path, BLOCK_SECTOR_SIZE);
	if (block->info.is_readonly)
		return error_set(error, EACCES, "%s is only read", block->path);
	if (block->visitors)
		return error_set(error, EBUSY, "%s is exported, with the size that it has", block->info.path);
	if (check_copy(block, error) < 0)
		return -EBUSY;
	block_freeze(block);
	result = dirty_resize(block->bitmaps, size_bytes);
	result = result < 0 ? error_set_errno(error, ENOMEM, "its bitmaps")
			    : image_resize(block->node, size_bytes, IMAGE_PREALLOCATION_OFF, error);
	if (result < 0)
		dirty_resize(block->bitmaps, block->node->size);
	block_fill_info(block);
	block_thaw(block);
	if (result == 0 && block->resized)
		block->resized(block->resized_context);
	return result;
}

/* --- images on top --- */

#define OVERLAYS_MAX 64

struct block_overlay {
	struct block *block;
	struct node *node;
};

static int make(const struct block *block, const struct block_overlay_options *options, struct error *error)
{
	struct image_creation creation = chain_new_image(block->node->size);

	creation.backing = chain_name_below(&block->node->file, options->path);
	creation.backing_format = block->info.format;
	return qcow2_create(options->path, options->fd, &creation, error);
}

int block_overlay_open(struct block *block, const struct block_overlay_options *options, struct block_overlay **opened,
		       struct error *error)
{
	struct block_options how = block->options;
	struct block_overlay *overlay;
	int result = 0;

	if (block->info.is_readonly)
		return error_set(error, EROFS, "%s is only read: nothing is written on top of it", block->info.path);
	if (how.snapshot)
		return error_set(error, ENOTSUP, "%s has what is written in a temporary file (snapshot), which no image can be "
						 "put on", block->path);
	if (check_copy(block, error) < 0)
		return -EBUSY;
	how.format = "qcow2";
	overlay = calloc(1, sizeof(*overlay));
	if (!overlay)
		return error_set_errno(error, ENOMEM, "%s", options->path);
	overlay->block = block;
	if (options->is_new)
		result = make(block, options, error);
	if (result == 0)
		result = chain_open(options->path, options->fd, &how, IMAGE_ALONE, &overlay->node, error);
	if (result == 0 && overlay->node->size != block->node->size)
		result = error_set(error, EINVAL, "%s has %llu bytes, and the disk that it is for %llu", options->path,
				   (unsigned long long)overlay->node->size, (unsigned long long)block->node->size);
	if (result < 0) {
		block_overlay_drop(overlay);
		return result;
	}
	*opened = overlay;
	return 0;
}

void block_overlay_drop(struct block_overlay *overlay)
{
	if (overlay)
		node_close(overlay->node);
	free(overlay);
}

static int settle(const struct block *block, struct error *error)
{
	struct node *node = block->node;
	int result = node->driver->settle ? node->driver->settle(node) : node->driver->flush(node);

	return result < 0 ? error_set_errno(error, -result, "%s: cannot write all back", node->file.path) : 0;
}

static void place(struct block_overlay *overlay)
{
	struct block *block = overlay->block;
	struct node *below = block->node;

	node_end_writing(below);
	if (below->driver == &qcow2_driver && ((struct qcow2 *)below)->data->fd >= 0)
		lock_read_only(((struct qcow2 *)below)->data->fd);
	overlay->node->backing = below;
	block->node = overlay->node;
	block_fill_info(block);
	free(overlay);
}

int block_overlays_place(struct block_overlay *const *overlays, unsigned count, struct error *error)
{
	struct block *blocks[OVERLAYS_MAX];
	unsigned i;
	int result = 0;

	if (count > OVERLAYS_MAX)
		return error_set(error, ENOSPC, "at most %d disks at once", OVERLAYS_MAX);
	for (i = 0; i < count; i++) {
		blocks[i] = overlays[i]->block;
		block_freeze(blocks[i]);
	}
	for (i = 0; i < count && result == 0; i++)
		result = settle(blocks[i], error);
	for (i = 0; i < count && result == 0; i++)
		place(overlays[i]);
	for (i = 0; i < count; i++)
		block_thaw(blocks[i]);
	return result;
}
