/* A disk's life: its files, its I/O thread and the ways to it from other threads. */
#include "block/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/chain.h"
#include "block/dirty_marks.h"
#include "block/disk.h"
#include "block/fat/folder.h"
#include "block/nbd/name.h"
#include "block/nbd/nbd.h"
#include "util/log.h"
#include "util/thread.h"

struct disk_call {
	void (*run)(void *context);
	void *context;
	bool is_done;
	struct disk_call *next;
};

/* Of an I/O thread: the disk whose it is. */
static __thread const struct block *disk_of_this_thread;

int block_cache_parse(const char *text, enum block_cache *cache)
{
	static const char *const names[] = {
		[BLOCK_CACHE_WRITEBACK] = "writeback",
		[BLOCK_CACHE_NONE] = "none",
		[BLOCK_CACHE_WRITETHROUGH] = "writethrough",
		[BLOCK_CACHE_DIRECTSYNC] = "directsync",
		[BLOCK_CACHE_UNSAFE] = "unsafe",
	};
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0) {
			*cache = i;
			return 0;
		}
	return -EINVAL;
}

static const char *const zeroes_names[] = {
	[BLOCK_ZEROES_OFF] = "off", [BLOCK_ZEROES_ON] = "on", [BLOCK_ZEROES_UNMAP] = "unmap"};

int block_zeroes_parse(const char *text, enum block_zeroes *zeroes)
{
	unsigned i;

	for (i = 0; i < sizeof(zeroes_names) / sizeof(zeroes_names[0]); i++)
		if (strcmp(text, zeroes_names[i]) == 0) {
			*zeroes = i;
			return 0;
		}
	return -EINVAL;
}

const char *block_zeroes_name(enum block_zeroes zeroes)
{
	return zeroes_names[zeroes];
}

/* What has come for the I/O thread: requests, calls, ends of jobs and of transfers. */
static void come_to_work(void *context)
{
	struct block *block = context;
	struct block_request *request;
	struct disk_call *call, *calls;
	bool found;

	do {
		pthread_mutex_lock(&block->lock);
		request = block->submitted;
		block->submitted = block->last_submitted = NULL;
		calls = block->calls;
		block->calls = NULL;
		pthread_mutex_unlock(&block->lock);
		found = request || calls;
		while (request) {
			struct block_request *next = request->next;

			throttle_arrive(block, request);
			request = next;
		}
		while ((call = calls)) {
			calls = call->next;
			call->run(call->context);
			pthread_mutex_lock(&block->lock);
			call->is_done = true;
			pthread_cond_broadcast(&block->changed);
			pthread_mutex_unlock(&block->lock);
		}
		found |= workers_reap(block->workers);
	} while (found);
}

/*
 * What all that was called back has put off. Most reads and writes through the page cache have ended by the time that the
 * kernel has taken them: they complete here, without a turn of the loop in between.
 */
static void settle(void *context)
{
	struct block *block = context;
	bool found;

	do {
		request_complete_deferred(block);
		found = false;
		if (block->ring) {
			ring_submit(block->ring);
			found = ring_reap(block->ring);
		}
	} while (found || block->completed);
}

static void transferred_ready(void *context)
{
	struct block *block = context;

	ring_reap(block->ring);
}

static void *io_thread(void *argument)
{
	struct block *block = argument;

	disk_of_this_thread = block;
	if (event_loop_run(block->loop) < 0)
		log_error("%s: the disk's I/O loop failed", block->path);
	return NULL;
}

static struct block_geometry guess_geometry(uint64_t sectors)
{
	struct block_geometry geometry = {.heads = 16, .sectors = 63};
	uint64_t cylinders = sectors / (16 * 63);

	/* As ATA disks tell it: 16 heads of 63 sectors, up to 16383 cylinders (ATA-6 annex B). */
	geometry.cylinders = cylinders < 1 ? 1 : cylinders > 16383 ? 16383 : cylinders;
	return geometry;
}

void block_fill_info(struct block *block)
{
	const struct node *node = block->node;
	struct block_info *info = &block->info;

	__atomic_store_n(&info->size_bytes, node->size, __ATOMIC_RELEASE);
	info->geometry = guess_geometry(node->size / BLOCK_SECTOR_SIZE);
	info->format = node->driver->name;
	/* Those of images that it was before stay, as these are below. */
	info->path = node->file.path;
}

