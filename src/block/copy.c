/*
 * Copies of a disk that is in use. A thread of its own reads the disk by requests, as a guest does, and writes to the
 * target, piece by piece as a map of bits says. The I/O thread looks at that map for each change:
 *
 *   a backup lets it begin only where nothing is left to be copied; what has to wait is begun by the thread,
 *   a mirror (and a commit, whose target is an image below) sets the bits of what was changed, to be copied again,
 *   a stream lets it be: what is changed is in the topmost image then, where its requests (BLOCK_FILL) leave it alone.
 *
 * One that pauses, or is slow because it is limited, still copies what has to wait.
 *
 * Bits of a mirror are taken away before a piece is read, so a change that ends later sets them again; those of a
 * backup after it was written. Where a copy begins and ends the disk is frozen, so that no change is under way that
 * did not know of it.
 */
#include "block/copy.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "block/chain.h"
#include "block/dirty_marks.h"
#include "block/disk.h"
#include "block/image.h"
#include "block/lock.h"
#include "block/qcow2/whole.h"
#include "block/vector.h"
#include "util/clock.h"
#include "util/thread.h"

#define PIECE	   65536u
#define RUN_PIECES 16 /* that are copied at once */
#define WORD_BITS  64
#define WAIT_NS	   25000000u /* between two looks at a limited one */

struct block_copy {
	struct disk_watch watch; /* the disk's */
	struct block *block; /* NULL: the disk has gone, or the copy is off it */
	enum block_copy_kind kind;
	struct node *target; /* owned, but for a commit's; NULL: the disk is in it now, or it is closed; a stream has none */
	struct node *base;   /* of a stream, the disk's: what stays below; NULL: nothing does */
	char *backing;	     /* of a stream: what the image is to call that; NULL: by its path */
	bool has_borrowed;   /* the target stands on what the disk's topmost image does */
	bool is_off;	     /* changes are not its matter any more; set while the disk is frozen */
	void (*changed)(void *context);
	void *context;
	struct block_bitmap *bitmap; /* lent; NULL: none */
	bool leaves_bitmap;
	uint64_t *bits; /* of pieces that are to be copied; atomic */
	uint64_t pieces, size;
	uint64_t next;	/* where to look first; atomic */
	uint8_t *buffer;
	pthread_t thread;
	bool has_thread;
	/* Requests that wait for the thread: the I/O thread's alone. */
	struct request_list waiting;
	bool has_waiting; /* atomic */

	pthread_mutex_t lock; /* guards what follows; nothing is called under it */
	pthread_cond_t wake;
	struct block_copy_status status;
	uint64_t speed, next_ns; /* of a limited one: when it may go on */
	bool is_ending, is_to_pause, has_request_ended;
	int request_result;
};

static uint64_t piece_of(uint64_t offset)
{
	return offset / PIECE;
}

static bool is_set(const struct block_copy *copy, uint64_t piece)
{
	return __atomic_load_n(&copy->bits[piece / WORD_BITS], __ATOMIC_ACQUIRE) >> piece % WORD_BITS & 1;
}

static void set(struct block_copy *copy, uint64_t piece)
{
	__atomic_fetch_or(&copy->bits[piece / WORD_BITS], 1ull << piece % WORD_BITS, __ATOMIC_ACQ_REL);
}

static void clear(struct block_copy *copy, uint64_t piece)
{
	__atomic_fetch_and(&copy->bits[piece / WORD_BITS], ~(1ull << piece % WORD_BITS), __ATOMIC_ACQ_REL);
}

static uint64_t count_set(const struct block_copy *copy)
{
	uint64_t word, count = 0;

	for (word = 0; word <= (copy->pieces - 1) / WORD_BITS; word++)
		count += __builtin_popcountll(__atomic_load_n(&copy->bits[word], __ATOMIC_ACQUIRE));
	return count;
}

