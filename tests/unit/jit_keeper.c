/*
 * The keeper and a VM that its guest owns: whatever comes by the pipe, the file has right translations of guest bytes
 * that were named, and the work for it is bounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "engine/run/jit/kept/shelf.h"
#include "engine/run/keeper.h"
#include "engine/run/runner.h"

#define MODE64     (CPU_MODE_CODE64 | CPU_MODE_PROTECTED | CPU_MODE_LONG)
#define START      0x100
#define LIMIT      (16u << 20)
#define PIPE_BYTES (1 << 20)
#define RECORDS    40

static const struct kept_environment environment = { .flags = KEPT_HAS_LZCNT | KEPT_HAS_TZCNT };
static struct kept_maker maker;
static char directory_name[] = "/tmp/kvik-keeper-XXXXXX";
static int directory;

/* What a VM writes into the pipe. */
static struct {
	_Alignas(8) uint8_t bytes[PIPE_BYTES];
	size_t size;
} said;

static int start(void **state)
{
	(void)state;
	if (!mkdtemp(directory_name))
		return -1;
	directory = open(directory_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return directory < 0 || !kept_maker_describe(&maker);
}

static int stop(void **state)
{
	(void)state;
	unlinkat(directory, "code", 0);
	close(directory);
	return rmdir(directory_name);
}

/* -- a VM's words -- */

static void *say(size_t size)
{
	void *at = said.bytes + said.size;

	assert_true(said.size + size <= sizeof(said.bytes));
	memset(at, 0, size);
	said.size += size;
	return at;
}

static struct kept_batch *begin_batch(const struct kept_environment *of)
{
	struct kept_batch *batch = say(sizeof(*batch));

	batch->size = sizeof(*batch);
	batch->environment = *of;
	return batch;
}

static void say_used(struct kept_batch *batch, uint64_t bucket)
{
	struct kept_request *request = say(sizeof(*request));

	*request = (struct kept_request){ .size = sizeof(*request), .kind = KEPT_USED, .granules = bucket };
	batch->size += sizeof(*request);
}

/* 16 bytes that are all the same, of which the hash is, and two that are not; mov eax, number; ret. */
static void say_make(struct kept_batch *batch, uint32_t number)
{
	struct kept_request *request = say(sizeof(*request) + 64);
	uint8_t *code = (uint8_t *)(request + 1);

	*request = (struct kept_request){
		.size = sizeof(*request) + 64, .kind = KEPT_MAKE, .start = START, .mode = MODE64, .count = 20,
		.is_lean = 1, .granules = 1ull << START / 64,
	};
	memset(code, 0x90, 64);
	code[16] = 0xb8;
	memcpy(code + 17, &number, 4);
	code[21] = 0xc3;
	batch->size += request->size;
}

/* Let a keeper hear that, who has the file that there is if it `has` one. The bytes that it did not read. */
static int serve(struct keeper *keeper, bool has_given)
{
	int ends[2], given = has_given ? openat(directory, "code", O_RDONLY | O_CLOEXEC) : -1, left;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_in_range(fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES), said.size, INT32_MAX);
	assert_int_equal(write(ends[1], said.bytes, said.size), said.size);
	close(ends[1]);
	keeper_serve(keeper, ends[0], directory, "code", given);
	assert_int_equal(ioctl(ends[0], FIONREAD, &left), 0);
	close(ends[0]);
	if (given >= 0)
		close(given);
	said.size = 0;
	return left;
}

static int serve_once(uint64_t limit, bool has_given)
{
	struct keeper *keeper;
	int left;

	assert_int_equal(keeper_create(limit, &keeper), 0);
	left = serve(keeper, has_given);
	keeper_destroy(keeper);
	return left;
}

/* -- the file -- */

static bool open_file(struct kept_file *file)
{
	int fd = openat(directory, "code", O_RDONLY | O_CLOEXEC);
	bool is_one = fd >= 0 && kept_file_map(file, fd, &maker);

	if (fd >= 0)
		close(fd);
	return is_one;
}

/* A file of records, of several hashes. */
static void make_file(struct kept_file *file)
{
	struct kept_batch *batch;

	unlinkat(directory, "code", 0);
	for (unsigned i = 0; i < RECORDS; i++) {
		batch = begin_batch(&environment);
		say_make(batch, i);
		/* xchg rax, ... */
		((uint8_t *)(batch + 1))[sizeof(struct kept_request)] = (uint8_t)(0x90 + i % 8);
	}
	assert_int_equal(serve_once(LIMIT, false), 0);
	assert_true(open_file(file));
	assert_int_equal(kept_header(file)->record_count, RECORDS);
}

