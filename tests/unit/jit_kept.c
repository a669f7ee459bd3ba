/*
 * Translations that are kept: records are made from bytes alone, found by them, and refused when a bit of
 * them, of the file around them or of who made it is another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/run/jit/kept/shelf.h"
#include "engine/run/runner.h"

#define MODE64 (CPU_MODE_CODE64 | CPU_MODE_PROTECTED | CPU_MODE_LONG)
#define START  0x100

static struct run_vm vm;
static struct runner *runner;
static struct kept_maker maker;
static uint64_t buffer[8192];

static bool no_page(void *context, uint64_t gpa, struct cpu_page *page)
{
	(void)context, (void)gpa, (void)page;
	return false;
}

static const struct cpu_platform platform = { .page_lookup = no_page };

static int start(void **state)
{
	struct jit_options options = JIT_OPTIONS_DEFAULT;

	(void)state;
	options.cache_size = 1u << 20;
	run_vm_init(&vm, &options);
	runner = aligned_alloc(64, (sizeof(*runner) + 63) & ~(size_t)63);
	memset(runner, 0, sizeof(*runner));
	return runner_create(runner, &vm, RUN_TRANSLATED, 0, NULL, &platform, NULL) ||
	       !kept_maker_describe(&maker);
}

static int stop(void **state)
{
	(void)state;
	runner_destroy(runner);
	free(runner);
	run_vm_destroy(&vm);
	return 0;
}

static const struct kept_environment environment = { .flags = KEPT_HAS_LZCNT | KEPT_HAS_TZCNT };

/* mov rax, [rdi]; add rax, imm32; je +5; mov [rsi], rax; call +0x20; and a page around it. */
static void make_page(uint8_t page[4096], uint32_t immediate)
{
	static const uint8_t head[] = { 0x48, 0x8b, 0x07, 0x48, 0x05 };
	static const uint8_t tail[] = { 0x74, 0x05, 0x48, 0x89, 0x06, 0xe8, 0x20, 0, 0, 0 };

	memset(page, 0x90, 4096);
	memcpy(page + START, head, sizeof(head));
	memcpy(page + START + 5, &immediate, 4);
	memcpy(page + START + 9, tail, sizeof(tail));
}

static size_t make(const uint8_t page[4096], bool is_lean, struct kept_parts *parts)
{
	struct kept_request request = {
		.kind = KEPT_MAKE, .start = START, .mode = MODE64, .count = 8, .is_lean = is_lean,
		.granules = 1ull << START / 64,
	};
	struct kept_record *record = (struct kept_record *)buffer;
	size_t size = jit_make_record(&runner->cpu.cpu, &environment, &request, page + (START & ~63), buffer,
				      sizeof(buffer));

	if (!size)
		return 0;
	record->check = kept_record_check(record);
	assert_true(kept_record_divide(record, size, parts));
	return size;
}

static void a_record_is_of_its_bytes(void **state)
{
	uint8_t page[4096], other[4096];
	struct kept_parts parts;
	unsigned same = 0;

	(void)state;
	make_page(page, 0x12345678);
	for (unsigned is_lean = 0; is_lean < 2; is_lean++) {
		assert_true(make(page, is_lean, &parts));
		assert_int_equal(parts.record->guest_size, 19);
		assert_true(parts.record->relocation_count > 0);
		assert_int_equal(parts.record->heat_at != 0, is_lean);
		assert_true(kept_record_matches(&parts, page));
		for (unsigned i = 0; i < 4096; i++) {
			memcpy(other, page, sizeof(other));
			other[i] ^= 0x40;
			same += kept_record_matches(&parts, other);
			if (i >= START && i - START < parts.record->guest_size)
				assert_false(kept_record_matches(&parts, other));
		}
		assert_true(same > 3900);
	}
}

/* What is made is the same wherever the maker's own code is, and whatever it made before. */
static void records_hold_no_addresses(void **state)
{
	static uint64_t first[8192];
	uint8_t page[4096];
	struct kept_parts parts;
	size_t size;

	(void)state;
	make_page(page, 0x12345678);
	size = make(page, true, &parts);
	memcpy(first, buffer, size);
	for (unsigned i = 0; i < 5000; i++) {
		make_page(page, i);
		assert_int_equal(make(page, true, &parts), size);
	}
	make_page(page, 0x12345678);
	assert_int_equal(make(page, true, &parts), size);
	assert_memory_equal(first, buffer, size);
}

static uint8_t *write_file(const struct kept_shelf *shelf, uint32_t run, size_t *size)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	struct stat status;
	uint8_t *bytes;

	assert_int_equal(kept_shelf_write(shelf, &maker, run, fd), 0);
	assert_int_equal(fstat(fd, &status), 0);
	*size = (size_t)status.st_size;
	bytes = malloc(*size);
	assert_int_equal(pread(fd, bytes, *size, 0), *size);
	close(fd);
	return bytes;
}

