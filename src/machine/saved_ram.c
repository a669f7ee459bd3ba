#include "machine/saved_ram.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/page.h"

#define RUN_BYTES_MAX (4ull << 20)
#define LIVE_PAGES    64 /* of a run while the guest goes on, whose bytes are copied before */
#define RUN_IS_ZERO   1ull /* in its address */

struct run_header {
	uint64_t gpa, size_bytes;
};

uint64_t saved_checksum(uint64_t sum, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;
	uint64_t word;

	for (; size >= 8; at += 8, size -= 8) {
		memcpy(&word, at, 8);
		sum = (sum ^ word) * 0x100000001b3ull;
		sum ^= sum >> 29;
	}
	while (size--)
		sum = (sum ^ *at++) * 0x100000001b3ull;
	return sum;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static int write_run(const struct saved_stream *stream, uint64_t gpa, const uint8_t *bytes, uint64_t size,
		     uint64_t *sum)
{
	const struct run_header run = {gpa, size};
	int result = stream->write(stream->context, &run, sizeof(run));

	*sum = saved_checksum(*sum, bytes, size);
	return result < 0 ? result : stream->write(stream->context, bytes, size);
}

static int write_end(const struct saved_stream *stream, uint64_t sum)
{
	const struct run_header end = {.gpa = sum};

	return stream->write(stream->context, &end, sizeof(end));
}

/* --- all of it at once --- */

/* Write [offset, end) of a region, which the memory file has, without pages of zeroes. */
static int write_range(const struct saved_stream *stream, const struct guest_region *region, uint64_t offset,
		       uint64_t end, uint64_t *sum)
{
	uint64_t first;
	int result = 0;

	while (offset < end && result == 0) {
		while (offset < end && is_zero(region->hva + offset, PAGE_SIZE))
			offset += PAGE_SIZE;
		first = offset;
		while (offset < end && offset - first < RUN_BYTES_MAX &&
		       !is_zero(region->hva + offset, PAGE_SIZE))
			offset += PAGE_SIZE;
		if (offset == first)
			break;
		result = write_run(stream, region->gpa + first, region->hva + first, offset - first, sum);
	}
	return result;
}

/* The next part of a region from `offset` on that the file behind RAM has: looking at the rest would make it. */
static bool next_data(const struct ram *ram, const struct guest_region *region, uint64_t offset, uint64_t *start,
		      uint64_t *end)
{
	uint64_t base = region->hva - ram->base, last = base + region->size_bytes;
	off_t data = lseek(ram->memfd, base + offset, SEEK_DATA), hole;

	if (data < 0 || (uint64_t)data >= last)
		return false;
	hole = lseek(ram->memfd, data, SEEK_HOLE);
	if (hole < 0 || (uint64_t)hole > last)
		hole = last;
	*start = data - base;
	*end = hole - base;
	return true;
}

int saved_ram_write(const struct saved_stream *stream, const struct ram *ram)
{
	const struct guest_region *region;
	uint64_t sum = SAVED_CHECKSUM_START, start, end;
	unsigned i;
	int result = 0;

	for (i = 0; i < ram->memory.region_count; i++) {
		region = &ram->memory.regions[i];
		for (end = 0; result == 0 && end < region->size_bytes && next_data(ram, region, end, &start, &end);)
			result = write_range(stream, region, start, end, &sum);
	}
	return result < 0 ? result : write_end(stream, sum);
}

/* --- back --- */

static int read_run(const struct saved_stream *stream, struct ram *ram, const struct run_header *run, uint64_t *sum,
		    struct error *error)
{
	uint64_t gpa = run->gpa & ~RUN_IS_ZERO;
	uint8_t *hva = NULL;
	int result;

	if (run->size_bytes <= RUN_BYTES_MAX && gpa % PAGE_SIZE == 0 && run->size_bytes % PAGE_SIZE == 0)
		hva = guest_memory_for_writing(&ram->memory, gpa, run->size_bytes);
	if (!hva)
		return error_set(error, EINVAL, "it has %llu bytes of RAM at 0x%llx, where there is none",
				 (unsigned long long)run->size_bytes, (unsigned long long)gpa);
	if (run->gpa & RUN_IS_ZERO) {
		memset(hva, 0, run->size_bytes);
	} else {
		result = stream->read(stream->context, hva, run->size_bytes);
		if (result < 0)
			return result;
		*sum = saved_checksum(*sum, hva, run->size_bytes);
	}
	guest_memory_written(&ram->memory, gpa, run->size_bytes);
	return 0;
}

int saved_ram_read(const struct saved_stream *stream, struct ram *ram, struct error *error)
{
	uint64_t sum = SAVED_CHECKSUM_START;
	struct run_header run;
	int result;

	/* What the loader put there goes. */
	if (fallocate(ram->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, ram->mapped_bytes) < 0)
		return error_set_errno(error, errno, "cannot empty the RAM");
	error->message[0] = 0;
	for (;;) {
		result = stream->read(stream->context, &run, sizeof(run));
		if (result < 0 || run.size_bytes == 0)
			break;
		result = read_run(stream, ram, &run, &sum, error);
		if (result < 0)
			break;
	}
	if (result < 0 && error->message[0])
		return result;
	if (result == -EPIPE)
		return error_set(error, EINVAL, "it ends too early");
	if (result < 0)
		return error_set_errno(error, -result, "it cannot be read");
	if (run.gpa != sum)
		return error_set(error, EINVAL, "its RAM is damaged: the checksum is wrong");
	return 0;
}

/* --- while it changes --- */

int live_ram_begin(struct live_ram *live, const struct ram *ram, const struct saved_stream *stream)
{
	size_t words, most = 0;
	unsigned i;

	*live = (struct live_ram){.ram = ram, .stream = stream, .sum = SAVED_CHECKSUM_START};
	for (i = 0; i < ram->memory.region_count; i++) {
		words = guest_region_log_words(&ram->memory.regions[i]);
		most = words > most ? words : most;
		live->pending[i] = calloc(words + 1, sizeof(uint64_t)); /* of none, too */
		if (!live->pending[i])
			return -ENOMEM;
	}
	live->words = calloc(most, sizeof(uint64_t));
	live->copy = malloc(LIVE_PAGES * PAGE_SIZE);
	return live->words && live->copy ? 0 : -ENOMEM;
}

void live_ram_end(struct live_ram *live)
{
	unsigned i;

	for (i = 0; i < GUEST_MEMORY_MAX_REGIONS; i++) {
		free(live->pending[i]);
		live->pending[i] = NULL;
	}
	free(live->words);
	free(live->copy);
	live->words = NULL;
	live->copy = NULL;
}

static void count(uint64_t *counter, uint64_t more)
{
	__atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED);
}