/* The first from `from` on, around the end; `pieces`: there is none. */
static uint64_t find_set(const struct block_copy *copy, uint64_t from)
{
	uint64_t words = (copy->pieces - 1) / WORD_BITS + 1, i, word, at;

	if (from >= copy->pieces)
		from = 0;
	for (i = 0; i <= words; i++) {
		at = (from / WORD_BITS + i) % words;
		word = __atomic_load_n(&copy->bits[at], __ATOMIC_ACQUIRE);
		if (i == 0)
			word &= UINT64_MAX << from % WORD_BITS;
		if (word)
			return at * WORD_BITS + __builtin_ctzll(word);
	}
	return copy->pieces;
}

/* --- on the disk's I/O thread --- */

static bool is_change(const struct block_request *request)
{
	return request->operation != BLOCK_READ && request->operation != BLOCK_FLUSH && request->operation != BLOCK_LOOK &&
	       request->operation != BLOCK_FILL && request->size > 0;
}

/* What changes while it lasts is to be copied again. */
static bool follows(const struct block_copy *copy)
{
	return copy->kind == BLOCK_COPY_MIRROR || copy->kind == BLOCK_COPY_COMMIT;
}

static struct block_copy *copy_of(struct disk_watch *watch)
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

static bool holds(struct disk_watch *watch, struct block_request *request)
{
	struct block_copy *copy = copy_of(watch);
	uint64_t piece, last;

	if (copy->is_off || copy->kind != BLOCK_COPY_BACKUP || !is_change(request) || request->offset >= copy->size)
		return false;
	last = piece_of(request->offset + request->size - 1);
	for (piece = piece_of(request->offset); piece <= last && piece < copy->pieces; piece++)
		if (is_set(copy, piece))
			break;
	if (piece > last || piece >= copy->pieces)
		return false;
	request_list_add(&copy->waiting, request);
	__atomic_store_n(&copy->next, piece, __ATOMIC_RELEASE);
	__atomic_store_n(&copy->has_waiting, true, __ATOMIC_RELEASE);
	wake(copy);
	return true;
}

static void changed(struct disk_watch *watch, const struct block_request *request)
{
	struct block_copy *copy = copy_of(watch);
	uint64_t piece, last;

	if (copy->is_off || !follows(copy) || !is_change(request) || request->offset >= copy->size)
		return;
	last = piece_of(request->offset + request->size - 1);
	for (piece = piece_of(request->offset); piece <= last && piece < copy->pieces; piece++)
		set(copy, piece);
	wake(copy);
}

/* Those that waited: some do again. */
static void begin_waiting(void *context)
{
	struct block_copy *copy = context;

	__atomic_store_n(&copy->has_waiting, false, __ATOMIC_RELEASE);
	request_list_start(&copy->waiting, copy->block);
}

/* --- its thread --- */

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

static int write_target(struct block_copy *copy, uint64_t offset, uint64_t size)
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
static int copy_run(struct block_copy *copy, uint64_t piece, unsigned *how_many)
{
	uint64_t offset = piece * PIECE, size;
	bool clears_first = follows(copy);
	unsigned count = 0, i;
	int result;

	do {
		if (clears_first)
			clear(copy, piece + count);
		count++;
	} while (count < RUN_PIECES && piece + count < copy->pieces && is_set(copy, piece + count));
	size = (uint64_t)count * PIECE;
	if (size > copy->size - offset)
		size = copy->size - offset;
	if (copy->kind == BLOCK_COPY_STREAM) {
		result = fill_disk(copy, offset, size);
	} else {
		result = read_disk(copy, offset, size);
		if (result == 0)
			result = write_target(copy, offset, size);
	}
	for (i = 0; i < count && result == 0 && !clears_first; i++)
		clear(copy, piece + i);
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
	copy->status.total = copy->status.done + count_set(copy) * PIECE;
	if (copy->next_ns < now)
		copy->next_ns = now;
	if (copy->speed)
		copy->next_ns += bytes * NS_PER_SECOND / copy->speed;
}

