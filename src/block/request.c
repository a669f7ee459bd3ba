/*
 * What happens to a request on the I/O thread.
 *
 *   check -> range lock -> in place? -> reads and writes by io_uring ------------> done
 *                             | no                                                  ^
 *                             +-> exclusive lock if it is a write -> worker thread -+
 *
 * Nothing here waits. Where a format has to read its tables, to make room or to copy, a worker does
 * it with the format's own blocking functions, and the range lock keeps others out of that place.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "block/dirty_marks.h"
#include "block/disk.h"
#include "block/image.h"
#include "block/qcow2/qcow2.h"
#include "block/vector.h"
#include "util/clock.h"

struct operation {
	struct job job;
	struct block *block;
	struct block_request *request;
	struct range_hold hold;
	bool is_zero;	  /* a write of zeroes, which was looked for */
	bool fills;	  /* a read of what images below have, which becomes the topmost one's first */
	bool is_flushing; /* the flush after a write, or of a flush */
	bool has_flushed;
	unsigned pending; /* pieces under way */
	int result;
	uint64_t began_ns;
	struct operation *next; /* in the disk's `completed` */
};

/* A part of a read or write that is contiguous in a file. */
struct piece {
	struct ring_transfer transfer;
	struct job job;
	struct operation *operation;
	struct file *file;
	uint64_t size;
	int result; /* a worker's */
	struct iovec vector[];
};

static void operation_go(struct operation *operation);

static struct operation *operation_of_job(struct job *job)
{
	return (struct operation *)((char *)job - offsetof(struct operation, job));
}

/* Only the I/O thread writes; others may be reading. */
static void add_to(uint64_t *value, uint64_t more)
{
	__atomic_store_n(value, *value + more, __ATOMIC_RELAXED);
}

static void count(struct block *block, const struct operation *operation)
{
	static const enum block_count kinds[] = {
		[BLOCK_READ] = BLOCK_COUNT_READ,	   [BLOCK_WRITE] = BLOCK_COUNT_WRITE,
		[BLOCK_FLUSH] = BLOCK_COUNT_FLUSH,	   [BLOCK_DISCARD] = BLOCK_COUNT_UNMAP,
		[BLOCK_WRITE_ZEROES] = BLOCK_COUNT_WRITE,
	};
	const struct block_request *request = operation->request;
	struct block_count_of *of;
	enum block_count kind;
	uint64_t now;

	if (request->operation == BLOCK_LOOK || request->operation == BLOCK_FILL)
		return;
	kind = kinds[request->operation];
	of = &block->counts.of[kind];
	now = monotonic_ns();
	__atomic_store_n(&block->counts.last_ns, now, __ATOMIC_RELAXED);
	if (!operation->began_ns) {
		add_to(&of->invalid, 1);
		return;
	}
	add_to(&of->ns, now - operation->began_ns);
	if (operation->result < 0) {
		add_to(&of->failed, 1);
		return;
	}
	add_to(&of->operations, 1);
	if (kind != BLOCK_COUNT_FLUSH)
		add_to(&of->bytes, request->size);
	if (kind == BLOCK_COUNT_WRITE && request->offset + request->size > block->counts.write_end)
		__atomic_store_n(&block->counts.write_end, request->offset + request->size, __ATOMIC_RELAXED);
}

static void wake_waiting(struct block *block)
{
	pthread_mutex_lock(&block->lock);
	pthread_cond_broadcast(&block->changed);
	pthread_mutex_unlock(&block->lock);
}

/* Also of one that failed: a part of it may have been done. */
static bool is_change(const struct block_request *request)
{
	return request->operation == BLOCK_WRITE || request->operation == BLOCK_WRITE_ZEROES ||
	       request->operation == BLOCK_DISCARD;
}

static void complete(struct operation *operation)
{
	struct block *block = operation->block;
	struct block_request *request = operation->request;
	int result = operation->result;
	/* One that was refused was the submitter's mistake, and stays one. */
	bool has_failed = result < 0 && operation->began_ns, is_overtaken = operation->began_ns < block->errors.retried_ns;

	count(block, operation);
	if (block->bitmaps && is_change(request))
		dirty_mark(block->bitmaps, request->offset, request->size);
	if (block->watch)
		block->watch->changed(block->watch, request);
	free(operation);
	if (has_failed && is_overtaken && errors_would_hold(block, request, result)) {
		__atomic_add_fetch(&block->outstanding, 1, __ATOMIC_ACQ_REL);
		request_start(block, request);
	} else if (!has_failed || !errors_hold(block, request, &result)) {
		request->complete(request, result);
	}
	if (__atomic_sub_fetch(&block->active, 1, __ATOMIC_ACQ_REL) == 0 && block->is_frozen)
		wake_waiting(block);
	if (__atomic_sub_fetch(&block->outstanding, 1, __ATOMIC_ACQ_REL) == 0)
		wake_waiting(block);
}

