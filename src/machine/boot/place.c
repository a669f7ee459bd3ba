#include "machine/boot/place.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "machine/e820.h"
#include "util/file.h"
#include "util/page.h"

#define BIOS_DATA_END     0x500ull /* interrupt vectors and the BIOS data area */
#define STACK_BYTES       0x10000
#define STACK_BYTES_LEAST 0x1000
#define COPY_BYTES        0x10000

void places_init(struct places *places, const struct ram *ram)
{
	memset(places, 0, sizeof(*places));
	places->ram = ram;
}

void places_take(struct places *places, uint64_t gpa, uint64_t size_bytes)
{
	assert(places->count < PLACES_MAX);
	places->taken[places->count].gpa = gpa;
	places->taken[places->count].end = gpa + size_bytes;
	places->count++;
}

/* The lowest begin of what is taken in [gpa, end), or `end` when all of it is free. */
static uint64_t find_taken(const struct places *places, uint64_t gpa, uint64_t end)
{
	uint64_t begin = end;
	unsigned i;

	for (i = 0; i < places->count; i++)
		if (places->taken[i].gpa < end && places->taken[i].end > gpa &&
		    places->taken[i].gpa < begin)
			begin = places->taken[i].gpa;
	return begin;
}

/* The highest free place in [floor, ceiling), all of which is RAM. */
static bool find_high(const struct places *places, uint64_t size_bytes, uint64_t alignment,
                      uint64_t floor, uint64_t ceiling, uint64_t *gpa)
{
	uint64_t begin, taken;

	while (ceiling > floor && size_bytes <= ceiling - floor) {
		begin = (ceiling - size_bytes) & ~(alignment - 1);
		if (begin < floor)
			return false;
		taken = find_taken(places, begin, begin + size_bytes);
		if (taken == begin + size_bytes) {
			*gpa = begin;
			return true;
		}
		ceiling = taken;
	}
	return false;
}

int places_find(struct places *places, uint64_t size_bytes, uint64_t alignment, uint64_t preferred,
                uint64_t *gpa)
{
	*gpa = preferred;
	if (!(guest_memory_contains(&places->ram->memory, preferred, size_bytes) &&
	      find_taken(places, preferred, preferred + size_bytes) == preferred + size_bytes) &&
	    !find_high(places, size_bytes, alignment, BIOS_DATA_END, E820_CONVENTIONAL_END, gpa) &&
	    !find_high(places, size_bytes, alignment, E820_FIRMWARE_END, places->ram->low_end, gpa))
		return -ENOSPC;
	places_take(places, *gpa, size_bytes);
	return 0;
}

int place_segments(struct places *places, const uint8_t *image,
                   const struct image_segment *segments, unsigned count, struct error *error)
{
	const struct guest_memory *memory = &places->ram->memory;
	const struct image_segment *segment;
	unsigned i;

	for (i = 0; i < count; i++) {
		segment = &segments[i];
		if (segment->memory_bytes == 0)
			continue;
		if (!guest_memory_contains(memory, segment->gpa, segment->memory_bytes))
			return error_set(
			    error, ENOSPC,
			    "the kernel doesn't fit: it needs 0x%llx-0x%llx, which is "
			    "not all RAM (try a larger --memory)",
			    (unsigned long long)segment->gpa,
			    (unsigned long long)(segment->gpa + segment->memory_bytes - 1));
		guest_memory_write(memory, segment->gpa, image + segment->offset,
		                   segment->file_bytes);
		guest_memory_clear(memory, segment->gpa + segment->file_bytes,
		                   segment->memory_bytes - segment->file_bytes);
		places_take(places, segment->gpa, segment->memory_bytes);
	}
	return 0;
}

int place_command_line(struct places *places, const char *command_line, uint32_t limit,
                       uint64_t *gpa, struct error *error)
{
	size_t length = strlen(command_line);

	if (limit > PLACE_COMMAND_LINE_END - PLACE_COMMAND_LINE - 1)
		limit = PLACE_COMMAND_LINE_END - PLACE_COMMAND_LINE - 1;
	if (length > limit)
		return error_set(
		    error, E2BIG,
		    "the kernel command line has %zu characters, but this kernel takes "
		    "at most %u",
		    length, limit);
	if (places_find(places, length + 1, 1, PLACE_COMMAND_LINE, gpa) < 0)
		return error_set(error, ENOSPC, "the guest's RAM is too small to boot");
	guest_memory_write(&places->ram->memory, *gpa, command_line, length + 1);
	return 0;
}

