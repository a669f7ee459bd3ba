/*
 * `kvik image bench`: requests one after another, so many at once, and the time that they take, as qemu-img's.
 *
 * They go the way of a guest's, through the disk's I/O thread, which submits the next when one has completed. Each has
 * memory of its own.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "block/block.h"
#include "cli/commands.h"
#include "cli/image.h"
#include "util/clock.h"

struct bench_options {
	const char *name;
	struct image_names names;
	struct block_options open;
	uint64_t count, depth, offset, size, step, flush_interval;
	uint8_t pattern;
	bool is_write, does_not_drain;
};

struct bench;

struct bench_slot {
	struct bench *bench;
	struct block_request request, flush; /* the flush: one that others do not wait for */
	struct iovec vector;
	bool is_flushing;
};

struct bench {
	const struct bench_options *options;
	struct block *block;
	struct bench_slot *slots; /* owned, and their memory */
	uint64_t disk_size;
	/* On the I/O thread, once it has begun: */
	uint64_t offset, submitted, completed, since_flush, in_flight, flushes;
	bool wants_flush;
	int result; /* the first failure */

	pthread_mutex_t lock;
	pthread_cond_t ended;
	bool has_ended; /* guarded by the lock */
};

static void go_on(struct bench_slot *slot);

/* What is asked for next. A request that the disk's end would cut begins at its start. */
static uint64_t next_offset(struct bench *bench)
{
	uint64_t offset = bench->offset;

	if (offset > bench->disk_size || bench->options->size > bench->disk_size - offset)
		offset = 0;
	bench->offset = (offset + bench->options->step) % bench->disk_size;
	return offset;
}

static void end_if_done(struct bench *bench)
{
	bool is_all = bench->completed == bench->options->count || bench->result < 0;

	if (bench->in_flight || bench->flushes || !is_all)
		return;
	pthread_mutex_lock(&bench->lock);
	bench->has_ended = true;
	pthread_cond_signal(&bench->ended);
	pthread_mutex_unlock(&bench->lock);
}

static void note(struct bench *bench, int result)
{
	if (result < 0 && bench->result == 0)
		bench->result = result;
}

static void flushed(struct block_request *request, int result)
{
	struct bench_slot *slot = request->context;
	struct bench *bench = slot->bench;
	unsigned i;

	note(bench, result);
	slot->is_flushing = false;
	bench->flushes--;
	/* All others wait for one that the queue was emptied for. */
	if (!bench->options->does_not_drain)
		for (i = 0; i < bench->options->depth; i++)
			go_on(&bench->slots[i]);
	end_if_done(bench);
}

static void flush(struct bench_slot *slot)
{
	struct block_request *request = &slot->flush;

	*request = (struct block_request){.operation = BLOCK_FLUSH, .complete = flushed, .context = slot};
	slot->is_flushing = true;
	slot->bench->flushes++;
	slot->bench->wants_flush = false;
	block_submit(slot->bench->block, &request, 1);
}

static void completed(struct block_request *request, int result)
{
	struct bench_slot *slot = request->context;
	struct bench *bench = slot->bench;
	const struct bench_options *options = bench->options;

	note(bench, result);
	bench->in_flight--;
	bench->completed++;
	if (options->flush_interval && ++bench->since_flush == options->flush_interval) {
		bench->since_flush = 0;
		bench->wants_flush = true;
	}
	if (bench->wants_flush && bench->result == 0 && !slot->is_flushing &&
	    (options->does_not_drain || bench->in_flight == 0))
		flush(slot);
	go_on(slot);
	end_if_done(bench);
}

static struct block_request *next_request(struct bench_slot *slot)
{
	const struct bench_options *options = slot->bench->options;

	slot->request = (struct block_request){.operation = options->is_write ? BLOCK_WRITE : BLOCK_READ,
					       .offset = next_offset(slot->bench),
					       .size = options->size,
					       .vector = &slot->vector,
					       .vector_count = 1,
					       .complete = completed,
					       .context = slot};
	return &slot->request;
}

