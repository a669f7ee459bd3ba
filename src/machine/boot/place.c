#include "machine/boot/place.h"

#include <errno.h>
#include <string.h>

#define PAGE_BYTES 4096ull

int place_segments(const struct ram *ram, const uint8_t *image,
		   const struct image_segment *segments, unsigned count, struct error *error)
{
	const struct image_segment *segment;
	unsigned i;

	for (i = 0; i < count; i++) {
		segment = &segments[i];
		if (segment->memory_bytes == 0)
			continue;
		if (segment->gpa < PLACE_BOOT_END)
			return error_set(error, EINVAL,
					 "the kernel wants to be loaded at 0x%llx, where the boot "
					 "data is: link it for 0x%x or above",
					 (unsigned long long)segment->gpa, PLACE_BOOT_END);
		if (!guest_memory_contains(&ram->memory, segment->gpa, segment->memory_bytes))
			return error_set(error, ENOSPC,
					 "the kernel doesn't fit: it needs 0x%llx-0x%llx, which is "
					 "not all RAM (try a larger --memory)",
					 (unsigned long long)segment->gpa,
					 (unsigned long long)(segment->gpa + segment->memory_bytes -
							      1));
		guest_memory_write(&ram->memory, segment->gpa, image + segment->offset,
				   segment->file_bytes);
		guest_memory_clear(&ram->memory, segment->gpa + segment->file_bytes,
				   segment->memory_bytes - segment->file_bytes);
	}
	return 0;
}

int place_command_line(const struct ram *ram, const char *command_line, uint32_t limit,
		       struct error *error)
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
	if (guest_memory_write(&ram->memory, PLACE_COMMAND_LINE, command_line, length + 1) < 0)
		return error_set(error, ENOSPC, "the guest's RAM is too small to boot");
	return 0;
}

int place_blob_high(const struct ram *ram, const struct boot_blob *blob, uint64_t floor,
		    uint64_t ceiling, uint64_t *gpa, struct error *error)
{
	uint64_t end = ram->low_end < ceiling ? ram->low_end : ceiling;

	floor = (floor + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	*gpa = (end - blob->size) & ~(PAGE_BYTES - 1);
	if (blob->size > end || *gpa < floor ||
	    guest_memory_write(&ram->memory, *gpa, blob->data, blob->size) < 0)
		return error_set(
			error, ENOSPC,
			"the initrd (%zu KiB) doesn't fit beside the kernel: it would have "
			"to lie in 0x%llx-0x%llx (try a larger --memory)",
			blob->size >> 10, (unsigned long long)floor, (unsigned long long)end);
	return 0;
}

uint64_t place_segments_end(const struct image_segment *segments, unsigned count)
{
	uint64_t end = PLACE_BOOT_END, segment_end;
	unsigned i;

	for (i = 0; i < count; i++) {
		segment_end = segments[i].gpa + segments[i].memory_bytes;
		if (segments[i].gpa < RAM_HIGH_START && segment_end > end)
			end = segment_end;
	}
	return end;
}