static void operation_end(struct operation *operation)
{
	struct block *block = operation->block;

	if (!block->is_submitting) {
		complete(operation);
		return;
	}
	operation->next = NULL;
	if (block->last_completed)
		block->last_completed->next = operation;
	else
		block->completed = operation;
	block->last_completed = operation;
}

void request_complete_deferred(struct block *block)
{
	struct operation *operation;

	while ((operation = block->completed)) {
		block->completed = operation->next;
		if (!block->completed)
			block->last_completed = NULL;
		complete(operation);
	}
}

static void release(struct operation *operation)
{
	struct block *block = operation->block;
	struct range_hold *hold;

	range_release(&block->ranges, &operation->hold);
	while ((hold = range_wake(&block->ranges)))
		operation_go((struct operation *)((char *)hold - offsetof(struct operation, hold)));
}

/* All that a request asked for happened, or failed. */
static void operation_finish(struct operation *operation)
{
	struct block *block = operation->block;
	const struct block_request *request = operation->request;
	bool is_change = request->operation == BLOCK_WRITE || request->operation == BLOCK_WRITE_ZEROES;

	if (operation->hold.mode != RANGE_NONE)
		release(operation);
	if (operation->result == 0 && is_change && !operation->has_flushed &&
	    (block->is_write_through || request->flags & BLOCK_FUA)) {
		operation->is_flushing = true;
		workers_add(block->workers, &operation->job);
		return;
	}
	operation_end(operation);
}

static int look(struct node *node, struct block_request *request)
{
	unsigned room = request->extent_count;
	uint64_t done = 0;
	int result = 0;

	request->extent_count = 0;
	while (result == 0 && done < request->size && request->extent_count < room) {
		struct image_extent *extent = &request->extents[request->extent_count];

		result = image_extent(node, request->offset + done, request->size - done, 0, extent);
		done += extent->size;
		request->extent_count += result == 0;
	}
	return request->extent_count ? 0 : result;
}

/* On a worker. */
static void operation_work(struct job *job)
{
	struct operation *operation = operation_of_job(job);
	struct block_request *request = operation->request;
	struct node *node = operation->block->node;
	const struct node_driver *driver = node->driver;

	if (operation->is_flushing) {
		operation->result = driver->flush(node);
		operation->has_flushed = true;
		return;
	}
	switch (request->operation) {
	case BLOCK_READ:
		/* What comes of that is no matter of who reads: without room it stays below. */
		if (operation->fills)
			node_fill(node, request->offset, request->size);
		operation->result = driver->read(node, request->offset, request->size,
						 request->vector, request->vector_count);
		break;
	case BLOCK_WRITE:
		operation->result =
			operation->is_zero ? driver->zero(node, request->offset, request->size,
							  operation->block->info.zeroes == BLOCK_ZEROES_UNMAP)
					   : driver->write(node, request->offset, request->size,
							   request->vector, request->vector_count);
		break;
	case BLOCK_WRITE_ZEROES:
		operation->result = driver->zero(node, request->offset, request->size,
						 request->flags & BLOCK_UNMAP);
		break;
	case BLOCK_DISCARD:
		operation->result = driver->discard(node, request->offset, request->size);
		break;
	case BLOCK_LOOK: operation->result = look(node, request); break;
	case BLOCK_FILL: operation->result = node_fill(node, request->offset, request->size); break;
	case BLOCK_FLUSH: break;
	}
}

static void operation_worked(struct job *job)
{
	operation_finish(operation_of_job(job));
}

static void piece_done(struct piece *piece, int result)
{
	struct operation *operation = piece->operation;

	if (result < 0 && operation->result == 0)
		operation->result = result;
	free(piece);
	if (--operation->pending == 0)
		operation_finish(operation);
}

