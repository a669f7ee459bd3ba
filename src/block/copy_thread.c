/* The thread that copies: a run of pieces a turn, no faster than it may. */
#include "block/chain.h"
#include "block/copy_parts.h"
#include "block/vector.h"
#include "util/clock.h"
#include "util/zeroes.h"

#define WAIT_NS 25000000u /* between two looks at a limited one */

static void request_ended(struct block_request *request, int result)
{
	struct block_copy *copy = request->context;

	pthread_mutex_lock(&copy->lock);
	copy->request_result = result;
	copy->has_request_ended = true;
	pthread_cond_signal(&copy->wake);
	pthread_mutex_unlock(&copy->lock);
}

/* Have the disk do one, and wait for it. */
static int do_request(struct block_copy *copy, struct block_request *request)
{
	struct block_request *requests[] = {request};

	request->flags = BLOCK_FREELY;
	request->complete = request_ended;
	request->context = copy;
	copy->has_request_ended = false;
	block_submit(copy->block, requests, 1);
	pthread_mutex_lock(&copy->lock);
	while (!copy->has_request_ended)
		pthread_cond_wait(&copy->wake, &copy->lock);
	pthread_mutex_unlock(&copy->lock);
	return copy->request_result;
}

static int read_disk(struct block_copy *copy, uint64_t offset, uint64_t size)
{
	struct iovec vector = {copy->buffer, size};
	struct block_request request = {.operation = BLOCK_READ, .offset = offset, .size = size, .vector = &vector, .vector_count = 1};

	return do_request(copy, &request);
}

static int fill_disk(struct block_copy *copy, uint64_t offset, uint64_t size)
{
	struct block_request request = {.operation = BLOCK_FILL, .offset = offset, .size = size};

	return do_request(copy, &request);
}

int copy_write_target(struct block_copy *copy, uint64_t offset, uint64_t size)
{
	uint64_t at, part;
	int result = 0;

	for (at = 0; at < size && result == 0; at += part) {
		part = size - at < PIECE ? size - at : PIECE;
		/* What a bitmap leaves out is another image's, which zeroes have to hide. Room in an image below is not given
		 * up while others read there. */
		if (!copy->bitmap && bytes_are_zero(copy->buffer + at, part))
			result = copy->target->driver->zero(copy->target, offset + at, part, copy->kind != BLOCK_COPY_COMMIT);
		else
			result = node_write_at(copy->target, offset + at, copy->buffer + at, part);
	}
	return result;
}

/* A run of pieces from `piece` on. `how_many` were copied. */
static int copy_some(struct block_copy *copy, uint64_t piece, unsigned *how_many)
{
	uint64_t offset = piece * PIECE, size;
	bool clears_first = copy_follows(copy);
	unsigned count = 0, i;
	int result;

	do {
		if (clears_first)
			copy_clear(copy, piece + count);
		count++;
	} while (count < RUN_PIECES && piece + count < copy->pieces && copy_is_set(copy, piece + count));
	size = (uint64_t)count * PIECE;
	if (size > copy->size - offset)
		size = copy->size - offset;
	if (copy->kind == BLOCK_COPY_STREAM) {
		result = fill_disk(copy, offset, size);
	} else {
		result = copy->source ? node_read_at(copy->source, offset, copy->buffer, size) : read_disk(copy, offset, size);
		if (result == 0)
			result = copy_write_target(copy, offset, size);
	}
	for (i = 0; i < count && result == 0 && !clears_first; i++)
		copy_clear(copy, piece + i);
	*how_many = count;
	return result;
}

static void tell(struct block_copy *copy)
{
	if (copy->changed)
		copy->changed(copy->context);
}

/* With the lock, which is let go meanwhile: what of its status has become so, and tell. */
static void set_and_tell(struct block_copy *copy, bool *what, bool is_so)
{
	*what = is_so;
	pthread_mutex_unlock(&copy->lock);
	tell(copy);
	pthread_mutex_lock(&copy->lock);
}

/* With the lock: wait for so long, or until there is something. */
static void wait_some(struct block_copy *copy, uint64_t ns)
{
	struct timespec end;
	uint64_t nanoseconds;

	clock_gettime(CLOCK_REALTIME, &end);
	nanoseconds = end.tv_nsec + ns;
	end.tv_sec += nanoseconds / NS_PER_SECOND;
	end.tv_nsec = nanoseconds % NS_PER_SECOND;
	pthread_cond_timedwait(&copy->wake, &copy->lock, &end);
}

static bool is_too_fast(const struct block_copy *copy)
{
	return copy->speed && monotonic_ns() < copy->next_ns;
}