static void a_file_gives_what_was_put_there(void **state)
{
	struct kept_environment another = environment;
	struct kept_shelf shelf, copy;
	struct kept_parts parts;
	struct kept_file file;
	uint8_t page[4096], *bytes;
	unsigned found = 0;
	size_t size;

	(void)state;
	another.flags |= KEPT_IS_SHARED;
	kept_shelf_init(&shelf, 64u << 20, KEPT_ENVIRONMENTS);
	for (unsigned i = 0; i < 3000; i++) {
		make_page(page, i);
		make(page, true, &parts);
		assert_int_equal(kept_shelf_add(&shelf, &environment, &parts, KEPT_NEW, true), KEPT_ADDED);
		assert_int_equal(kept_shelf_add(&shelf, &environment, &parts, KEPT_NEW, true), KEPT_THERE);
	}
	assert_int_equal(kept_shelf_add(&shelf, &another, &parts, 3, false), KEPT_ADDED);
	bytes = write_file(&shelf, 7, &size);
	assert_true(kept_file_open(&file, bytes, size, &maker));
	assert_int_equal(kept_find_environment(&file, &environment), 0);
	assert_int_equal(kept_find_environment(&file, &another), 1);
	another.flags ^= KEPT_IS_AMD;
	assert_int_equal(kept_find_environment(&file, &another), -1);
	for (unsigned i = 0; i < 3000; i++) {
		uint32_t next = 0, bucket;

		make_page(page, i);
		while ((bucket = kept_find(&file, kept_hash(page, START, MODE64), &next)) != KEPT_NONE)
			if (kept_record_in(&file, bucket, &parts) && kept_record_is_whole(&parts) &&
			    kept_record_matches(&parts, page)) {
				found++;
				break;
			}
	}
	assert_int_equal(found, 3000);
	/* What was used last stays when there is no room for all. */
	kept_shelf_init(&copy, size / 2, KEPT_ENVIRONMENTS);
	kept_shelf_add_file(&copy, &file);
	assert_in_range(copy.count, 500, 2999);
	for (unsigned i = 0; i < copy.count; i++)
		assert_int_equal(copy.entries[i].run, 7);
	kept_shelf_free(&copy);
	kept_shelf_free(&shelf);
	free(bytes);
}

static void changed_files_are_refused(void **state)
{
	struct kept_maker elsewhere = maker;
	struct kept_shelf shelf;
	struct kept_parts parts;
	struct kept_file file;
	uint8_t page[4096], *bytes;
	size_t size, record;
	uint32_t next = 0, bucket;

	(void)state;
	make_page(page, 1);
	make(page, true, &parts);
	kept_shelf_init(&shelf, 1u << 20, KEPT_ENVIRONMENTS);
	kept_shelf_add(&shelf, &environment, &parts, KEPT_NEW, false);
	bytes = write_file(&shelf, 1, &size);
	assert_true(kept_file_open(&file, bytes, size, &maker));
	bucket = kept_find(&file, kept_hash(page, START, MODE64), &next);
	assert_true(kept_record_in(&file, bucket, &parts));
	assert_true(kept_record_is_whole(&parts));
	record = (size_t)((const uint8_t *)parts.record - bytes);
	for (size_t i = 0; i < size; i++) {
		assert_false(kept_file_open(&file, bytes, i, &maker));
		for (unsigned bit = 0; bit < 8; bit++) {
			bytes[i] ^= 1u << bit;
			if (kept_file_open(&file, bytes, size, &maker)) {
				/* Neither the header nor, but for when it was used, the record. */
				assert_true(i >= sizeof(struct kept_header));
				if (i >= record && (i < record + 4 || i >= record + 8))
					assert_false(kept_record_in(&file, bucket, &parts) &&
						     kept_record_is_whole(&parts));
			}
			bytes[i] ^= 1u << bit;
		}
	}
	elsewhere.build_id[3] ^= 1;
	assert_false(kept_file_open(&file, bytes, size, &elsewhere));
	elsewhere = maker;
	elsewhere.words[2] ^= 1u << 8;
	assert_false(kept_file_open(&file, bytes, size, &elsewhere));
	kept_shelf_free(&shelf);
	free(bytes);
}

/* A VM that its guest owns may ask for anything. */
static void senseless_requests_make_nothing(void **state)
{
	uint64_t random = 0x9e3779b97f4a7c15u;
	unsigned made = 0;

	(void)state;
	for (unsigned i = 0; i < 200000; i++) {
		uint8_t bytes[4096];
		struct kept_environment any;
		struct kept_request request;
		struct kept_parts parts;
		size_t size;

		for (unsigned k = 0; k < sizeof(bytes); k += 8) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			memcpy(bytes + k, &random, 8);
			if (i % 2)
				break; /* the rest of the one before is good enough */
		}
		memcpy(&any, bytes, sizeof(any));
		memcpy(&request, bytes + 64, sizeof(request));
		if (i % 16) {
			request.mode = i % 3 ? MODE64 : (CPU_MODE_CODE32 | CPU_MODE_STACK32 | CPU_MODE_PROTECTED | CPU_MODE_FLAT);
			request.mode |= random >> 60 & 1 ? 1u << 8 : 0;
			request.start %= 4096;
			request.count = request.count % 64 + 1;
			request.is_lean &= 1;
			any.flags &= KEPT_FLAGS;
			any.flags |= KEPT_HAS_FEATURES;
		}
		size = jit_make_record(&runner->cpu.cpu, &any, &request, bytes, buffer, sizeof(buffer));
		if (!size)
			continue;
		made++;
		assert_true(kept_record_divide(buffer, size, &parts));
	}
	assert_true(made > 1000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_of_its_bytes),
		cmocka_unit_test(records_hold_no_addresses),
		cmocka_unit_test(a_file_gives_what_was_put_there),
		cmocka_unit_test(changed_files_are_refused),
		cmocka_unit_test(senseless_requests_make_nothing),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
