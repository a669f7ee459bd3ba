/* How a copy comes to be: where it goes, what of the disk is to be copied, and its thread. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/chain.h"
#include "block/copy_parts.h"
#include "block/dirty_marks.h"
#include "block/qcow2/whole.h"
#include "util/thread.h"

/* Whether a stream is to have what is there. What an image between hides of the base by its end is to be hidden still. */
static bool is_below(const struct image_extent *extent, bool has_base)
{
	if (!extent->is_present)
		return has_base && extent->is_zero;
	return extent->depth > 0 && (has_base || !extent->is_zero);
}

/* What has to be copied: all, or what images down to `base` hold. */
static int fill(struct block_copy *copy, struct node *base, bool is_new)
{
	struct node *first = copy->source ? copy->source : copy->block->node, *node = first;
	struct image_extent extent;
	uint64_t at, piece;
	unsigned levels = 0;
	int result = 0;

	for (; base && node != base; node = node->backing)
		levels++;
	for (piece = 0; copy->bitmap && piece < copy->pieces; piece++)
		if (dirty_has_lent(copy->bitmap, piece * PIECE, PIECE))
			copy_set(copy, piece);
	for (at = 0; at < copy->size && result == 0 && !copy->bitmap; at += extent.size) {
		result = image_extent(first, at, copy->size - at, levels, &extent);
		if (result < 0 || !extent.size)
			break;
		if (copy->kind == BLOCK_COPY_STREAM && !is_below(&extent, base))
			continue;
		/* Without a base, what no image holds is zeroes, as in a new image; one that was there may hold others. */
		if (copy->kind != BLOCK_COPY_STREAM && (base ? !extent.is_present : is_new && extent.is_zero))
			continue;
		for (piece = copy_piece_of(at); piece <= copy_piece_of(at + extent.size - 1); piece++)
			copy_set(copy, piece);
	}
	copy->status.total = copy_count_set(copy) * PIECE;
	return result;
}

static int open_target(struct block_copy *copy, const struct block_copy_options *options, struct error *error)
{
	const struct node *disk = copy->block->node;
	struct block_options how = {.format = options->format, .discard = true, .cache = copy->block->options.cache};
	struct image_creation creation = chain_new_image(copy->size);
	int result = 0;

	creation.format = options->format;
	if (options->only_top && disk->backing) {
		creation.backing = disk->backing->file.place ? disk->backing->file.place : disk->backing->file.path;
		creation.backing_format = disk->backing->driver->name;
	}
	if (options->is_new)
		result = image_create_in(options->path, options->fd, &creation, error);
	if (result == 0)
		result = chain_open(options->path, options->fd, &how, IMAGE_ALONE, &copy->target, error);
	if (result == 0 && copy->target->size != copy->size)
		result = error_set(error, EINVAL, "%s has %llu bytes, and the disk %llu", options->path,
				   (unsigned long long)copy->target->size, (unsigned long long)copy->size);
	/* Without what is below it would take zeroes for what it need not hold. */
	if (result == 0 && copy->target->driver == &qcow2_driver && ((struct qcow2 *)copy->target)->backing_name &&
	    !options->only_top && !options->bitmap)
		result = error_set(error, EINVAL, "%s stands on another image, and all is to be copied", options->path);
	if (result == 0 && options->bitmap && copy->target->driver == &qcow2_driver &&
	    ((struct qcow2 *)copy->target)->cluster_size > PIECE)
		result = error_set(error, EINVAL, "%s has clusters of more than %u bytes, which would hold what has not changed",
				   options->path, PIECE);
	copy->has_borrowed = result == 0 && options->only_top && disk->backing;
	if (copy->has_borrowed)
		copy->target->backing = disk->backing;
	return result;
}

/* The image below `node` at that path, or NULL. */
static struct node *find_below(struct node *node, const char *path)
{
	do
		node = node->backing;
	while (node && strcmp(node->file.path, path) != 0 && !(node->file.place && strcmp(node->file.place, path) == 0));
	return node;
}

static int error_no_image(const struct block_copy *copy, const char *path, struct error *error)
{
	return error_set(error, ENOENT, "'%.200s' is no image below %s", path, copy->block->info.path);
}

/* Images in the middle. What stands on them is to be changed, once: it is written to, or was before. */
static int take_middle(struct block_copy *copy, const char *path, struct error *error)
{
	copy->source = find_below(copy->block->node, path);
	if (!copy->source)
		return error_no_image(copy, path, error);
	for (copy->above = copy->block->node; copy->above->backing != copy->source;)
		copy->above = copy->above->backing;
	if (copy->above->driver != &qcow2_driver || !(copy->above->is_writable || copy->above->was_writable))
		return error_set(error, EACCES, "%s is only open for reading", copy->above->file.path);
	if (copy->source->size != copy->size)
		return error_set(error, EINVAL, "%s has another size than the disk", copy->source->file.path);
	return 0;
}