/* The slot's next request, unless there is none or a flush is to come first. */
static void go_on(struct bench_slot *slot)
{
	struct bench *bench = slot->bench;
	const struct bench_options *options = bench->options;
	bool waits = !options->does_not_drain && (bench->wants_flush || bench->flushes);
	struct block_request *request;

	if (waits || bench->result < 0 || bench->submitted == options->count)
		return;
	request = next_request(slot);
	bench->submitted++;
	bench->in_flight++;
	block_submit(bench->block, &request, 1);
}

/* The first of each slot, by this thread, before any can have completed here: all are given to the disk at once. */
static void begin(struct bench *bench, struct block_request **first)
{
	const struct bench_options *options = bench->options;
	unsigned i, count = options->depth < options->count ? options->depth : options->count;

	for (i = 0; i < count; i++)
		first[i] = next_request(&bench->slots[i]);
	bench->submitted = bench->in_flight = count;
	if (count)
		block_submit(bench->block, first, count);
	else
		bench->has_ended = true;
}

static int measure(struct bench *bench, double *seconds, struct error *error)
{
	const struct bench_options *options = bench->options;
	struct block_request **first = calloc(options->depth, sizeof(*first));
	uint8_t *memory = NULL;
	uint64_t start, i;
	int result = 0;

	bench->slots = calloc(options->depth, sizeof(*bench->slots));
	if (!first || !bench->slots ||
	    posix_memalign((void **)&memory, 4096, options->depth * options->size) != 0) {
		free(first);
		return error_set_errno(error, ENOMEM, "%s", options->name);
	}
	memset(memory, options->pattern, options->depth * options->size);
	for (i = 0; i < options->depth; i++) {
		bench->slots[i].bench = bench;
		bench->slots[i].vector = (struct iovec){memory + i * options->size, options->size};
	}
	result = block_start(bench->block, error);
	if (result == 0) {
		start = monotonic_ns();
		begin(bench, first);
		pthread_mutex_lock(&bench->lock);
		while (!bench->has_ended)
			pthread_cond_wait(&bench->ended, &bench->lock);
		pthread_mutex_unlock(&bench->lock);
		*seconds = (double)(monotonic_ns() - start) / 1e9;
		result = bench->result;
		if (result < 0)
			error_set_errno(error, -result, "Failed request");
		/* The last completion may not have returned yet. */
		block_drain(bench->block);
	}
	free(memory);
	free(first);
	return result;
}

