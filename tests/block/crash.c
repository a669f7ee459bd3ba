/*
 * Promise: whenever the monitor is killed (SIGKILL, at any moment), all that was flushed is on the disk,
 * nothing is there that was never written, and the image's structure is sound but for leaked clusters.
 *
 * usage: crash [--rounds N] [--seed N] [--folder PATH] [VARIANT...]
 *
 * A child writes to an image, many requests at once, in batches, and tells of each batch when it was
 * flushed. The parent kills it after a random time, opens the image, and compares every sector with
 * what it may hold: the last batch that was told, with any part of the one after. Then the next round
 * goes on with the same image. The structure is checked by kvik and, where it is there, by qemu-img.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "block/block.h"
#include "block/image.h"
#include "../block_wait.h"

#define DISK_BYTES   (12u << 20)
#define SECTORS	     (DISK_BYTES / 512)
#define BATCH_OPS    24
#define OP_SECTORS   400
#define WORDS	     64 /* of a sector */

struct variant {
	const char *name;
	uint64_t cluster_size;
	unsigned version;
	bool is_extended, is_lazy, has_backing, has_data_file, is_raw;
	enum block_cache cache;
	enum block_aio aio;
};

static const struct variant variants[] = {
	{"plain", 65536, 3},
	{"backing", 65536, 3, .has_backing = true},
	{"small-clusters", 512, 3, .has_backing = true},
	{"version-2", 4096, 2, .has_backing = true},
	{"extended", 32768, 3, .is_extended = true, .has_backing = true},
	{"lazy", 16384, 3, .is_lazy = true, .has_backing = true},
	{"data-file", 65536, 3, .has_data_file = true, .has_backing = true},
	{"threads", 16384, 3, .has_backing = true, .aio = BLOCK_AIO_THREADS},
	{"direct", 16384, 3, .has_backing = true, .cache = BLOCK_CACHE_NONE},
	{"write-through", 16384, 3, .has_backing = true, .cache = BLOCK_CACHE_WRITETHROUGH},
	{"raw", 0, 0, .is_raw = true},
};

#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

/* What a batch does; the same in the child and the parent, by its number alone. */
struct op {
	enum block_operation operation;
	uint32_t first, count; /* sectors */
	unsigned flags;
};

static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9ull;
	value = (value ^ value >> 27) * 0x94d049bb133111ebull;
	return value ^ value >> 31;
}

static uint64_t draw(uint64_t *state)
{
	return mix(*state += 0x9e3779b97f4a7c15ull);
}

/* What batch `batch` writes into a sector; never 0. */
static uint64_t stamp(uint64_t batch, uint32_t sector)
{
	return mix(batch << 32 | sector) | 1;
}

/* Ranges that don't overlap, near one another so that they share clusters. */
static unsigned make_batch(uint64_t batch, struct op *ops)
{
	uint64_t state = mix(batch + 12345);
	uint32_t at = draw(&state) % SECTORS;
	unsigned count;

	for (count = 0; count < BATCH_OPS; count++) {
		unsigned kind = draw(&state) % 16;
		struct op *op = &ops[count];

		op->operation = kind < 12   ? BLOCK_WRITE
				: kind < 14 ? BLOCK_WRITE_ZEROES
					    : BLOCK_DISCARD;
		op->flags = kind % 2 ? BLOCK_UNMAP : 0;
		op->first = at;
		op->count = 1 + draw(&state) % (draw(&state) % 4 ? 24 : OP_SECTORS);
		if (op->count > SECTORS - at)
			break;
		at += op->count + (draw(&state) % 3 ? 0 : draw(&state) % 512);
		if (at >= SECTORS)
			return count + 1;
	}
	return count;
}

/* ---- The child ---- */