/* What stays as it was found. */
static void fill_first_info(struct block *block, const struct block_options *options)
{
	const struct node *node = block->node;
	struct block_info *info = &block->info;

	info->is_readonly = !node->is_writable;
	info->has_write_cache = !block->is_write_through;
	info->zeroes = options->zeroes;
	info->can_discard = node->discards;
	info->block_bytes = node->block_bytes;
	info->discard_bytes = node->discard_bytes;
	if (options->serial)
		strncpy(info->serial, options->serial, BLOCK_SERIAL_MAX);
	info->uses_io_uring = block->ring != NULL;
	block_fill_info(block);
}

/* io_uring, where it is wanted and there. */
static int make_ring(struct block *block, const struct block_options *options, struct error *error)
{
	int result;

	if (options->aio != BLOCK_AIO_THREADS)
		block->ring = ring_create(error);
	if (!block->ring)
		return options->aio == BLOCK_AIO_IO_URING ? -ENOSYS : 0;
	block->transferred = (struct event_source){
		.fd = ring_descriptor(block->ring), .ready = transferred_ready, .context = block};
	result = event_loop_add(block->loop, &block->transferred);
	if (result < 0) {
		error_set_errno(error, -result, "%s: cannot wait for its io_uring", block->path);
		ring_destroy(block->ring);
	}
	return result;
}

static int open_disk(const char *path, int fd, const struct block_options *options,
		     struct block **opened, struct error *error)
{
	struct block *block = calloc(1, sizeof(*block));
	int result = -ENOMEM;

	if (!block || !(block->path = strdup(path))) {
		error_set_errno(error, ENOMEM, "%s", path);
		goto fail;
	}
	pthread_mutex_init(&block->lock, NULL);
	pthread_mutex_init(&block->freezing, NULL);
	pthread_cond_init(&block->changed, NULL);
	block->options = *options;
	block->options.format = block->options.serial = block->options.backing = block->options.backing_format = NULL;
	block->is_write_through = options->cache == BLOCK_CACHE_WRITETHROUGH ||
				  options->cache == BLOCK_CACHE_DIRECTSYNC;
	result = chain_open(path, fd, options, 0, &block->node, error);
	if (result < 0)
		goto fail_locks;
	block->loop = event_loop_create(error);
	if (!block->loop) {
		result = -ENOMEM;
		goto fail_node;
	}
	result = event_signal_init(&block->wake, block->loop, come_to_work, block);
	if (result < 0) {
		error_set_errno(error, -result, "%s: cannot make an eventfd", path);
		goto fail_loop;
	}
	block->workers = workers_create(&block->wake, error);
	if (!block->workers) {
		result = -ENOMEM;
		goto fail_signal;
	}
	result = make_ring(block, options, error);
	if (result < 0)
		goto fail_workers;
	event_loop_before_wait(block->loop, settle, block);
	fill_first_info(block, options);
	*opened = block;
	return 0;

fail_workers:
	workers_destroy(block->workers);
fail_signal:
	event_signal_destroy(&block->wake);
fail_loop:
	event_loop_destroy(block->loop);
fail_node:
	node_close(block->node);
fail_locks:
	pthread_cond_destroy(&block->changed);
	pthread_mutex_destroy(&block->freezing);
	pthread_mutex_destroy(&block->lock);
fail:
	if (block)
		free(block->path);
	free(block);
	return result;
}

/* In memory, whatever is said of the host's cache. */
static int open_folder(const char *path, const struct block_options *options, struct block **block, struct error *error)
{
	struct block_options own = *options;
	int result, fd = fat_folder_open(path, error);

	if (fd < 0)
		return fd;
	own.format = "raw";
	own.cache = BLOCK_CACHE_WRITEBACK;
	own.aio = BLOCK_AIO_THREADS;
	result = open_disk(path, fd, &own, block, error);
	close(fd);
	return result;
}

int block_open(const char *path, const struct block_options *options, struct block **block,
	       struct error *error)
{
	return fat_folder_is_named(path) ? open_folder(path, options, block, error)
					 : open_disk(path, -1, options, block, error);
}

int block_open_fd(int fd, const char *path, const struct block_options *options,
		  struct block **block, struct error *error)
{
	if (fd < 0)
		return error_set_errno(error, EBADF, "%s", path);
	return open_disk(path, fd, options, block, error);
}

bool block_names_folder(const char *path)
{
	return fat_folder_is_named(path);
}

bool block_names_export(const char *path)
{
	return nbd_name_is_one(path);
}

int block_export_connect(const char *name, struct error *error)
{
	return nbd_connect(name, error);
}