static int no_room_for_blob(const struct boot_blob *blob, uint64_t floor, uint64_t end,
                            struct error *error)
{
	return error_set(error, ENOSPC,
	                 "the %s (%zu KiB) doesn't fit beside the kernel: it would have "
	                 "to lie in 0x%llx-0x%llx (try a larger --memory)",
	                 blob->what, blob->size >> 10, (unsigned long long)floor, (unsigned long long)end);
}

/*
 * By way of the file that the RAM is in, where there is one that can be written: the host gives out what nobody has
 * touched yet without clearing it and without a page fault for each 4 KiB.
 */
static bool write_to_backing(const struct ram *ram, uint64_t gpa, const uint8_t *bytes, size_t size)
{
	const uint8_t *hva = guest_memory_at(&ram->memory, gpa, size);

	if (!hva || file_write_all_at(ram->memfd, bytes, size, hva - ram->base) < 0)
		return false;
	guest_memory_written(&ram->memory, gpa, size);
	return true;
}

/* Through a small buffer: however large it is, it lies in the guest's RAM alone. */
static int copy_file(const struct ram *ram, const struct boot_blob *blob, uint64_t gpa, struct error *error)
{
	uint8_t buffer[COPY_BYTES];
	size_t done, wanted;
	ssize_t count;

	for (done = 0; done < blob->size; done += count) {
		wanted = blob->size - done < sizeof(buffer) ? blob->size - done : sizeof(buffer);
		count = file_read_part(blob->fd, buffer, wanted, blob->offset + done);
		if (count < 0)
			return error_set_errno(error, -count, "cannot read the %s", blob->what);
		if ((size_t)count < wanted)
			return error_set(error, EIO, "the %s got shorter while it was read: %zu of %zu bytes", blob->what,
			                 done + count, blob->size);
		if (!write_to_backing(ram, gpa + done, buffer, count))
			guest_memory_write(&ram->memory, gpa + done, buffer, count);
	}
	return 0;
}

int place_blob_at(const struct ram *ram, const struct boot_blob *blob, uint64_t gpa, struct error *error)
{
	if (!blob->data)
		return copy_file(ram, blob, gpa, error);
	guest_memory_write(&ram->memory, gpa, blob->data, blob->size);
	return 0;
}

int place_blob(struct places *places, const struct boot_blob *blob, uint64_t *gpa,
               struct error *error)
{
	uint64_t end = places->ram->low_end;

	if (!find_high(places, blob->size, PAGE_SIZE, E820_FIRMWARE_END, end, gpa) &&
	    !find_high(places, blob->size, PAGE_SIZE, PAGE_SIZE, E820_CONVENTIONAL_END, gpa))
		return no_room_for_blob(blob, PAGE_SIZE, end, error);
	places_take(places, *gpa, blob->size);
	return place_blob_at(places->ram, blob, *gpa, error);
}

int place_blob_high(const struct ram *ram, const struct boot_blob *blob, uint64_t floor,
                    uint64_t ceiling, uint64_t *gpa, struct error *error)
{
	uint64_t end = ram->low_end < ceiling ? ram->low_end : ceiling;

	floor = (floor + PAGE_SIZE - 1) & PAGE_MASK;
	*gpa = (end - blob->size) & PAGE_MASK;
	if (blob->size > end || *gpa < floor ||
	    !guest_memory_contains(&ram->memory, *gpa, blob->size))
		return no_room_for_blob(blob, floor, end, error);
	return place_blob_at(ram, blob, *gpa, error);
}

int place_entry(struct places *places, struct entry *entry, struct error *error)
{
	uint64_t stack;

	if (places_find(places, ENTRY_GDT_BYTES, 8, ENTRY_GDT_GPA, &entry->gdt_gpa) < 0 ||
	    (entry->mode == ENTRY_LONG &&
	     places_find(places, ENTRY_PAGE_TABLE_BYTES, PAGE_SIZE, ENTRY_PAGE_TABLE_GPA,
	                 &entry->page_table_gpa) < 0))
		return error_set(error, ENOSPC, "the guest's RAM is too small to boot");
	if (entry->rsp)
		return 0;
	/* Protocols promise no stack: one that cannot be found isn't missed. */
	if (places_find(places, STACK_BYTES, 16, PLACE_REAL_MODE, &stack) == 0)
		entry->rsp = stack + (PLACE_STACK_TOP - PLACE_REAL_MODE);
	else if (places_find(places, STACK_BYTES_LEAST, 16, PLACE_REAL_MODE, &stack) == 0)
		entry->rsp = stack + STACK_BYTES_LEAST;
	return 0;
}