static int run(const struct bench_options *options, struct error *error)
{
	struct bench bench = {.options = options, .offset = options->offset,
			      .lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
	struct block_options open = options->open;
	const char *path;
	double seconds = 0;
	int result = image_name_block(options->name, &options->names, &path, &open, error), closed;

	if (result == 0)
		result = block_open(path, &open, &bench.block, error);
	if (result < 0)
		return result;
	bench.disk_size = block_size(bench.block);
	if (options->size > bench.disk_size)
		result = error_set(error, EINVAL, "%s has %llu bytes, fewer than -s says", path, (unsigned long long)bench.disk_size);
	if (result == 0) {
		printf("Sending %llu %s requests, %llu bytes each, %llu in parallel (starting at offset %llu, step size %llu)\n",
		       (unsigned long long)options->count, options->is_write ? "write" : "read",
		       (unsigned long long)options->size, (unsigned long long)options->depth,
		       (unsigned long long)options->offset, (unsigned long long)options->step);
		if (options->flush_interval)
			printf("Sending flush every %llu requests\n", (unsigned long long)options->flush_interval);
		fflush(stdout);
		result = measure(&bench, &seconds, error);
	}
	closed = block_close(bench.block, result < 0 ? NULL : error);
	free(bench.slots);
	if (result == 0 && closed == 0)
		printf("Run completed in %3.3f seconds.\n", seconds);
	return result < 0 ? result : closed;
}

enum { OPTION_PATTERN = 256, OPTION_FLUSH, OPTION_NO_DRAIN };

/* A number without a unit, of at most an int. 0 or -EINVAL. */
static int take_number(const char *text, uint64_t *number)
{
	char *end;
	unsigned long value = strtoul(text, &end, 0);

	if (*text < '0' || *text > '9' || *end || value > INT_MAX)
		return -EINVAL;
	*number = value;
	return 0;
}

/* 0, or the exit status. */
static int take_option(struct bench_options *options, int option, char **arguments)
{
	uint64_t value;

	switch (option) {
	case 'c': return take_number(optarg, &options->count) < 0 ? image_usage("-c %.60s: how many requests?", optarg) : 0;
	case 'd':
		return take_number(optarg, &options->depth) < 0 || options->depth < 1 || options->depth > 4096
			       ? image_usage("-d %.60s: 1 to 4096 requests at once", optarg)
			       : 0;
	case 'f': options->open.format = optarg; return 0;
	case 'i':
		if (strcmp(optarg, "threads") == 0)
			options->open.aio = BLOCK_AIO_THREADS;
		else if (strcmp(optarg, "io_uring") == 0)
			options->open.aio = BLOCK_AIO_IO_URING;
		else if (strcmp(optarg, "native") != 0)
			return image_usage("-i %.60s: use threads, native or io_uring", optarg);
		return 0;
	case 'n': return 0; /* native, which is io_uring here wherever there is one */
	case 'o': return image_size_parse(optarg, &options->offset) < 0 ? image_usage("-o %.60s: that is no offset", optarg) : 0;
	case 'q': return 0;
	case 's':
		return image_size_parse(optarg, &options->size) < 0 || !options->size || options->size > BLOCK_REQUEST_MAX
			       ? image_usage("-s %.60s: 1 to %u bytes", optarg, (unsigned)BLOCK_REQUEST_MAX)
			       : 0;
	case 'S':
		return image_size_parse(optarg, &options->step) < 0 || options->step > INT_MAX
			       ? image_usage("-S %.60s: that is no step", optarg)
			       : 0;
	case 't':
		return block_cache_parse(optarg, &options->open.cache) < 0 ? image_usage("-t %.60s: no cache mode", optarg) : 0;
	case 'w': options->is_write = true; return 0;
	case 'U': options->open.unlocked = true; return 0;
	case OPTION_PATTERN:
		if (take_number(optarg, &value) < 0 || value > UINT8_MAX)
			return image_usage("--pattern=%.60s: 0 to 255", optarg);
		options->pattern = value;
		return 0;
	case OPTION_FLUSH:
		return take_number(optarg, &options->flush_interval) < 0
			       ? image_usage("--flush-interval=%.60s: after how many requests?", optarg)
			       : 0;
	case OPTION_NO_DRAIN: options->does_not_drain = true; return 0;
	default: return image_common_option(option, arguments, &options->names) ? image_usage_status() : 0;
	}
}

int image_command_bench(int count, char **arguments)
{
	static const struct option names[] = {{"pattern", required_argument, NULL, OPTION_PATTERN},
					      {"flush-interval", required_argument, NULL, OPTION_FLUSH},
					      {"no-drain", no_argument, NULL, OPTION_NO_DRAIN},
					      IMAGE_COMMON_OPTIONS,
					      {NULL}};
	struct bench_options options = {.count = 75000, .depth = 64, .size = 4096};
	struct error error;
	int option, status = 0;

	while (status == 0 && (option = getopt_long(count, arguments, "c:d:f:i:no:qs:S:t:wU", names, NULL)) != -1)
		status = take_option(&options, option, arguments);
	if (status)
		return status;
	if (count - optind != 1)
		return image_usage("image bench wants one image");
	if (options.flush_interval && !options.is_write)
		return image_usage("--flush-interval is only available in write tests");
	if (options.flush_interval && options.flush_interval < options.depth)
		return image_usage("Flush interval can't be smaller than depth");
	options.name = arguments[optind];
	options.open.readonly = !options.is_write;
	if (!options.step)
		options.step = options.size;
	return run(&options, &error) < 0 ? image_fail(&error) : EXIT_OK;
}
