/*
 * Kept translations (docs/engine/code-cache.md). The first byte says what the rest is: 0, a code cache file, whose
 * checksums and maker are put right first, so that all else of it is looked at; else what machines that their guest
 * owns write into keepers' pipes: two bytes say how much of it the first one's, whose file the second one is given.
 *
 * Nothing outside the bytes is read, whatever they say; a file that is written from what was found in one is
 * good in all its parts; and what keepers write are translations of the guest's bytes that they name.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/run/jit/kept/shelf.h"
#include "engine/run/keeper.h"
#include "engine/run/runner.h"
#include "fuzz.h"

#define PIPE_BYTES (256 << 10)
#define LIMIT      (1u << 20)

static struct kept_maker maker;

/* One for all inputs: they make translators. */
static struct keeper *keeper;
static struct run_vm vm;
static struct runner *runner;
static char directory_name[] = "/tmp/kvik-fuzz-kept-XXXXXX";
static int directory = -1;

static void finish(void)
{
	keeper_destroy(keeper);
	runner_destroy(runner);
	free(runner);
	run_vm_destroy(&vm);
	unlinkat(directory, "code", 0);
	close(directory);
	rmdir(directory_name);
}

static bool no_page(void *context, uint64_t gpa, struct cpu_page *page)
{
	(void)context, (void)gpa, (void)page;
	return false;
}

/* False: this host keeps nothing. */
static bool begin(void)
{
	static const struct cpu_platform platform = { .page_lookup = no_page };
	struct jit_options options = JIT_OPTIONS_DEFAULT;

	if (directory >= 0)
		return true;
	if (!kept_maker_describe(&maker) || keeper_create(LIMIT, &keeper) < 0)
		return false;
	options.cache_size = 1u << 20;
	run_vm_init(&vm, &options);
	runner = aligned_alloc(64, (sizeof(*runner) + 63) & ~(size_t)63);
	memset(runner, 0, sizeof(*runner));
	fuzz_check(runner_create(runner, &vm, RUN_TRANSLATED, 0, NULL, &platform, NULL) == 0);
	fuzz_check(mkdtemp(directory_name));
	directory = open(directory_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fuzz_check(directory >= 0);
	atexit(finish);
	return true;
}

/* -- files -- */

static void mend(uint8_t *bytes, size_t size)
{
	struct kept_header *header = (struct kept_header *)bytes;
	struct kept_bucket *buckets = (struct kept_bucket *)(header + 1);
	size_t count = (size - sizeof(*header)) / sizeof(*buckets);

	memcpy(header->magic, KEPT_MAGIC, sizeof(header->magic));
	header->maker = maker;
	header->size = size;
	header->check = kept_check(header, offsetof(struct kept_header, check));
	if (header->bucket_count < count)
		count = header->bucket_count;
	for (size_t i = 0; i < count; i++) {
		size_t at = (size_t)buckets[i].at * 8;
		struct kept_record *record = (struct kept_record *)(bytes + at);

		if (!at || at < sizeof(*header) || at + sizeof(*record) > size || record->size > size - at ||
		    record->size < sizeof(*record))
			continue;
		record->check = kept_record_check(record);
	}
}

/* Each record of a file that we wrote is whole. */
static void check_written(const struct kept_shelf *shelf)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	struct kept_file file;
	struct kept_parts parts;
	unsigned count = 0;

	fuzz_check(kept_shelf_write(shelf, &maker, 1, fd) == 0);
	fuzz_check(kept_file_map(&file, fd, &maker));
	close(fd);
	for (unsigned i = 0; i < kept_header(&file)->bucket_count; i++)
		if (kept_buckets(&file)[i].at) {
			fuzz_check(kept_record_in(&file, i, &parts) && kept_record_is_whole(&parts));
			count++;
		}
	fuzz_check(count == shelf->count);
	kept_file_unmap(&file);
}