/* On a worker: all of a piece, which also knows what to do at a file's end. */
static void piece_work(struct job *job)
{
	struct piece *piece = (struct piece *)((char *)job - offsetof(struct piece, job));
	const struct ring_transfer *transfer = &piece->transfer;

	if (transfer->is_write)
		piece->result = file_writev(piece->file, transfer->offset, transfer->vector,
					    transfer->count);
	else
		piece->result = file_readv(piece->file, transfer->offset, transfer->vector,
					   transfer->count);
}

static void piece_worked(struct job *job)
{
	struct piece *piece = (struct piece *)((char *)job - offsetof(struct piece, job));

	piece_done(piece, piece->result);
}

static void piece_transferred(struct ring_transfer *transfer, int result)
{
	struct piece *piece = (struct piece *)((char *)transfer - offsetof(struct piece, transfer));

	if (result >= 0 && (uint64_t)result == piece->size) {
		if (transfer->is_write)
			file_has_grown(piece->file, transfer->offset + piece->size);
		piece_done(piece, 0);
		return;
	}
	/* Short, interrupted, or refused: again, by what is plain and tells why. */
	workers_add(piece->operation->block->workers, &piece->job);
}

/* Start the read or write of one extent, `skip` bytes into the request. 0 or -ENOMEM. */
static int piece_start(struct operation *operation, const struct extent *extent, uint64_t skip)
{
	const struct block_request *request = operation->request;
	bool is_whole = extent->size == request->size;
	struct piece *piece = malloc(sizeof(*piece) + (is_whole ? 0 : request->vector_count) *
							      sizeof(struct iovec));

	if (!piece)
		return -ENOMEM;
	piece->operation = operation;
	piece->file = extent->file;
	piece->size = extent->size;
	piece->job = (struct job){.run = piece_work, .done = piece_worked};
	piece->transfer = (struct ring_transfer){
		.is_write = request->operation == BLOCK_WRITE,
		.offset = extent->at,
		.vector = request->vector,
		.count = request->vector_count,
		.done = piece_transferred,
	};
	if (!is_whole) {
		piece->transfer.vector = piece->vector;
		piece->transfer.count = vector_part(request->vector, request->vector_count, skip,
						    extent->size, piece->vector);
	}
	piece->transfer.fd = file_descriptor_for(extent->file, extent->at, piece->transfer.vector,
						 piece->transfer.count);
	operation->pending++;
	ring_add(operation->block->ring, &piece->transfer);
	return 0;
}

/* Read or write in place. */
static void operation_transfer(struct operation *operation, const struct extent *extents, int count)
{
	const struct block_request *request = operation->request;
	uint64_t skip = 0;
	int i, result;

	operation->pending = 1; /* not to be finished before all are started */
	for (i = 0; i < count; skip += extents[i++].size) {
		result = 0;
		if (extents[i].file)
			result = piece_start(operation, &extents[i], skip);
		else
			vector_zero(request->vector, request->vector_count, skip, extents[i].size);
		if (result < 0 && operation->result == 0)
			operation->result = result;
	}
	if (--operation->pending == 0)
		operation_finish(operation);
}

static bool take_range(struct operation *operation, enum range_mode mode)
{
	const struct block_request *request = operation->request;
	uint32_t granule = operation->block->node->granule;

	return range_take(&operation->block->ranges, &operation->hold, request->offset / granule,
			  (request->offset + request->size - 1) / granule, mode);
}

/* Whether a server has some of it: workers talk with it. */
static bool has_export(const struct extent *extents, int count)
{
	int i;

	for (i = 0; i < count; i++)
		if (extents[i].file && extents[i].file->export)
			return true;
	return false;
}

/* Whether a file is an image's own, and none of those below. */
static bool owns(const struct node *node, const struct file *file)
{
	return file == &node->file || (node->driver == &qcow2_driver && file == ((const struct qcow2 *)node)->data);
}

/* Whether a read is of what the topmost image may not have yet; `count` as map says it, which does not tell whose zeroes are. */
static bool must_fill(const struct operation *operation, const struct extent *extents, int count)
{
	const struct block *block = operation->block;
	const struct node *node = block->node;
	int i;

	if (!block->options.copies_on_read || operation->request->operation != BLOCK_READ ||
	    operation->request->flags & BLOCK_FREELY || !node->backing || !node->is_writable)
		return false;
	for (i = 0; i < count; i++)
		if (!extents[i].file || !owns(node, extents[i].file))
			return true;
	return count < 0;
}