/* One turn: false: nothing was to be done. */
static bool turn(struct block_copy *copy, int *result)
{
	uint64_t piece = find_set(copy, __atomic_load_n(&copy->next, __ATOMIC_ACQUIRE));
	unsigned count = 0;

	if (piece >= copy->pieces)
		return false;
	*result = copy_run(copy, piece, &count);
	__atomic_store_n(&copy->next, piece + count, __ATOMIC_RELEASE);
	pthread_mutex_lock(&copy->lock);
	add_bytes(copy, (uint64_t)count * PIECE);
	pthread_mutex_unlock(&copy->lock);
	if (__atomic_load_n(&copy->has_waiting, __ATOMIC_ACQUIRE))
		block_call(copy->block, begin_waiting, copy);
	return true;
}

static int settle_target(struct block_copy *copy)
{
	struct node *target = copy->target ? copy->target : copy->block->node;

	return target->driver->settle ? target->driver->settle(target) : target->driver->flush(target);
}

/* The topmost image holds all that those between it and the base do, which are closed. With the disk frozen. */
static int let_images_go(struct block_copy *copy)
{
	struct node *top = copy->block->node, *above = top, *base = copy->base, *old = top->backing;
	const char *name = copy->backing;
	struct error unseen;
	int result;

	if (!old || old == base)
		return 0;
	if (!name && base)
		name = chain_name_below(&base->file, top->file.path);
	result = image_set_backing(top, name, base ? base->driver->name : NULL, &unseen);
	if (result < 0)
		return result;
	while (above->backing != base)
		above = above->backing;
	above->backing = NULL;
	top->backing = base;
	block_fill_info(copy->block);
	/* They were only read. */
	node_close(old);
	return 0;
}

/* Changes are nobody's matter any more. With the disk frozen. */
static void take_off(struct block_copy *copy)
{
	copy->is_off = true;
	if (copy->waiting.first)
		block_call(copy->block, begin_waiting, copy);
}

/* The disk knows it no longer. Likewise. */
static void detach(struct block_copy *copy)
{
	take_off(copy);
	copy->block->watch = NULL;
	copy->block = NULL;
}

static void end(struct block_copy *copy, int result)
{
	pthread_mutex_lock(&copy->lock);
	copy->status.has_ended = true;
	copy->status.result = result;
	pthread_mutex_unlock(&copy->lock);
	tell(copy);
}

static void *run(void *context)
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
		if (!follows(copy))
			break;
		if (!copy->status.is_ready)
			set_and_tell(copy, &copy->status.is_ready, true);
		else if (!copy->is_ending && !copy->is_to_pause && find_set(copy, 0) >= copy->pieces)
			pthread_cond_wait(&copy->wake, &copy->lock);
	}
	is_ended = copy->is_ending;
	pthread_mutex_unlock(&copy->lock);
	/* Who ended it takes it off the disk himself. */
	if (!is_ended) {
		if (result == 0)
			result = settle_target(copy);
		block_freeze(copy->block);
		if (result == 0 && copy->kind == BLOCK_COPY_STREAM)
			result = let_images_go(copy);
		take_off(copy);
		block_thaw(copy->block);
		end(copy, result);
	}
	return NULL;
}

/* --- from outside --- */

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
	struct node *node = copy->block->node;
	struct image_extent extent;
	uint64_t at, piece;
	unsigned levels = 0;
	int result = 0;

	for (; base && node != base; node = node->backing)
		levels++;
	node = copy->block->node;
	for (piece = 0; copy->bitmap && piece < copy->pieces; piece++)
		if (dirty_has_lent(copy->bitmap, piece * PIECE, PIECE))
			set(copy, piece);
	for (at = 0; at < copy->size && result == 0 && !copy->bitmap; at += extent.size) {
		result = image_extent(node, at, copy->size - at, levels, &extent);
		if (result < 0 || !extent.size)
			break;
		if (copy->kind == BLOCK_COPY_STREAM && !is_below(&extent, base))
			continue;
		/* Without a base, what no image holds is zeroes, as in a new image; one that was there may hold others. */
		if (copy->kind != BLOCK_COPY_STREAM && (base ? !extent.is_present : is_new && extent.is_zero))
			continue;
		for (piece = piece_of(at); piece <= piece_of(at + extent.size - 1); piece++)
			set(copy, piece);
	}
	copy->status.total = count_set(copy) * PIECE;
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

