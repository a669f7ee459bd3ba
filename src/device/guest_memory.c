#include "device/guest_memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The region that holds `gpa`, and in `available` how many bytes follow in it. */
static const struct guest_region *find_region(const struct guest_memory *memory, uint64_t gpa,
					      uint64_t *available)
{
	const struct guest_region *region;
	unsigned i;

	for (i = 0; i < memory->region_count; i++) {
		region = &memory->regions[i];
		if (gpa >= region->gpa && gpa - region->gpa < region->size_bytes) {
			*available = region->size_bytes - (gpa - region->gpa);
			return region;
		}
	}
	return NULL;
}

uint8_t *guest_memory_for_writing(const struct guest_memory *memory, uint64_t gpa,
				  uint64_t size_bytes)
{
	const struct guest_region *region;
	uint64_t available;

	region = find_region(memory, gpa, &available);
	if (!region || size_bytes > available)
		return NULL;
	return region->hva + (gpa - region->gpa);
}

const uint8_t *guest_memory_at(const struct guest_memory *memory, uint64_t gpa,
			       uint64_t size_bytes)
{
	return guest_memory_for_writing(memory, gpa, size_bytes);
}

uint8_t *guest_memory_span(const struct guest_memory *memory, uint64_t gpa, uint64_t *size_bytes)
{
	const struct guest_region *region;
	uint64_t available;

	region = find_region(memory, gpa, &available);
	if (!region || !*size_bytes)
		return NULL;
	if (available < *size_bytes)
		*size_bytes = available;
	return region->hva + (gpa - region->gpa);
}

bool guest_memory_contains(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes)
{
	uint64_t available;

	while (size_bytes) {
		if (!find_region(memory, gpa, &available))
			return false;
		if (available >= size_bytes)
			return true;
		size_bytes -= available;
		gpa += available;
	}
	return true;
}

/* Mark the pages of [offset, offset + size) of a region. */
static void mark(const struct guest_region *region, uint64_t offset, uint64_t size)
{
	uint64_t page, last = (offset + size - 1) / GUEST_MEMORY_PAGE;

	for (page = offset / GUEST_MEMORY_PAGE; page <= last; page++)
		atomic_fetch_or(&region->dirty[page / 64], 1ull << (page % 64));
}

void guest_memory_written(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes)
{
	const struct guest_region *region;
	uint64_t available, chunk;

	if (memory->written && size_bytes)
		memory->written(memory->context, gpa, size_bytes);
	if (!atomic_load(&memory->is_logging))
		return;
	while (size_bytes && (region = find_region(memory, gpa, &available))) {
		chunk = available < size_bytes ? available : size_bytes;
		mark(region, gpa - region->gpa, chunk);
		gpa += chunk;
		size_bytes -= chunk;
	}
}

void guest_memory_discard(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes)
{
	uint64_t skipped = -gpa % GUEST_MEMORY_PAGE, chunk;
	uint8_t *hva;

	if (size_bytes < skipped)
		return;
	gpa += skipped;
	size_bytes = (size_bytes - skipped) / GUEST_MEMORY_PAGE * GUEST_MEMORY_PAGE;
	while (size_bytes) {
		chunk = size_bytes;
		hva = guest_memory_span(memory, gpa, &chunk);
		if (!hva)
			return;
		/* Behind shared memory it frees the file's pages, too (madvise(2)). */
		if (madvise(hva, chunk, MADV_REMOVE) == 0)
			guest_memory_written(memory, gpa, chunk);
		gpa += chunk;
		size_bytes -= chunk;
	}
}

int guest_memory_log_start(struct guest_memory *memory)
{
	struct guest_region *region;
	unsigned i;
	size_t word;

	for (i = 0; i < memory->region_count; i++) {
		region = &memory->regions[i];
		if (!region->size_bytes)
			continue;
		/* Kept from one time to the next: a writer may still be at it. */
		if (!region->dirty)
			region->dirty = calloc(guest_region_log_words(region), sizeof(uint64_t));
		if (!region->dirty)
			return -ENOMEM;
		for (word = 0; word < guest_region_log_words(region); word++)
			atomic_store(&region->dirty[word], 0);
	}
	atomic_store(&memory->is_logging, true);
	return 0;
}

void guest_memory_log_stop(struct guest_memory *memory)
{
	atomic_store(&memory->is_logging, false);
}

void guest_memory_log_take(struct guest_memory *memory, unsigned index, uint64_t *bitmap)
{
	struct guest_region *region = &memory->regions[index];
	size_t word;

	if (!region->dirty)
		return;
	for (word = 0; word < guest_region_log_words(region); word++)
		if (atomic_load_explicit(&region->dirty[word], memory_order_relaxed))
			bitmap[word] |= atomic_exchange(&region->dirty[word], 0);
}

void guest_memory_log_free(struct guest_memory *memory)
{
	unsigned i;

	guest_memory_log_stop(memory);
	for (i = 0; i < memory->region_count; i++) {
		free((void *)memory->regions[i].dirty);
		memory->regions[i].dirty = NULL;
	}
}

enum copy_kind { COPY_READ, COPY_WRITE, COPY_CLEAR };

static int copy(const struct guest_memory *memory, uint64_t gpa, uint8_t *data, uint64_t size,
		enum copy_kind kind)
{
	const struct guest_region *region;
	uint64_t available, chunk, first_gpa = gpa, bytes = size;
	uint8_t *hva;

	if (!guest_memory_contains(memory, gpa, size))
		return -EFAULT;
	while (size) {
		region = find_region(memory, gpa, &available);
		chunk = available < size ? available : size;
		hva = region->hva + (gpa - region->gpa);
		if (kind == COPY_READ)
			memcpy(data, hva, chunk);
		else if (kind == COPY_WRITE)
			memcpy(hva, data, chunk);
		else
			memset(hva, 0, chunk);
		if (data)
			data += chunk;
		gpa += chunk;
		size -= chunk;
	}
	if (kind != COPY_READ)
		guest_memory_written(memory, first_gpa, bytes);
	return 0;
}

int guest_memory_read(const struct guest_memory *memory, uint64_t gpa, void *data, size_t size)
{
	return copy(memory, gpa, data, size, COPY_READ);
}

int guest_memory_write(const struct guest_memory *memory, uint64_t gpa, const void *data,
		       size_t size)
{
	return copy(memory, gpa, (uint8_t *)data, size, COPY_WRITE);
}

int guest_memory_clear(const struct guest_memory *memory, uint64_t gpa, uint64_t size_bytes)
{
	return copy(memory, gpa, NULL, size_bytes, COPY_CLEAR);
}
