/* What a disk's I/O thread has to do with a copy of it: it looks at each change. */
#include <stddef.h>

#include "block/copy_parts.h"

static bool is_change(const struct block_request *request)
{
	return request->operation != BLOCK_READ && request->operation != BLOCK_FLUSH && request->operation != BLOCK_LOOK &&
	       request->operation != BLOCK_FILL && request->size > 0;
}

bool copy_follows(const struct block_copy *copy)
{
	return copy->kind == BLOCK_COPY_MIRROR || (copy->kind == BLOCK_COPY_COMMIT && !copy->above);
}

struct block_copy *copy_of_watch(struct disk_watch *watch)
{
	return (struct block_copy *)((char *)watch - offsetof(struct block_copy, watch));
}

/* Its thread has something to do. */
static void wake(struct block_copy *copy)
{
	pthread_mutex_lock(&copy->lock);
	pthread_cond_signal(&copy->wake);
	pthread_mutex_unlock(&copy->lock);
}

bool copy_holds(struct disk_watch *watch, struct block_request *request)
{
	struct block_copy *copy = copy_of_watch(watch);
	uint64_t piece, last;

	if (copy->is_off || copy->kind != BLOCK_COPY_BACKUP || !is_change(request) || request->offset >= copy->size)
		return false;
	last = copy_piece_of(request->offset + request->size - 1);
	for (piece = copy_piece_of(request->offset); piece <= last && piece < copy->pieces; piece++)
		if (copy_is_set(copy, piece))
			break;
	if (piece > last || piece >= copy->pieces)
		return false;
	request_list_add(&copy->waiting, request);
	__atomic_store_n(&copy->next, piece, __ATOMIC_RELEASE);
	__atomic_store_n(&copy->has_waiting, true, __ATOMIC_RELEASE);
	wake(copy);
	return true;
}

void copy_changed(struct disk_watch *watch, const struct block_request *request)
{
	struct block_copy *copy = copy_of_watch(watch);
	uint64_t piece, last;

	if (copy->is_off || !copy_follows(copy) || !is_change(request) || request->offset >= copy->size)
		return;
	last = copy_piece_of(request->offset + request->size - 1);
	for (piece = copy_piece_of(request->offset); piece <= last && piece < copy->pieces; piece++)
		copy_set(copy, piece);
	wake(copy);
}

void copy_begin_waiting(void *context)
{
	struct block_copy *copy = context;

	__atomic_store_n(&copy->has_waiting, false, __ATOMIC_RELEASE);
	request_list_start(&copy->waiting, copy->block);
}

void copy_take_off(struct block_copy *copy)
{
	copy->is_off = true;
	if (copy->waiting.first)
		block_call(copy->block, copy_begin_waiting, copy);
}

void copy_detach(struct block_copy *copy)
{
	copy_take_off(copy);
	copy->block->watch = NULL;
	copy->block = NULL;
}
