/* What is asked of a copy while it lasts, and its end. */
#include <errno.h>
#include <stdlib.h>

#include "block/copy_parts.h"
#include "block/dirty_marks.h"

void copy_free(struct block_copy *copy)
{
	if (copy->bitmap)
		dirty_return(copy->bitmap, copy->leaves_bitmap || !copy->status.has_ended || copy->status.result < 0);
	if (copy->target && copy->has_borrowed)
		copy->target->backing = NULL;
	if (copy->target && copy->kind != BLOCK_COPY_COMMIT)
		node_close(copy->target);
	else if (copy->target)
		node_end_writing(copy->target);
	pthread_cond_destroy(&copy->wake);
	pthread_mutex_destroy(&copy->lock);
	free(copy->backing);
	free(copy->buffer);
	free(copy->bits);
	free(copy);
}

/* Its thread ends, if it has not yet. */
static void stop(struct block_copy *copy)
{
	pthread_mutex_lock(&copy->lock);
	copy->is_ending = true;
	pthread_cond_signal(&copy->wake);
	pthread_mutex_unlock(&copy->lock);
	if (copy->has_thread)
		pthread_join(copy->thread, NULL);
	copy->has_thread = false;
}

void copy_disk_goes(struct disk_watch *watch)
{
	struct block_copy *copy = copy_of_watch(watch);
	struct block *block = copy->block;

	stop(copy);
	block_freeze(block);
	copy_detach(copy);
	block_thaw(block);
	copy->bitmap = NULL; /* they go with it */
	/* Images below are closed with the disk. */
	if (copy->has_borrowed)
		copy->target->backing = NULL;
	copy->has_borrowed = false;
	if (copy->kind == BLOCK_COPY_COMMIT)
		copy->target = NULL;
	if (!copy->status.has_ended)
		copy_tell_end(copy, -ENODEV);
}

void block_copy_look(struct block_copy *copy, struct block_copy_status *status)
{
	pthread_mutex_lock(&copy->lock);
	*status = copy->status;
	pthread_mutex_unlock(&copy->lock);
}

void block_copy_set_speed(struct block_copy *copy, uint64_t bytes_a_second)
{
	pthread_mutex_lock(&copy->lock);
	copy->speed = bytes_a_second;
	copy->next_ns = 0;
	pthread_cond_signal(&copy->wake);
	pthread_mutex_unlock(&copy->lock);
}

void block_copy_pause(struct block_copy *copy, bool pauses)
{
	pthread_mutex_lock(&copy->lock);
	copy->is_to_pause = pauses;
	pthread_cond_signal(&copy->wake);
	pthread_mutex_unlock(&copy->lock);
}

/* The disk goes on in the target. With the disk frozen, and nothing to be copied any more. */
static void go_on_in_target(struct block_copy *copy)
{
	struct block *block = copy->block;
	struct node *old = block->node, *above = old;

	if (copy->kind == BLOCK_COPY_COMMIT) {
		while (above->backing != copy->target)
			above = above->backing;
		above->backing = NULL;
	}
	if (copy->has_borrowed)
		old->backing = NULL;
	block->node = copy->target;
	copy->target = NULL;
	block_fill_info(block);
	node_close(old);
}

/* What is still to be copied, when its thread has ended, with the disk frozen. */
static int copy_rest(struct block_copy *copy)
{
	uint64_t piece, offset;
	struct iovec vector;
	int result = 0;

	while (result == 0 && (piece = copy_find_set(copy, 0)) < copy->pieces) {
		offset = piece * PIECE;
		vector = (struct iovec){copy->buffer, copy->size - offset < PIECE ? copy->size - offset : PIECE};
		result = node_read(copy->block->node, offset, vector.iov_len, &vector, 1);
		if (result == 0)
			result = copy_write_target(copy, offset, vector.iov_len);
		if (result == 0)
			copy_clear(copy, piece);
	}
	return result < 0 ? result : copy_settle_target(copy);
}

int block_copy_finish(struct block_copy *copy, struct error *error)
{
	struct block *block = copy->block;
	struct block_copy_status status;
	int result;

	block_copy_look(copy, &status);
	if (!copy_follows(copy) || !status.is_ready || status.has_ended || !block)
		return error_set(error, EBUSY, "it is not ready");
	stop(copy);
	if (copy->is_off)
		return error_set_errno(error, -copy->status.result, "cannot write the copy");
	block_freeze(block);
	result = copy_rest(copy);
	if (result == 0)
		go_on_in_target(copy);
	copy_detach(copy);
	block_thaw(block);
	return result < 0 ? error_set_errno(error, -result, "cannot write the copy") : 0;
}

int block_copy_end(struct block_copy *copy)
{
	struct block *block = copy->block;
	int result = 0;

	if (block) {
		stop(copy);
		block_freeze(block);
		/* A mirror that was ready is what the disk holds now; an image below is sound. */
		if (copy->kind == BLOCK_COPY_MIRROR && copy->status.is_ready && !copy->is_off)
			result = copy_rest(copy);
		else if (copy->kind == BLOCK_COPY_COMMIT)
			result = copy_settle_target(copy);
		copy_detach(copy);
		block_thaw(block);
	}
	copy_free(copy);
	return result;
}