int block_start(struct block *block, struct error *error)
{
	int result = thread_start(&block->thread, NULL, io_thread, block);

	if (result < 0)
		return error_set_errno(error, -result, "%s: cannot start the disk's I/O thread",
				       block->path);
	pthread_mutex_lock(&block->lock);
	block->is_started = true;
	pthread_mutex_unlock(&block->lock);
	return 0;
}

int block_close(struct block *block, struct error *error)
{
	int result;

	if (!block)
		return 0;
	if (block->watch)
		block->watch->disk_goes(block->watch);
	if (block->errors.watch.closes)
		block->errors.watch.closes(block->errors.watch.context, block);
	while (block->visitors)
		block->visitors->disk_goes(block->visitors);
	block_call(block, errors_give_up, block);
	if (block->is_started) {
		block_drain(block);
		event_loop_stop(block->loop);
		pthread_join(block->thread, NULL);
	}
	throttle_end(block);
	dirty_end(block->bitmaps);
	event_loop_remove(&block->transferred);
	ring_destroy(block->ring);
	workers_destroy(block->workers);
	event_signal_destroy(&block->wake);
	event_loop_destroy(block->loop);
	result = node_close(block->node);
	if (result < 0)
		error_set_errno(error, -result, "%s: could not be written back", block->path);
	pthread_cond_destroy(&block->changed);
	pthread_mutex_destroy(&block->freezing);
	pthread_mutex_destroy(&block->lock);
	free(block->path);
	free(block);
	return result;
}

void block_visit(struct block *block, struct block_visitor *visitor)
{
	visitor->next = block->visitors;
	block->visitors = visitor;
}

void block_leave(struct block *block, struct block_visitor *visitor)
{
	struct block_visitor **at = &block->visitors;

	while (*at != visitor)
		at = &(*at)->next;
	*at = visitor->next;
}

const struct block_info *block_info(const struct block *block)
{
	return &block->info;
}

uint64_t block_size(const struct block *block)
{
	return __atomic_load_n(&block->info.size_bytes, __ATOMIC_ACQUIRE);
}

void block_read_counts(const struct block *block, struct block_counts *counts)
{
	const uint64_t *from = (const uint64_t *)&block->counts;
	uint64_t *to = (uint64_t *)counts;
	size_t i;

	for (i = 0; i < sizeof(*counts) / sizeof(*to); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static bool is_io_thread(const struct block *block)
{
	return disk_of_this_thread == block;
}

void block_submit(struct block *block, struct block_request *const *requests, unsigned count)
{
	bool was_submitting;
	unsigned i;

	if (count == 0)
		return;
	__atomic_add_fetch(&block->outstanding, count, __ATOMIC_ACQ_REL);
	if (is_io_thread(block)) {
		was_submitting = block->is_submitting;
		block->is_submitting = true;
		for (i = 0; i < count; i++)
			throttle_arrive(block, requests[i]);
		block->is_submitting = was_submitting;
		if (block->ring)
			ring_submit(block->ring);
		return; /* what is done already completes in settle */
	}
	pthread_mutex_lock(&block->lock);
	for (i = 0; i < count; i++) {
		requests[i]->next = NULL;
		if (block->last_submitted)
			block->last_submitted->next = requests[i];
		else
			block->submitted = requests[i];
		block->last_submitted = requests[i];
	}
	event_signal_raise(&block->wake);
	pthread_mutex_unlock(&block->lock);
}

void block_drain(struct block *block)
{
	if (block->throttled)
		block_call(block, throttle_open, block->throttled);
	pthread_mutex_lock(&block->lock);
	while (block->is_started && __atomic_load_n(&block->outstanding, __ATOMIC_ACQUIRE) > 0)
		pthread_cond_wait(&block->changed, &block->lock);
	pthread_mutex_unlock(&block->lock);
	if (block->throttled)
		block_call(block, throttle_close, block->throttled);
}

struct event_loop *block_loop(struct block *block)
{
	return block->loop;
}

void block_call(struct block *block, void (*run)(void *context), void *context)
{
	struct disk_call call = {.run = run, .context = context};

	if (!block->is_started || is_io_thread(block)) {
		run(context);
		return;
	}
	pthread_mutex_lock(&block->lock);
	call.next = block->calls;
	block->calls = &call;
	event_signal_raise(&block->wake);
	while (!call.is_done)
		pthread_cond_wait(&block->changed, &block->lock);
	pthread_mutex_unlock(&block->lock);
}