static bool is_same(const struct kept_file *a, const struct kept_record *x, const struct kept_file *b,
		    const struct kept_record *y)
{
	struct kept_record of_x = *x, of_y = *y;
	const struct kept_environment *in_x = &kept_header(a)->environments[x->environment];
	const struct kept_environment *in_y = &kept_header(b)->environments[y->environment];

	of_x.run = of_y.run = 0;
	of_x.environment = of_y.environment = 0;
	of_x.check = of_y.check = 0;
	return !memcmp(&of_x, &of_y, sizeof(of_x)) && !memcmp(x + 1, y + 1, x->size - sizeof(*x)) &&
	       !memcmp(in_x, in_y, sizeof(*in_x));
}

/* Whether the files have the same records, but for when they were used. */
static void assert_same_records(const struct kept_file *a, const struct kept_file *b)
{
	struct kept_parts mine, other;
	unsigned count = 0;

	for (uint32_t i = 0; i < kept_header(a)->bucket_count; i++) {
		uint32_t next = 0, bucket;
		bool is_found = false;

		if (!kept_record_in(a, i, &mine))
			continue;
		assert_true(kept_record_is_whole(&mine));
		while ((bucket = kept_find(b, mine.record->hash, &next)) != KEPT_NONE && !is_found)
			is_found = kept_record_in(b, bucket, &other) && is_same(a, mine.record, b, other.record);
		assert_true(is_found);
		count++;
	}
	assert_int_equal(count, kept_header(a)->record_count);
	assert_int_equal(count, kept_header(b)->record_count);
}

/* -- forgery -- */

/* A record of somebody's code, with host code of the guest's choice, spread over environments that a VM may have. */
static void forge(struct kept_environment environments[KEPT_ENVIRONMENTS])
{
	struct {
		struct kept_record record;
		struct kept_range range;
		uint8_t rest[4]; /* up to a multiple of 8: here are the flags of the first environment */
		uint8_t bytes[16], code[72];
	} forged;

	_Static_assert(offsetof(struct kept_header, environments) % 8 == 0, "a record can begin there");
	_Static_assert(offsetof(__typeof__(forged), rest) == offsetof(struct kept_environment, flags), "flags");
	memset(environments, 0, sizeof(*environments) * KEPT_ENVIRONMENTS);
	memset(&forged, 0x55, sizeof(forged));
	forged.record = (struct kept_record){
		.size = sizeof(forged), .hash = 0x12345678, .mode = MODE64, .start = 0x200, .guest_size = 16,
		.code_size = sizeof(forged.code), .range_count = 1,
	};
	forged.range = (struct kept_range){ 0x200, sizeof(forged.bytes) };
	memcpy(environments, &forged, sizeof(forged));
	for (unsigned i = 0; i < KEPT_ENVIRONMENTS; i++)
		environments[i].flags = KEPT_HAS_FEATURES | i << 1;
	memcpy(&forged, environments, sizeof(forged));
	forged.record.check = kept_record_check(&forged.record);
	memcpy((uint8_t *)environments + offsetof(struct kept_record, check), &forged.record.check, 8);
}