/* With the lock: whether it is not to go on now. */
static bool rests(struct block_copy *copy)
{
	if (copy->status.is_paused != copy->is_to_pause) {
		set_and_tell(copy, &copy->status.is_paused, copy->is_to_pause);
		return true;
	}
	if (__atomic_load_n(&copy->has_waiting, __ATOMIC_ACQUIRE))
		return false;
	if (copy->is_to_pause)
		pthread_cond_wait(&copy->wake, &copy->lock);
	else if (is_too_fast(copy))
		wait_some(copy, WAIT_NS);
	else
		return false;
	return true;
}

/* With the lock: so much was copied. */
static void add_bytes(struct block_copy *copy, uint64_t bytes)
{
	uint64_t now = monotonic_ns();

	copy->status.done += bytes;
	copy->status.total = copy->status.done + copy_count_set(copy) * PIECE;
	if (copy->next_ns < now)
		copy->next_ns = now;
	if (copy->speed)
		copy->next_ns += bytes * NS_PER_SECOND / copy->speed;
}

/* One turn: false: nothing was to be done. */
static bool turn(struct block_copy *copy, int *result)
{
	uint64_t piece = copy_find_set(copy, __atomic_load_n(&copy->next, __ATOMIC_ACQUIRE));
	unsigned count = 0;

	if (piece >= copy->pieces)
		return false;
	*result = copy_some(copy, piece, &count);
	__atomic_store_n(&copy->next, piece + count, __ATOMIC_RELEASE);
	pthread_mutex_lock(&copy->lock);
	add_bytes(copy, (uint64_t)count * PIECE);
	pthread_mutex_unlock(&copy->lock);
	if (__atomic_load_n(&copy->has_waiting, __ATOMIC_ACQUIRE))
		block_call(copy->block, copy_begin_waiting, copy);
	return true;
}

static int settle(struct node *node)
{
	return node->driver->settle ? node->driver->settle(node) : node->driver->flush(node);
}

int copy_settle_target(struct block_copy *copy)
{
	return settle(copy->target ? copy->target : copy->block->node);
}

/* An image names another one that it stands on. One that is only read now is written to for that. */
static int rename_backing(struct node *node, const char *name, const char *format)
{
	bool is_below = !node->is_writable;
	struct error unseen;
	int result;

	if (is_below && !node_begin_writing(node))
		return -EACCES;
	result = image_set_backing(node, name, format, &unseen);
	if (is_below) {
		if (result == 0)
			result = settle(node);
		node_end_writing(node);
	}
	return result;
}

/* What lies between an image and the base below is in one of them, and is closed. With the disk frozen. */
static int let_images_go(struct block_copy *copy)
{
	struct node *top = copy->above ? copy->above : copy->block->node, *last = top;
	struct node *base = copy->above ? copy->target : copy->base, *old = top->backing;
	const char *name = copy->backing;
	int result;

	if (!old || old == base)
		return 0;
	if (!name && base)
		name = chain_name_below(&base->file, top->file.path);
	result = rename_backing(top, name, base ? base->driver->name : NULL);
	if (result < 0)
		return result;
	while (last->backing != base)
		last = last->backing;
	last->backing = NULL;
	top->backing = base;
	copy->source = NULL;
	block_fill_info(copy->block);
	/* They were only read. */
	node_close(old);
	return 0;
}

void copy_tell_end(struct block_copy *copy, int result)
{
	pthread_mutex_lock(&copy->lock);
	copy->status.has_ended = true;
	copy->status.result = result;
	pthread_mutex_unlock(&copy->lock);
	tell(copy);
}

void *copy_run(void *context)
{
	struct block_copy *copy = context;
	bool has_worked, is_ended;
	int result = 0;

	pthread_setname_np(pthread_self(), "kvik copy");
	pthread_mutex_lock(&copy->lock);
	while (!copy->is_ending && result == 0) {
		if (rests(copy))
			continue;
		pthread_mutex_unlock(&copy->lock);
		has_worked = turn(copy, &result);
		pthread_mutex_lock(&copy->lock);
		if (has_worked || result < 0)
			continue;
		if (!copy_follows(copy))
			break;
		if (!copy->status.is_ready)
			set_and_tell(copy, &copy->status.is_ready, true);
		else if (!copy->is_ending && !copy->is_to_pause && copy_find_set(copy, 0) >= copy->pieces)
			pthread_cond_wait(&copy->wake, &copy->lock);
	}
	is_ended = copy->is_ending;
	pthread_mutex_unlock(&copy->lock);
	/* Who ended it takes it off the disk himself. */
	if (!is_ended) {
		if (result == 0)
			result = copy_settle_target(copy);
		block_freeze(copy->block);
		if (result == 0 && (copy->kind == BLOCK_COPY_STREAM || copy->above))
			result = let_images_go(copy);
		copy_take_off(copy);
		block_thaw(copy->block);
		copy_tell_end(copy, result);
	}
	return NULL;
}
