/*
 * Kept translations (docs/engine/code-cache.md). The first byte says what the rest is: 0, a code cache file, whose
 * checksums and maker are put right first, so that all else of it is looked at; else what a machine that its guest
 * owns writes into the keeper's pipe.
 *
 * Nothing outside the bytes is read, whatever they say; and a file that is written from what was found in
 * one is good in all its parts.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/run/jit/kept/shelf.h"
#include "engine/run/keeper.h"
#include "fuzz.h"

#define PIPE_BYTES (256 << 10)

static struct kept_maker maker;

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
		record->check = kept_check(&record->hash, record->size - offsetof(struct kept_record, hash));
	}
}

/* Each record of a file that we wrote is whole. */
static void check_written(const struct kept_shelf *shelf)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	struct kept_file file;
	const struct kept_bucket *buckets;
	struct kept_parts parts;
	unsigned count = 0;

	fuzz_check(kept_shelf_write(shelf, &maker, 1, fd) == 0);
	fuzz_check(kept_file_map(&file, fd, &maker));
	close(fd);
	buckets = (const struct kept_bucket *)(kept_header(&file) + 1);
	for (unsigned i = 0; i < kept_header(&file)->bucket_count; i++)
		if (buckets[i].at) {
			fuzz_check(kept_record_at(&file, buckets[i].at, &parts));
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
	uint32_t next = 0, at;

	if (size < sizeof(struct kept_header))
		return;
	bytes = malloc(size);
	memcpy(bytes, data, size);
	mend(bytes, size);
	if (kept_file_open(&file, bytes, size, &maker)) {
		while ((at = kept_find(&file, kept_hash(page, 0, 0), &next)))
			if (kept_record_at(&file, at, &parts))
				kept_record_matches(&parts, page);
		kept_shelf_init(&shelf, 1u << 20);
		kept_shelf_add_file(&shelf, &file);
		check_written(&shelf);
		kept_shelf_free(&shelf);
	}
	free(bytes);
}

/* One for all inputs: it makes a translator. */
static struct keeper *keeper;

static void end_keeper(void)
{
	keeper_destroy(keeper);
}

static bool has_keeper(void)
{
	if (!keeper && keeper_create(1u << 20, &keeper) == 0)
		atexit(end_keeper);
	return keeper;
}

static void ask(const uint8_t *data, size_t size)
{
	int ends[2];

	if (!has_keeper())
		return;
	fuzz_check(pipe2(ends, O_CLOEXEC) == 0);
	fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
	if (size > 60000)
		size = 60000;
	fuzz_check(write(ends[1], data, size) == (ssize_t)size);
	close(ends[1]);
	keeper_serve(keeper, ends[0], -1, "none", -1);
	close(ends[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || !kept_maker_describe(&maker))
		return 0;
	if (data[0])
		ask(data + 1, size - 1);
	else
		read_file(data + 1, size - 1);
	return 0;
}
