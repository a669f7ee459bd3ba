#include "engine/run/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "engine/run/jit/kept/file.h"
#include "engine/run/jit/kept/shelf.h"
#include "engine/run/runner.h"
#include "util/file.h"

#define CODE_BYTES   (1u << 20) /* what it translates into */
#define RECORD_BYTES (256u << 10)
#define SAVE_AGAIN_MS 20000      /* while the VM runs */
#define SAVE_LEAST    256        /* records, new or used again, that are worth a file then */
#define SAVE_PART     8          /* likewise, of all that there are: so it is done seldom, however long the VM runs */
#define NAME_BYTES   256

/*
 * What a VM can have done, however much it asks for, in units of work: a translation is one for each of its instructions
 * and some more, and whatever is read is one. Each takes less than a microsecond or two, and a file is full
 * before half of them are used up.
 */
#define UNIT_BYTES 16 /* of the file's bound, for each unit */
#define MAKE_UNITS 4

/* What was asked for lately, and is not translated again: a guest that boots again asks for all of its kernel. */
#define ASKED 65536

/* Environments of one VM: as many again are left to the others that have the file. */
#define ENVIRONMENTS (KEPT_ENVIRONMENTS / 2)

struct keeper {
	uint64_t limit;
	struct kept_maker maker;
	struct run_vm vm;
	struct runner *runner;
	struct kept_file given; /* what the VM has */
	uint8_t *used;          /* a bit for each bucket of that: it was said to be of use. Owned */
	/* What was asked for: new records, and used ones of `given`. */
	struct kept_shelf shelf;
	unsigned unsaved;
	uint64_t units; /* that are left */
	uint64_t asked[ASKED]; /* hashes; who makes two equal ones goes without the other's translation */
	uint64_t record[RECORD_BYTES / 8];
	_Alignas(8) uint8_t batch[KEPT_BATCH];
};

/* -- the CPU that never runs -- */

static bool no_page(void *context, uint64_t gpa, struct cpu_page *page)
{
	(void)context, (void)gpa, (void)page;
	return false;
}

static const struct cpu_platform platform = { .page_lookup = no_page };

static int create_runner(struct keeper *keeper)
{
	struct jit_options options = JIT_OPTIONS_DEFAULT;
	int result;

	options.cache_size = CODE_BYTES;
	run_vm_init(&keeper->vm, &options);
	keeper->runner = aligned_alloc(64, (sizeof(*keeper->runner) + 63) & ~(size_t)63);
	if (!keeper->runner)
		return -ENOMEM;
	memset(keeper->runner, 0, sizeof(*keeper->runner));
	result = runner_create(keeper->runner, &keeper->vm, RUN_TRANSLATED, 0, NULL, &platform, NULL);
	if (result == 0)
		return 0;
	free(keeper->runner);
	keeper->runner = NULL;
	return result;
}

int keeper_create(uint64_t limit, struct keeper **created)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));
	int result;

	if (!keeper)
		return -ENOMEM;
	keeper->limit = limit < KEPT_SIZE_MAX ? limit : KEPT_SIZE_MAX;
	result = kept_maker_describe(&keeper->maker) ? create_runner(keeper) : -ENOTSUP;
	if (result < 0) {
		keeper_destroy(keeper);
		return result;
	}
	kept_shelf_init(&keeper->shelf, keeper->limit, ENVIRONMENTS);
	*created = keeper;
	return 0;
}

void keeper_destroy(struct keeper *keeper)
{
	if (keeper->runner) {
		runner_destroy(keeper->runner);
		free(keeper->runner);
	}
	if (keeper->vm.options.cache_size)
		run_vm_destroy(&keeper->vm);
	free(keeper);
}

/* For a VM, which was given this. */
static bool begin(struct keeper *keeper, int given)
{
	memset(keeper->asked, 0, sizeof(keeper->asked));
	keeper->unsaved = 0;
	keeper->units = keeper->limit / UNIT_BYTES;
	if (given < 0 || !kept_file_map(&keeper->given, given, &keeper->maker))
		return true;
	keeper->used = calloc(1, kept_header(&keeper->given)->bucket_count / 8 + 1);
	return keeper->used;
}

static void end(struct keeper *keeper)
{
	kept_shelf_free(&keeper->shelf);
	kept_file_unmap(&keeper->given);
	free(keeper->used);
	keeper->used = NULL;
}

/* -- requests -- */

/* False: there is not so much left. */
static bool charge(struct keeper *keeper, unsigned units)
{
	bool is_left = keeper->units >= units;

	keeper->units -= is_left ? units : keeper->units;
	return is_left;
}

static bool was_asked(struct keeper *keeper, const struct kept_environment *environment,
		      const struct kept_request *request)
{
	uint64_t hash = kept_check(request, request->size) ^ kept_check(environment, sizeof(*environment)) >> 1;
	uint64_t *last = &keeper->asked[hash % ASKED];
	bool was = *last == hash;

	*last = hash;
	return was;
}

static void make(struct keeper *keeper, const struct kept_environment *environment,
		 const struct kept_request *request)
{
	uint8_t *record = (uint8_t *)keeper->record;
	struct kept_parts parts;
	size_t size = jit_make_record(&keeper->runner->cpu.cpu, environment, request,
				      (const uint8_t *)(request + 1), record, sizeof(keeper->record));

	if (!size)
		return;
	((struct kept_record *)record)->check = kept_record_check((struct kept_record *)record);
	if (kept_record_divide(record, size, &parts) &&
	    kept_shelf_add(&keeper->shelf, environment, &parts, KEPT_NEW, true) == KEPT_ADDED)
		keeper->unsaved++;
}