/* The file that there is, with these environments besides its own. */
static void add_environments(const struct kept_environment environments[KEPT_ENVIRONMENTS])
{
	struct kept_shelf shelf;
	struct kept_file file;
	int fd;

	assert_true(open_file(&file));
	kept_shelf_init(&shelf, LIMIT, KEPT_ENVIRONMENTS);
	memcpy(shelf.environments, environments, sizeof(shelf.environments));
	shelf.environments[KEPT_ENVIRONMENTS - 1] = environment;
	shelf.environment_count = KEPT_ENVIRONMENTS;
	kept_shelf_add_file(&shelf, &file);
	assert_int_equal(shelf.count, RECORDS);
	unlinkat(directory, "code", 0);
	fd = openat(directory, "code", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(kept_shelf_write(&shelf, &maker, 7, fd), 0);
	close(fd);
	kept_shelf_free(&shelf);
	kept_file_unmap(&file);
}

/* Words about every place of a file, its header with a forged record included, add nothing to it. */
static void only_what_the_index_names_is_a_record(void **state)
{
	struct kept_environment environments[KEPT_ENVIRONMENTS];
	struct kept_file before, after;
	struct kept_parts parts;

	(void)state;
	make_file(&before);
	kept_file_unmap(&before);
	forge(environments);
	add_environments(environments);
	assert_true(open_file(&before));
	/* Who believed in places would take it for one. */
	assert_true(kept_record_divide(kept_header(&before)->environments, sizeof(environments), &parts));
	assert_true(kept_record_is_whole(&parts));
	for (unsigned of = 0; of < KEPT_ENVIRONMENTS; of++) {
		const uint64_t beyond[] = { KEPT_NONE, 1ull << 32, UINT64_MAX, (1ull << 32) + 112 / 8 };
		struct kept_batch *batch = begin_batch(&kept_header(&before)->environments[of]);

		for (size_t at = 0; at <= before.size; at += 8) {
			if (batch->size > KEPT_BATCH - sizeof(struct kept_request))
				batch = begin_batch(&kept_header(&before)->environments[of]);
			say_used(batch, at / 8);
		}
		batch = begin_batch(&kept_header(&before)->environments[of]);
		for (unsigned i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++)
			say_used(batch, beyond[i]);
		assert_int_equal(serve_once(LIMIT, true), 0);
		assert_true(open_file(&after));
		assert_same_records(&before, &after);
		kept_file_unmap(&after);
	}
	assert_true(open_file(&after));
	assert_int_equal(kept_header(&after)->run, 8);
	kept_file_unmap(&after);
	kept_file_unmap(&before);
}

/* A VM says nothing about the records of others. */
static void use_is_of_ones_own_environment(void **state)
{
	const struct kept_environment other = { .flags = KEPT_HAS_TZCNT };
	struct kept_file file;

	(void)state;
	for (unsigned is_own = 0; is_own < 2; is_own++) {
		struct kept_batch *batch;

		make_file(&file);
		batch = begin_batch(is_own ? &environment : &other);
		for (unsigned i = 0; i < kept_header(&file)->bucket_count; i++) {
			if (batch->size > KEPT_BATCH - sizeof(struct kept_request))
				batch = begin_batch(is_own ? &environment : &other);
			say_used(batch, i);
		}
		kept_file_unmap(&file);
		serve_once(LIMIT, true);
		assert_true(open_file(&file));
		assert_int_equal(kept_header(&file)->run, is_own ? 2 : 1);
		kept_file_unmap(&file);
	}
}

static void environments_are_those_of_vms(void **state)
{
	struct kept_environment wrong[4] = { environment, environment, environment, environment };
	struct kept_file file;

	(void)state;
	wrong[0].flags |= KEPT_FLAGS + 1;
	wrong[1].flags |= 1u << 31;
	wrong[2].features[0] = 1;
	wrong[3].features[CPU_FEATURE_WORDS - 1] = 1u << 31;
	for (unsigned i = 0; i < 4; i++) {
		unlinkat(directory, "code", 0);
		say_make(begin_batch(&wrong[i]), i);
		begin_batch(&environment);
		assert_int_equal(serve_once(LIMIT, false), sizeof(struct kept_batch));
		assert_false(open_file(&file));
	}
}

/* One VM does not take the places of all others. */
static void a_vm_has_few_environments(void **state)
{
	struct kept_environment one = environment;
	struct kept_file file;

	(void)state;
	make_file(&file);
	kept_file_unmap(&file);
	one.flags |= KEPT_HAS_FEATURES;
	for (unsigned i = 0; i < 100; i++) {
		one.features[3] = i;
		say_make(begin_batch(&one), i);
	}
	serve_once(LIMIT, true);
	assert_true(open_file(&file));
	assert_int_equal(kept_header(&file)->environment_count, KEPT_ENVIRONMENTS / 2 + 1);
	assert_int_equal(kept_header(&file)->record_count, RECORDS + KEPT_ENVIRONMENTS / 2);
	assert_true(kept_find_environment(&file, &environment) >= 0);
	kept_file_unmap(&file);
}

/* -- bounds -- */

static void one_hash_has_few_records(void **state)
{
	struct kept_file file;

	(void)state;
	unlinkat(directory, "code", 0);
	for (unsigned i = 0; i < 5000; i++)
		say_make(begin_batch(&environment), i);
	assert_int_equal(serve_once(LIMIT, false), 0);
	assert_true(open_file(&file));
	assert_int_equal(kept_header(&file)->record_count, KEPT_PROBES);
	kept_file_unmap(&file);
}

/* Whatever hashes are chosen, by those who can choose them: equal ones, and others that come to stand side by side. */
static void work_for_a_record_is_bounded(void **state)
{
	enum { COUNT = 20000 };

	struct {
		struct kept_record record;
		struct kept_range range;
		uint8_t rest[4];
		uint8_t bytes[64], code[16];
	} made = {
		.record = { .size = sizeof(made), .mode = MODE64, .start = 0x200, .guest_size = 64, .code_size = 16,
			    .range_count = 1 },
		.range = { 0x200, 64 },
	};
	static const struct { uint32_t base, factor; unsigned least, most; } hashes[] = {
		{ 1234, 0, KEPT_PROBES, KEPT_PROBES },       /* one */
		{ 0, 1u << 20, KEPT_PROBES, KEPT_PROBES },   /* those that begin where the first does */
		{ 5, 0x9e3779b1, COUNT, COUNT },             /* any */
		{ 7, 1, COUNT, COUNT },                      /* one behind the other */
	};

	(void)state;
	for (unsigned kind = 0; kind < sizeof(hashes) / sizeof(hashes[0]); kind++) {
		struct kept_shelf shelf, copy;
		struct kept_parts parts;

		kept_shelf_init(&shelf, LIMIT, KEPT_ENVIRONMENTS);
		kept_shelf_init(&copy, LIMIT, KEPT_ENVIRONMENTS);
		for (uint32_t i = 0; i < COUNT; i++) {
			memcpy(made.bytes + 32, &i, sizeof(i));
			made.record.hash = hashes[kind].base + i * hashes[kind].factor;
			made.record.check = kept_record_check(&made.record);
			assert_true(kept_record_divide(&made, sizeof(made), &parts));
			kept_shelf_add(&shelf, &environment, &parts, 1, true);
		}
		assert_in_range(shelf.count, hashes[kind].least, hashes[kind].most);
		kept_shelf_add_shelf(&copy, &shelf);
		assert_int_equal(copy.count, shelf.count);
		assert_true(shelf.compared <= (uint64_t)COUNT * KEPT_PROBES * 80);
		kept_shelf_free(&copy);
		kept_shelf_free(&shelf);
	}
}

/* Batches without end, and without anything in them. */
static void a_vm_is_not_served_for_ever(void **state)
{
	const uint64_t limit = 64 << 10;
	struct kept_file file;
	struct kept_batch *batch = NULL;

	(void)state;
	unlinkat(directory, "code", 0);
	say_make(begin_batch(&environment), 1);
	for (unsigned i = 0; i < 10000; i++)
		begin_batch(&environment);
	assert_in_range(serve_once(limit, false), 5000 * sizeof(*batch), 10000 * sizeof(*batch));
	/* What came before is kept. */
	assert_true(open_file(&file));
	assert_int_equal(kept_header(&file)->record_count, 1);
	kept_file_unmap(&file);
	for (unsigned i = 0; i < 10000; i++) {
		if (i % 100 == 0)
			batch = begin_batch(&environment);
		say_used(batch, 3);
	}
	assert_in_range(serve_once(limit, true), 5000 * sizeof(struct kept_request), PIPE_BYTES);
	for (unsigned i = 0; i < 1000; i++)
		say_make(begin_batch(&environment), i);
	assert_in_range(serve_once(limit, true), 800 * sizeof(struct kept_request), PIPE_BYTES);
	/* The same guest code again and again is translated once. */
	for (unsigned i = 0; i < 1000; i++)
		say_make(begin_batch(&environment), 1);
	assert_int_equal(serve_once(limit, true), 0);
}

/* -- the rest -- */

/* Records that are taken stay, also where nothing was asked for. */
static void use_alone_is_written(void **state)
{
	struct kept_file file;
	struct kept_parts parts;
	uint32_t used = 0;
	unsigned now = 0;

	(void)state;
	make_file(&file);
	while (!kept_record_in(&file, used, &parts))
		used++;
	kept_file_unmap(&file);
	say_used(begin_batch(&environment), used);
	serve_once(LIMIT, true);
	assert_true(open_file(&file));
	assert_int_equal(kept_header(&file)->run, 2);
	assert_int_equal(kept_header(&file)->record_count, RECORDS);
	for (unsigned i = 0; i < kept_header(&file)->bucket_count; i++)
		now += kept_record_in(&file, i, &parts) && parts.record->run == 2;
	assert_int_equal(now, 1);
	kept_file_unmap(&file);
}

/* A VM may end in the middle of a word. */
static void words_may_be_cut_off(void **state)
{
	struct kept_file before, after;
	struct keeper *keeper;
	size_t whole = 1;

	(void)state;
	make_file(&before);
	assert_int_equal(keeper_create(LIMIT, &keeper), 0);
	for (size_t size = 0; size < whole; size += 3) {
		struct kept_batch *batch;

		batch = begin_batch(&environment);
		say_make(batch, 2);
		say_used(batch, 1);
		say_make(batch, 3);
		whole = said.size;
		said.size = size;
		serve(keeper, true);
		assert_true(open_file(&after));
		assert_same_records(&before, &after);
		kept_file_unmap(&after);
	}
	keeper_destroy(keeper);
	kept_file_unmap(&before);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_the_index_names_is_a_record),
		cmocka_unit_test(use_is_of_ones_own_environment),
		cmocka_unit_test(environments_are_those_of_vms),
		cmocka_unit_test(a_vm_has_few_environments),
		cmocka_unit_test(one_hash_has_few_records),
		cmocka_unit_test(work_for_a_record_is_bounded),
		cmocka_unit_test(a_vm_is_not_served_for_ever),
		cmocka_unit_test(use_alone_is_written),
		cmocka_unit_test(words_may_be_cut_off),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