/* The image below that a commit writes to: it was written to before, so its file is open for that. */
static int take_base(struct block_copy *copy, const char *path, struct error *error)
{
	struct node *from = copy->source ? copy->source : copy->block->node;
	struct node *node = path ? find_below(from, path) : from->backing;

	while (node && node->backing && !path)
		node = node->backing;
	if (!node)
		return error_no_image(copy, path ? path : "", error);
	if (node->size != copy->size)
		return error_set(error, EINVAL, "%s has another size than the disk", node->file.path);
	if (!node_begin_writing(node))
		return error_set(error, EACCES, "%s is only open for reading", node->file.path);
	copy->target = node;
	return 0;
}

/* The image that stays below a stream's. */
static int take_stream(struct block_copy *copy, const struct block_copy_options *options, struct error *error)
{
	const struct block *block = copy->block;

	if (block->info.is_readonly)
		return error_set(error, EROFS, "%s is only read", block->info.path);
	if (block->options.snapshot)
		return error_set(error, ENOTSUP, "%s has what is written in a temporary file (snapshot)", block->info.path);
	if (options->path)
		copy->base = find_below(block->node, options->path);
	if (options->path && !copy->base)
		return error_no_image(copy, options->path, error);
	if (options->has_bottom)
		copy->base = copy->base->backing;
	if (options->backing && !copy->base)
		return error_set(error, EINVAL, "backing file specified, but streaming the entire chain");
	return 0;
}

static int take_commit(struct block_copy *copy, const struct block_copy_options *options, struct error *error)
{
	int result = options->top ? take_middle(copy, options->top, error) : 0;

	return result < 0 ? result : take_base(copy, options->path, error);
}

int block_copy_start(struct block *block, const struct block_copy_options *options, struct block_copy **started,
		     struct error *error)
{
	struct block_copy *copy = calloc(1, sizeof(*copy));
	struct node *below = NULL;
	int result;

	if (!copy)
		return error_set_errno(error, ENOMEM, "a copy");
	pthread_mutex_init(&copy->lock, NULL);
	pthread_cond_init(&copy->wake, NULL);
	copy->watch = (struct disk_watch){.holds = copy_holds, .changed = copy_changed, .disk_goes = copy_disk_goes};
	copy->block = block;
	copy->kind = options->kind;
	copy->speed = options->speed;
	copy->changed = options->changed;
	copy->context = options->context;
	copy->buffer = malloc(RUN_PIECES * PIECE);
	result = copy_pieces_init(copy, block_size(block));
	if (result < 0 || !copy->buffer)
		result = error_set_errno(error, ENOMEM, "a copy");
	if (result == 0 && block->watch)
		result = error_set(error, EBUSY, "%s is being copied already", block->info.path);
	if (result == 0 && options->bitmap && dirty_is_lent(options->bitmap))
		result = error_set(error, EBUSY, "the bitmap is in use by another operation");
	if (result == 0 && !copy->pieces)
		result = error_set(error, EINVAL, "%s is empty", block->info.path);
	if (result == 0 && options->backing && !(copy->backing = strdup(options->backing)))
		result = error_set_errno(error, ENOMEM, "a copy");
	if (result == 0 && copy->kind == BLOCK_COPY_STREAM)
		result = take_stream(copy, options, error);
	else if (result == 0)
		result = copy->kind == BLOCK_COPY_COMMIT ? take_commit(copy, options, error)
							 : open_target(copy, options, error);
	if (result < 0) {
		copy_free(copy);
		return result;
	}
	if (copy->kind == BLOCK_COPY_COMMIT)
		below = copy->target;
	else if (copy->kind == BLOCK_COPY_STREAM)
		below = copy->base;
	else if (options->only_top)
		below = block->node->backing;
	block_freeze(block);
	if (options->bitmap)
		result = dirty_lend(options->bitmap);
	if (result == 0) {
		copy->bitmap = options->bitmap;
		copy->leaves_bitmap = options->leaves_bitmap;
		result = fill(copy, below, options->is_new);
	}
	if (result == 0)
		block->watch = &copy->watch;
	block_thaw(block);
	if (result < 0) {
		error_set_errno(error, -result, "%s: what is to be copied", block->info.path);
		copy_free(copy);
		return result;
	}
	result = thread_start(&copy->thread, NULL, copy_run, copy);
	if (result < 0) {
		error_set_errno(error, -result, "a copy");
		block_freeze(block);
		copy_detach(copy);
		block_thaw(block);
		copy_free(copy);
		return result;
	}
	copy->has_thread = true;
	*started = copy;
	return 0;
}