static bool is_pending(const struct live_ram *live, unsigned region, uint64_t page)
{
	return live->pending[region][page / 64] >> page % 64 & 1;
}

static void set_pending(struct live_ram *live, unsigned region, uint64_t page)
{
	if (is_pending(live, region, page))
		return;
	live->pending[region][page / 64] |= 1ull << page % 64;
	count(&live->pending_pages, 1);
}

void live_ram_add_all(struct live_ram *live)
{
	const struct guest_region *region;
	uint64_t start, end, page;
	unsigned i;

	for (i = 0; i < live->ram->memory.region_count; i++) {
		region = &live->ram->memory.regions[i];
		for (end = 0; end < region->size_bytes && next_data(live->ram, region, end, &start, &end);)
			for (page = start / PAGE_SIZE; page < end / PAGE_SIZE; page++)
				set_pending(live, i, page);
	}
}

int live_ram_add_written(struct live_ram *live, const struct kvm_vm *vm, struct error *error)
{
	const struct guest_region *region;
	size_t words, word;
	uint64_t bits, page;
	unsigned i;
	int result;

	for (i = 0; i < live->ram->memory.region_count; i++) {
		region = &live->ram->memory.regions[i];
		words = guest_region_log_words(region);
		memset(live->words, 0, words * sizeof(uint64_t));
		result = ram_log_read((struct ram *)live->ram, vm, i, live->words, error);
		if (result < 0)
			return result;
		for (word = 0; word < words; word++)
			for (bits = live->words[word]; bits; bits &= bits - 1) {
				page = word * 64 + __builtin_ctzll(bits);
				if (page < region->size_bytes / PAGE_SIZE)
					set_pending(live, i, page);
			}
	}
	return 0;
}

/* Send up to LIVE_PAGES from `page` on that are pending, and are all zeroes or all not. How many, or -errno. */
static int send_some(struct live_ram *live, unsigned index, uint64_t page)
{
	const struct guest_region *region = &live->ram->memory.regions[index];
	uint64_t pages = region->size_bytes / PAGE_SIZE, gpa = region->gpa + page * PAGE_SIZE, i = 0, size;
	struct run_header run;
	bool zero = false, this_one;
	int result;

	for (; i < LIVE_PAGES && page + i < pages && is_pending(live, index, page + i); i++) {
		uint8_t *copy = live->copy + i * PAGE_SIZE;

		/* What is sent and what is summed is one thing, whatever the guest writes. */
		memcpy(copy, region->hva + (page + i) * PAGE_SIZE, PAGE_SIZE);
		this_one = is_zero(copy, PAGE_SIZE);
		if (i > 0 && this_one != zero)
			break;
		zero = this_one;
	}
	size = i * PAGE_SIZE;
	run = (struct run_header){gpa | RUN_IS_ZERO, size};
	result = zero ? live->stream->write(live->stream->context, &run, sizeof(run))
		      : write_run(live->stream, gpa, live->copy, size, &live->sum);
	if (result < 0)
		return result;
	count(&live->sent_bytes, sizeof(run) + (zero ? 0 : size));
	count(zero ? &live->zero_pages : &live->normal_pages, i);
	return i;
}

int live_ram_send(struct live_ram *live)
{
	uint64_t page, pages;
	unsigned i;
	int sent, result;

	for (i = 0; i < live->ram->memory.region_count; i++) {
		pages = live->ram->memory.regions[i].size_bytes / PAGE_SIZE;
		for (page = 0; page < pages;) {
			if (!live->pending[i][page / 64]) {
				page = (page | 63) + 1;
				continue;
			}
			if (!is_pending(live, i, page)) {
				page++;
				continue;
			}
			result = live->go_on ? live->go_on(live->stream->context) : 0;
			sent = result < 0 ? result : send_some(live, i, page);
			if (sent < 0)
				return sent;
			count(&live->pending_pages, -(uint64_t)sent);
			for (; sent > 0; sent--, page++)
				live->pending[i][page / 64] &= ~(1ull << page % 64);
		}
	}
	return 0;
}

int live_ram_finish(struct live_ram *live)
{
	return write_end(live->stream, live->sum);
}