/* Nobody else is to be in the range. False: somebody is, and the operation goes on after them. */
static bool take_alone(struct operation *operation)
{
	if (operation->hold.mode != RANGE_SHARED)
		return true;
	release(operation);
	return take_range(operation, RANGE_EXCLUSIVE);
}

/* The range is its own, if the format wants that. */
static void operation_go(struct operation *operation)
{
	const struct block_request *request = operation->request;
	struct block *block = operation->block;
	struct node *node = block->node;
	struct extent extents[EXTENTS_MAX];
	bool is_write = request->operation == BLOCK_WRITE && !operation->is_zero;
	int count;

	if ((request->operation == BLOCK_READ && !operation->fills) ||
	    (is_write && operation->hold.mode != RANGE_EXCLUSIVE)) {
		count = node->driver->map(node, request->offset, request->size, is_write, extents);
		operation->fills = must_fill(operation, extents, count);
		if (count > 0 && block->ring && !operation->fills && !has_export(extents, count)) {
			operation_transfer(operation, extents, count);
			return;
		}
		if (count < 0 && count != -EAGAIN) {
			operation->result = count;
			operation_finish(operation);
			return;
		}
		if (((count < 0 && is_write) || operation->fills) && !take_alone(operation))
			return;
	}
	workers_add(block->workers, &operation->job);
}

/* 0, or -errno: what a submitter did wrong, or a guest through it. */
static int check(const struct block *block, const struct block_request *request)
{
	uint64_t end;

	if (request->operation == BLOCK_FLUSH)
		return 0;
	if (__builtin_add_overflow(request->offset, request->size, &end) ||
	    end > block->info.size_bytes)
		return -EINVAL;
	if (request->operation == BLOCK_LOOK)
		return request->extent_count && request->size ? 0 : -EINVAL;
	if (request->operation != BLOCK_READ && block->info.is_readonly)
		return -EROFS;
	if (request->operation == BLOCK_READ || request->operation == BLOCK_WRITE)
		if (request->vector_count > BLOCK_VECTORS_MAX ||
		    request->size > BLOCK_REQUEST_MAX ||
		    vector_size(request->vector, request->vector_count) != request->size)
			return -EINVAL;
	return 0;
}

void request_list_start(struct request_list *list, struct block *block)
{
	struct block_request *request = list->first;

	*list = (struct request_list){NULL, NULL};
	while (request) {
		struct block_request *next = request->next;

		request_start(block, request);
		request = next;
	}
}

void request_start(struct block *block, struct block_request *request)
{
	struct operation *operation;
	enum range_mode mode = RANGE_EXCLUSIVE;

	if (block->is_frozen) {
		request_list_add(&block->held, request);
		return;
	}
	if (block->watch && block->watch->holds(block->watch, request))
		return;
	operation = malloc(sizeof(*operation));
	if (!operation) {
		/* Without memory there is nothing to come back with later. */
		request->complete(request, -ENOMEM);
		__atomic_sub_fetch(&block->outstanding, 1, __ATOMIC_ACQ_REL);
		return;
	}
	*operation = (struct operation){
		.block = block,
		.request = request,
		.job = {.run = operation_work, .done = operation_worked},
	};
	__atomic_add_fetch(&block->active, 1, __ATOMIC_ACQ_REL);
	operation->result = check(block, request);
	if (operation->result == 0)
		operation->began_ns = monotonic_ns();
	if (operation->result < 0 || (request->size == 0 && request->operation != BLOCK_FLUSH)) {
		operation_end(operation);
		return;
	}
	if (request->operation == BLOCK_FLUSH) {
		operation->is_flushing = true;
		workers_add(block->workers, &operation->job);
		return;
	}
	/* A guest may change its memory while it is looked at: then some of it was zero, and the rest is anyone's guess. */
	operation->is_zero = request->operation == BLOCK_WRITE && block->info.zeroes != BLOCK_ZEROES_OFF &&
			     vector_is_zero(request->vector, request->vector_count);
	if (request->operation == BLOCK_READ || (request->operation == BLOCK_WRITE && !operation->is_zero) ||
	    request->operation == BLOCK_LOOK)
		mode = RANGE_SHARED;
	if (block->node->granule == 0 || take_range(operation, mode))
		operation_go(operation);
}