/* A record is looked at once, however often it is of use; and a VM finds only those of its environment. */
static void use(struct keeper *keeper, const struct kept_environment *environment,
		const struct kept_request *request)
{
	uint32_t bucket = (uint32_t)request->granules;
	const struct kept_header *header = kept_header(&keeper->given);
	struct kept_parts parts;

	if (!keeper->given.bytes || request->granules >= header->bucket_count ||
	    keeper->used[bucket / 8] >> bucket % 8 & 1)
		return;
	keeper->used[bucket / 8] |= (uint8_t)(1u << bucket % 8);
	if (kept_record_in(&keeper->given, bucket, &parts) && kept_record_is_whole(&parts) &&
	    (int)parts.record->environment == kept_find_environment(&keeper->given, environment) &&
	    kept_shelf_add(&keeper->shelf, environment, &parts, KEPT_NEW, false) == KEPT_ADDED)
		keeper->unsaved++;
}

/* False: it makes no sense, or is too much. */
static bool take_request(struct keeper *keeper, const struct kept_environment *environment,
			 const struct kept_request *request)
{
	size_t behind = request->size - sizeof(*request);

	if (!charge(keeper, 1))
		return false;
	if (request->kind == KEPT_USED && !behind) {
		use(keeper, environment, request);
		return true;
	}
	if (request->kind != KEPT_MAKE || behind != (size_t)__builtin_popcountll(request->granules) * 64)
		return false;
	if (was_asked(keeper, environment, request))
		return true;
	if (!charge(keeper, MAKE_UNITS + request->count))
		return false;
	make(keeper, environment, request);
	return true;
}

/* The same. */
static bool take_batch(struct keeper *keeper, const struct kept_batch *batch)
{
	const uint8_t *bytes = (const uint8_t *)batch;
	size_t at = sizeof(*batch);

	if (!charge(keeper, 1) || !kept_environment_is_sensible(&batch->environment))
		return false;
	while (at < batch->size) {
		const struct kept_request *request = (const struct kept_request *)(bytes + at);
		size_t left = batch->size - at;

		if (left < sizeof(*request) || request->size < sizeof(*request) || request->size > left ||
		    request->size % 8 || !take_request(keeper, &batch->environment, request))
			return false;
		at += request->size;
	}
	return true;
}

static bool read_all(int fd, void *to, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t count = read(fd, (uint8_t *)to + done, size - done);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return false;
		done += (size_t)count;
	}
	return true;
}

static bool serve_batch(struct keeper *keeper, int requests)
{
	struct kept_batch *batch = (struct kept_batch *)keeper->batch;

	if (!read_all(requests, batch, sizeof(*batch)) || batch->size < sizeof(*batch) ||
	    batch->size > KEPT_BATCH || batch->size % 8)
		return false;
	return read_all(requests, batch + 1, batch->size - sizeof(*batch)) && take_batch(keeper, batch);
}

/* -- the file -- */

/* What the file has now, which may be another VM's keeper's. */
static void add_present(struct keeper *keeper, struct kept_shelf *all, struct kept_file *present, int directory,
			const char *name)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return;
	if (kept_file_map(present, fd, &keeper->maker))
		kept_shelf_add_file(all, present);
	close(fd);
}

static void replace(int directory, const char *name, const struct kept_shelf *all, const struct kept_maker *maker,
		    uint32_t run)
{
	char temporary[NAME_BYTES + 8];
	bool is_whole;
	int fd;

	snprintf(temporary, sizeof(temporary), "%s.new", name);
	unlinkat(directory, temporary, 0);
	fd = openat(directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return;
	is_whole = kept_shelf_write(all, maker, run, fd) == 0;
	close(fd);
	if (!is_whole || renameat(directory, temporary, directory, name) < 0)
		unlinkat(directory, temporary, 0);
}

/* One keeper at a time: the lock goes with its descriptor, however that ends. */
static void save(struct keeper *keeper, int directory, const char *name)
{
	struct kept_file present = { NULL, 0, false };
	struct kept_shelf all;

	if (!keeper->unsaved)
		return;
	kept_shelf_init(&all, keeper->limit, KEPT_ENVIRONMENTS);
	kept_shelf_add_shelf(&all, &keeper->shelf);
	if (flock(directory, LOCK_EX) < 0) {
		kept_shelf_free(&all);
		return;
	}
	add_present(keeper, &all, &present, directory, name);
	replace(directory, name, &all, &keeper->maker, present.bytes ? kept_header(&present)->run + 1 : 1);
	kept_shelf_free(&all);
	kept_file_unmap(&present);
	flock(directory, LOCK_UN);
	keeper->unsaved = 0;
}

static bool is_worth_saving(const struct keeper *keeper)
{
	return keeper->unsaved >= SAVE_LEAST && keeper->unsaved >= keeper->shelf.count / SAVE_PART;
}

static void serve(struct keeper *keeper, int requests, int directory, const char *name)
{
	struct pollfd ready = { .fd = requests, .events = POLLIN };

	for (;;) {
		int count = poll(&ready, 1, SAVE_AGAIN_MS);

		if (count < 0 && errno == EINTR)
			continue;
		if (count == 0 && is_worth_saving(keeper))
			save(keeper, directory, name);
		if (count == 0)
			continue;
		if (count < 0 || !serve_batch(keeper, requests))
			break;
	}
	save(keeper, directory, name);
}

void keeper_serve(struct keeper *keeper, int requests, int directory, const char *name, int given)
{
	if (strlen(name) >= NAME_BYTES)
		return;
	if (begin(keeper, given))
		serve(keeper, requests, directory, name);
	end(keeper);
}