static void read_file(const uint8_t *data, size_t size)
{
	static const uint8_t page[4096];
	uint8_t *bytes;
	struct kept_file file;
	struct kept_shelf shelf;
	struct kept_parts parts;
	uint32_t next = 0, bucket;

	if (size < sizeof(struct kept_header))
		return;
	bytes = malloc(size);
	memcpy(bytes, data, size);
	mend(bytes, size);
	if (kept_file_open(&file, bytes, size, &maker)) {
		while ((bucket = kept_find(&file, kept_hash(page, 0, 0), &next)) != KEPT_NONE)
			if (kept_record_in(&file, bucket, &parts))
				kept_record_matches(&parts, page);
		kept_shelf_init(&shelf, LIMIT, KEPT_ENVIRONMENTS);
		kept_shelf_add_file(&shelf, &file);
		if (shelf.count)
			check_written(&shelf);
		kept_shelf_free(&shelf);
	}
	free(bytes);
}

/* -- keepers -- */

/* The request that asks for the record, as far as that shows, with its bytes. */
static void request_again(const struct kept_parts *parts, struct kept_request *request, uint8_t granules[4096])
{
	const struct kept_record *record = parts->record;
	const uint8_t *bytes = parts->bytes;
	uint8_t page[4096];

	/* No instruction begins with this. */
	memset(page, 0xff, sizeof(page));
	*request = (struct kept_request){
		.kind = KEPT_MAKE, .start = record->start, .mode = record->mode, .is_lean = record->is_lean,
	};
	for (unsigned i = 0; i < record->range_count; i++) {
		const struct kept_range *range = &parts->ranges[i];

		memcpy(page + range->offset, bytes, range->size);
		bytes += range->size;
		for (unsigned at = range->offset / 64; at <= (range->offset + range->size - 1u) / 64; at++)
			request->granules |= 1ull << at;
	}
	for (unsigned i = 0, count = 0; i < 64; i++)
		if (request->granules >> i & 1)
			memcpy(granules + 64 * count++, page + 64 * i, 64);
}

/* Whether the record is what the translator makes of the bytes that it names. */
static bool is_right(const struct kept_parts *parts, const struct kept_environment *environment)
{
	static uint64_t again[8192];
	const struct kept_record *made = (struct kept_record *)again, *record = parts->record;
	struct kept_record header;
	struct kept_request request;
	uint8_t granules[4096];

	request_again(parts, &request, granules);
	while (++request.count <= 64) {
		size_t size = jit_make_record(&runner->cpu.cpu, environment, &request, granules, again, sizeof(again));

		if (size != record->size)
			continue;
		/* The hash is of bytes behind a short block, too, which the record has not. */
		header = *made;
		header.run = record->run;
		header.check = record->check;
		header.hash = record->hash;
		header.environment = record->environment;
		if (!memcmp(&header, record, sizeof(header)) &&
		    !memcmp(made + 1, record + 1, size - sizeof(header)))
			return true;
	}
	return false;
}

static void check_kept(void)
{
	int fd = openat(directory, "code", O_RDONLY | O_CLOEXEC);
	struct kept_parts parts;
	struct kept_file file;
	unsigned count = 0;

	if (fd < 0)
		return;
	fuzz_check(kept_file_map(&file, fd, &maker));
	close(fd);
	fuzz_check(file.size <= LIMIT);
	for (unsigned i = 0; i < kept_header(&file)->bucket_count; i++) {
		if (!kept_buckets(&file)[i].at)
			continue;
		fuzz_check(kept_record_in(&file, i, &parts) && kept_record_is_whole(&parts));
		fuzz_check(is_right(&parts, &kept_header(&file)->environments[parts.record->environment]));
		count++;
	}
	fuzz_check(count == kept_header(&file)->record_count);
	kept_file_unmap(&file);
}

static void ask(const uint8_t *data, size_t size)
{
	int ends[2], given = openat(directory, "code", O_RDONLY | O_CLOEXEC);

	fuzz_check(pipe2(ends, O_CLOEXEC) == 0);
	fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
	if (size > 60000)
		size = 60000;
	fuzz_check(write(ends[1], data, size) == (ssize_t)size);
	close(ends[1]);
	keeper_serve(keeper, ends[0], directory, "code", given);
	close(ends[0]);
	if (given >= 0)
		close(given);
	check_kept();
}

static void ask_twice(struct fuzz_input *input)
{
	size_t first = fuzz_u16(input);

	if (first > input->size)
		first = input->size;
	unlinkat(directory, "code", 0);
	ask(input->data, first);
	if (first < input->size)
		ask(input->data + first, input->size - first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = { data, size };

	if (!size || !begin())
		return 0;
	if (fuzz_u8(&input))
		ask_twice(&input);
	else
		read_file(input.data, input.size);
	return 0;
}