/* The image below that a commit writes to: it was written to before, so its file is open for that. */
static int take_base(struct block_copy *copy, const char *path, struct error *error)
{
	struct node *node = path ? find_below(copy->block->node, path) : copy->block->node->backing;

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
	if (options->backing && !(copy->backing = strdup(options->backing)))
		return error_set_errno(error, ENOMEM, "a copy");
	return 0;
}

static void free_copy(struct block_copy *copy)
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

/* The disk is closed. */
static void disk_goes(struct disk_watch *watch)
{
	struct block_copy *copy = copy_of(watch);
	struct block *block = copy->block;

	stop(copy);
	block_freeze(block);
	detach(copy);
	block_thaw(block);
	copy->bitmap = NULL; /* they go with it */
	/* Images below are closed with the disk. */
	if (copy->has_borrowed)
		copy->target->backing = NULL;
	copy->has_borrowed = false;
	if (copy->kind == BLOCK_COPY_COMMIT)
		copy->target = NULL;
	if (!copy->status.has_ended)
		end(copy, -ENODEV);
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
	copy->watch = (struct disk_watch){.holds = holds, .changed = changed, .disk_goes = disk_goes};
	copy->block = block;
	copy->kind = options->kind;
	copy->speed = options->speed;
	copy->changed = options->changed;
	copy->context = options->context;
	copy->size = block_size(block);
	copy->pieces = copy->size / PIECE + !!(copy->size % PIECE);
	copy->bits = calloc(copy->pieces / WORD_BITS + 1, sizeof(uint64_t));
	copy->buffer = malloc(RUN_PIECES * PIECE);
	result = !copy->bits || !copy->buffer ? error_set_errno(error, ENOMEM, "a copy") : 0;
	if (result == 0 && block->watch)
		result = error_set(error, EBUSY, "%s is being copied already", block->info.path);
	if (result == 0 && options->bitmap && dirty_is_lent(options->bitmap))
		result = error_set(error, EBUSY, "the bitmap is in use by another operation");
	if (result == 0 && !copy->pieces)
		result = error_set(error, EINVAL, "%s is empty", block->info.path);
	if (result == 0 && copy->kind == BLOCK_COPY_STREAM)
		result = take_stream(copy, options, error);
	else if (result == 0)
		result = copy->kind == BLOCK_COPY_COMMIT ? take_base(copy, options->path, error)
							 : open_target(copy, options, error);
	if (result < 0) {
		free_copy(copy);
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
		free_copy(copy);
		return result;
	}
	result = thread_start(&copy->thread, NULL, run, copy);
	if (result < 0) {
		error_set_errno(error, -result, "a copy");
		block_freeze(block);
		detach(copy);
		block_thaw(block);
		free_copy(copy);
		return result;
	}
	copy->has_thread = true;
	*started = copy;
	return 0;
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

	while (result == 0 && (piece = find_set(copy, 0)) < copy->pieces) {
		offset = piece * PIECE;
		vector = (struct iovec){copy->buffer, copy->size - offset < PIECE ? copy->size - offset : PIECE};
		result = node_read(copy->block->node, offset, vector.iov_len, &vector, 1);
		if (result == 0)
			result = write_target(copy, offset, vector.iov_len);
		if (result == 0)
			clear(copy, piece);
	}
	return result < 0 ? result : settle_target(copy);
}

int block_copy_finish(struct block_copy *copy, struct error *error)
{
	struct block *block = copy->block;
	struct block_copy_status status;
	int result;

	block_copy_look(copy, &status);
	if (!follows(copy) || !status.is_ready || status.has_ended || !block)
		return error_set(error, EBUSY, "it is not ready");
	stop(copy);
	if (copy->is_off)
		return error_set_errno(error, -copy->status.result, "cannot write the copy");
	block_freeze(block);
	result = copy_rest(copy);
	if (result == 0)
		go_on_in_target(copy);
	detach(copy);
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
			result = settle_target(copy);
		detach(copy);
		block_thaw(block);
	}
	free_copy(copy);
	return result;
}