struct flight {
	struct block_request request;
	struct iovec vector;
	uint64_t *data;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t landed = PTHREAD_COND_INITIALIZER;
static unsigned in_flight;

static void complete(struct block_request *request, int result)
{
	(void)request;
	if (result < 0) {
		fprintf(stderr, "crash: a request failed: %s\n", strerror(-result));
		_exit(2);
	}
	pthread_mutex_lock(&lock);
	in_flight--;
	pthread_cond_signal(&landed);
	pthread_mutex_unlock(&lock);
}

static void write_batch(struct block *block, uint64_t batch, struct flight *flights)
{
	struct block_request *requests[BATCH_OPS];
	struct op ops[BATCH_OPS];
	unsigned count = make_batch(batch, ops), i, k, w;

	for (i = 0; i < count; i++) {
		struct flight *flight = &flights[i];

		for (k = 0; k < ops[i].count; k++)
			for (w = 0; w < WORDS; w++)
				flight->data[k * WORDS + w] = stamp(batch, ops[i].first + k);
		flight->vector = (struct iovec){flight->data, ops[i].count * 512};
		flight->request = (struct block_request){
			.operation = ops[i].operation,
			.flags = ops[i].flags,
			.offset = ops[i].first * 512ull,
			.size = ops[i].count * 512ull,
			.vector = &flight->vector,
			.vector_count = 1,
			.complete = complete,
		};
		requests[i] = &flight->request;
	}
	in_flight = count;
	block_submit(block, requests, count);
	pthread_mutex_lock(&lock);
	while (in_flight > 0)
		pthread_cond_wait(&landed, &lock);
	pthread_mutex_unlock(&lock);
}

static void child(const char *path, const struct variant *variant, uint64_t batch, int out)
{
	struct block_options options = {.format = variant->is_raw ? "raw" : "qcow2",
					.discard = true,
					.cache = variant->cache,
					.aio = variant->aio};
	struct flight *flights = calloc(BATCH_OPS, sizeof(*flights));
	struct error error;
	struct block *block;
	unsigned i;

	for (i = 0; i < BATCH_OPS; i++)
		flights[i].data = aligned_alloc(4096, OP_SECTORS * 512 + 4096);
	if (block_open(path, &options, &block, &error) < 0 || block_start(block, &error) < 0) {
		fprintf(stderr, "crash: %s\n", error.message);
		_exit(2);
	}
	for (;; batch++) {
		write_batch(block, batch, flights);
		if (block_flush(block) < 0 || write(out, &batch, sizeof(batch)) != sizeof(batch))
			_exit(2);
	}
}

/* ---- The parent ---- */

/* What sectors hold: a stamp, 0, or, after a discard, either. */
struct model {
	uint64_t value[SECTORS];
	bool maybe_zero[SECTORS];
};

static void apply(struct model *model, uint64_t batch)
{
	struct op ops[BATCH_OPS];
	unsigned count = make_batch(batch, ops), i;
	uint32_t k;

	for (i = 0; i < count; i++)
		for (k = ops[i].first; k < ops[i].first + ops[i].count; k++) {
			if (ops[i].operation == BLOCK_DISCARD) {
				model->maybe_zero[k] = true;
				continue;
			}
			model->maybe_zero[k] = false;
			model->value[k] = ops[i].operation == BLOCK_WRITE ? stamp(batch, k) : 0;
		}
}

static bool may_hold(const struct model *model, uint32_t sector, uint64_t value)
{
	return value == model->value[sector] || (value == 0 && model->maybe_zero[sector]);
}

static bool verify(const char *path, const struct variant *variant, struct model *model,
		   uint64_t done, bool has_told)
{
	struct block_options options = {.format = variant->is_raw ? "raw" : "qcow2"};
	static struct model next;
	uint64_t *data = malloc(DISK_BYTES), value;
	struct error error;
	struct node *image;
	unsigned w, bad = 0;
	uint32_t k;

	next = *model;
	apply(&next, has_told ? done + 1 : done);
	/* Opened for writing: as a monitor would go on, with whatever repair that means. */
	if (image_open(path, &options, 0, &image, &error) < 0) {
		printf("cannot open: %s\n", error.message);
		free(data);
		return false;
	}
	if (image_read(image, 0, data, DISK_BYTES) < 0) {
		printf("cannot read\n");
		bad++;
	}
	for (k = 0; k < SECTORS && bad < 5; k++) {
		value = data[k * WORDS];
		for (w = 1; w < WORDS && data[k * WORDS + w] == value; w++)
			;
		if (w < WORDS) {
			printf("sector %u is torn\n", k);
			bad++;
		} else if (!may_hold(model, k, value) && !may_hold(&next, k, value)) {
			printf("sector %u holds %#lx; %#lx was flushed, %#lx was under way\n", k,
			       value, model->value[k], next.value[k]);
			bad++;
		}
		model->value[k] = value;
		model->maybe_zero[k] = false;
	}
	if (image_close(image) < 0)
		bad++;
	free(data);
	return bad == 0;
}

static void say(void *context, const char *line)
{
	(void)context;
	printf("%s\n", line);
}

static bool check(const char *path, bool after_repair)
{
	struct block_options options = {.format = "qcow2", .readonly = true};
	struct image_check found;
	char command[512];
	struct error error;
	struct node *image;
	int status;

	if (image_open(path, &options, IMAGE_FOR_CHECK, &image, &error) < 0 ||
	    image_check(image, IMAGE_REPAIR_NONE, &found, NULL, NULL, &error) < 0) {
		printf("check: %s\n", error.message);
		return false;
	}
	if (found.corruptions > 0)
		image_check(image, IMAGE_REPAIR_NONE, &found, say, NULL, &error);
	image_close(image);
	if (found.corruptions > 0 || (after_repair && found.leaks > 0)) {
		printf("check: %lu corruptions, %lu leaks\n", found.corruptions, found.leaks);
		return false;
	}
	snprintf(command, sizeof(command),
		 "command -v qemu-img >/dev/null || exit 0; qemu-img check -q -f qcow2 %s >/dev/null 2>&1", path);
	status = system(command);
	/* 3: leaks and nothing else. */
	if (WEXITSTATUS(status) != 0 && (after_repair || WEXITSTATUS(status) != 3)) {
		printf("qemu-img check: status %d\n", WEXITSTATUS(status));
		return false;
	}
	return true;
}

static bool run_round(const char *path, const struct variant *variant, struct model *model,
		      uint64_t *batch, uint64_t *random_state)
{
	unsigned wait_us = draw(random_state) % (draw(random_state) % 4 ? 60000 : 600000);
	uint64_t told, last = 0;
	bool has_told = false;
	int pipes[2], status;
	pid_t pid;

	fflush(stdout);
	if (pipe(pipes) < 0 || (pid = fork()) < 0) {
		perror("crash");
		return false;
	}
	if (pid == 0) {
		close(pipes[0]);
		child(path, variant, *batch, pipes[1]);
	}
	close(pipes[1]);
	/* The time runs from the first batch on, or some rounds would see none. */
	if (draw(random_state) % 8 && read(pipes[0], &told, sizeof(told)) == sizeof(told)) {
		apply(model, told);
		last = told;
		has_told = true;
	}
	usleep(wait_us);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	while (read(pipes[0], &told, sizeof(told)) == sizeof(told)) {
		apply(model, told);
		last = told;
		has_told = true;
	}
	close(pipes[0]);
	if (!WIFSIGNALED(status)) {
		printf("the writer ended by itself\n");
		return false;
	}
	/* With the dirty bit refcounts are nobody's business before the repair. */
	if (!variant->is_raw && !variant->is_lazy && !check(path, false))
		return false;
	if (!verify(path, variant, model, has_told ? last : *batch, has_told))
		return false;
	if (variant->is_lazy && !check(path, true))
		return false;
	*batch = (has_told ? last : *batch) + 2;
	return true;
}

static int make(const char *folder, const struct variant *variant, struct model *model, char *path)
{
	struct image_creation creation = {
		.format = variant->is_raw ? "raw" : "qcow2",
		.size = DISK_BYTES,
		.version = variant->version,
		.cluster_size = variant->cluster_size,
		.refcount_bits = 16,
		.is_extended = variant->is_extended,
		.is_lazy = variant->is_lazy,
		.compression = "zlib",
		.backing = variant->has_backing ? "base" : NULL,
		.backing_format = variant->has_backing ? "raw" : NULL,
	};
	char data_file[300];
	struct image_creation base = {.format = "raw", .size = DISK_BYTES};
	struct block_options options = {.format = "raw"};
	uint64_t *data = malloc(DISK_BYTES);
	char name[300];
	struct error error;
	struct node *image;
	uint32_t k, w;
	int result = 0;

	snprintf(data_file, sizeof(data_file), "%s/data", folder);
	if (variant->has_data_file)
		creation.data_file = data_file;
	for (k = 0; k < SECTORS; k++) {
		model->value[k] = variant->has_backing ? stamp(1, k) : 0;
		model->maybe_zero[k] = false;
		for (w = 0; w < WORDS; w++)
			data[k * WORDS + w] = model->value[k];
	}
	snprintf(name, sizeof(name), "%s/base", folder);
	if (variant->has_backing) {
		result = image_create(name, &base, &error);
		if (result == 0)
			result = image_open(name, &options, 0, &image, &error);
		if (result == 0) {
			image_write(image, 0, data, DISK_BYTES);
			image_close(image);
		}
	}
	free(data);
	sprintf(path, "%s/image", folder);
	if (result == 0)
		result = image_create(path, &creation, &error);
	if (result < 0)
		printf("%s\n", error.message);
	return result;
}

static bool run_variant(const char *folder, const struct variant *variant, unsigned rounds,
			uint64_t seed)
{
	static struct model model;
	uint64_t batch = 1000, state = seed;
	struct error error = {""};
	struct block_options options = {.format = "qcow2"};
	struct image_check found;
	struct node *image;
	char path[300];
	unsigned i;

	if (make(folder, variant, &model, path) < 0)
		return false;
	for (i = 0; i < rounds; i++) {
		/* Half of the way with a snapshot, which everything written is copied for. */
		bool has_snapshots = !variant->is_raw && !variant->has_data_file && i > 0;

		if (has_snapshots && i % 4 == 1) {
			if (image_open(path, &options, 0, &image, &error) < 0 ||
			    image_snapshot_create(image, "s", &error) < 0 || image_close(image) < 0) {
				printf("snapshot: %s\n", error.message);
				return false;
			}
		} else if (has_snapshots && i % 4 == 3) {
			if (image_open(path, &options, 0, &image, &error) < 0 ||
			    image_snapshot_delete(image, "s", &error) < 0 || image_close(image) < 0) {
				printf("snapshot: %s\n", error.message);
				return false;
			}
		}
		if (!run_round(path, variant, &model, &batch, &state)) {
			printf("FAIL %s in round %u; the image is kept: %s\n", variant->name, i, path);
			return false;
		}
	}
	if (!variant->is_raw) {
		if (image_open(path, &options, 0, &image, &error) < 0 ||
		    image_check(image, IMAGE_REPAIR_LEAKS, &found, NULL, NULL, &error) < 0 ||
		    image_close(image) < 0 || !check(path, true)) {
			printf("FAIL %s: leaks stay: %s\n", variant->name, error.message);
			return false;
		}
	}
	printf("PASS %s: %u rounds, %lu batches\n", variant->name, rounds, batch - 1000);
	return true;
}

int main(int count, char **arguments)
{
	static const struct option options[] = {{"rounds", required_argument, NULL, 'r'},
						{"seed", required_argument, NULL, 's'},
						{"folder", required_argument, NULL, 'f'},
						{NULL}};
	unsigned rounds = 3, i, failed = 0;
	uint64_t seed = time(NULL);
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	char folder[256], command[300];
	int option, k;

	while ((option = getopt_long(count, arguments, "", options, NULL)) != -1)
		switch (option) {
		case 'r': rounds = atoi(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'f': base = optarg; break;
		default: return 2;
		}
	printf("seed %lu\n", seed);
	for (i = 0; i < VARIANTS; i++) {
		bool is_wanted = optind == count;

		for (k = optind; k < count; k++)
			is_wanted |= strcmp(arguments[k], variants[i].name) == 0;
		if (!is_wanted)
			continue;
		snprintf(folder, sizeof(folder), "%s/kvik-crash-XXXXXX", base);
		if (!mkdtemp(folder)) {
			perror(folder);
			return 1;
		}
		if (!run_variant(folder, &variants[i], rounds, seed + i)) {
			failed++;
			continue;
		}
		snprintf(command, sizeof(command), "rm -rf %s", folder);
		if (system(command) != 0)
			failed++;
		fflush(stdout);
	}
	return failed > 0;
}
