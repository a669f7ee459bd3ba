/* The Multiboot header (Multiboot Specification 0.6.96, §3.1). */
#include <errno.h>
#include <string.h>

#include "machine/boot/image.h"

#define SEARCH_BYTES 8192
#define HEADER_MAGIC 0x1badb002u

#define FLAG_PAGE_ALIGN	   0x00001u
#define FLAG_MEMORY_INFO   0x00002u
#define FLAG_VIDEO	   0x00004u
#define FLAG_ADDRESSES	   0x10000u
#define FLAGS_MUST_KNOW	   0x0ffffu

struct multiboot_header {
	uint32_t magic, flags, checksum;
	/* With FLAG_ADDRESSES: */
	uint32_t header_gpa, load_gpa, load_end_gpa, bss_end_gpa, entry_gpa;
};

/* Find the header in the first 8 KiB; its offset, or -1. */
static long find_header(const uint8_t *image, size_t size)
{
	uint32_t words[3];
	size_t at, limit = size < SEARCH_BYTES ? size : SEARCH_BYTES;

	for (at = 0; at + sizeof(words) <= limit; at += 4) {
		memcpy(words, image + at, sizeof(words));
		if (words[0] == HEADER_MAGIC && words[0] + words[1] + words[2] == 0)
			return at;
	}
	return -1;
}

/* The "a.out kludge": the header's own addresses say what is loaded. */
static int parse_addresses(const struct multiboot_header *header, size_t at, size_t size,
			   struct multiboot_image *kernel, struct error *error)
{
	uint64_t skipped = (uint64_t)header->header_gpa - header->load_gpa;
	struct image_segment *segment = &kernel->segments[0];

	if (header->load_gpa > header->header_gpa || skipped > at)
		return error_set(error, EINVAL,
				 "damaged multiboot kernel: its header at 0x%x lies below its load "
				 "address 0x%x",
				 header->header_gpa, header->load_gpa);
	segment->offset = at - skipped;
	segment->gpa = header->load_gpa;
	segment->file_bytes = size - segment->offset;
	if (header->load_end_gpa) {
		if (header->load_end_gpa < header->load_gpa ||
		    header->load_end_gpa - header->load_gpa > segment->file_bytes)
			return error_set(error, EINVAL,
					 "damaged multiboot kernel: its end 0x%x is outside of it",
					 header->load_end_gpa);
		segment->file_bytes = header->load_end_gpa - header->load_gpa;
	}
	segment->memory_bytes = segment->file_bytes;
	if (header->bss_end_gpa) {
		if (header->bss_end_gpa < header->load_gpa ||
		    header->bss_end_gpa - header->load_gpa < segment->file_bytes)
			return error_set(error, EINVAL,
					 "damaged multiboot kernel: its zeroed part ends at 0x%x, "
					 "before its data",
					 header->bss_end_gpa);
		segment->memory_bytes = header->bss_end_gpa - header->load_gpa;
	}
	kernel->segment_count = 1;
	kernel->entry = header->entry_gpa;
	return 0;
}

int multiboot_parse(const uint8_t *image, size_t size, struct multiboot_image *kernel,
		    struct error *error)
{
	struct multiboot_header header = {0};
	struct elf_image elf;
	long at = find_header(image, size);
	size_t available;
	int result;

	memset(kernel, 0, sizeof(*kernel));
	if (at < 0)
		return error_set(error, ENOEXEC, "not a multiboot kernel");
	available = size - at;
	memcpy(&header, image + at, available < sizeof(header) ? available : sizeof(header));
	if (header.flags & FLAGS_MUST_KNOW &
	    ~(FLAG_PAGE_ALIGN | FLAG_MEMORY_INFO | FLAG_VIDEO))
		return error_set(error, EINVAL,
				 "a multiboot kernel that requires unknown features (flags 0x%x)",
				 header.flags);
	kernel->wants_memory = header.flags & FLAG_MEMORY_INFO;
	kernel->wants_page_alignment = header.flags & FLAG_PAGE_ALIGN;
	if (header.flags & FLAG_ADDRESSES) {
		if (available < sizeof(header))
			return error_set(error, EINVAL,
					 "damaged multiboot kernel: it ends inside its header");
		return parse_addresses(&header, at, size, kernel, error);
	}
	result = elf_parse(image, size, &elf, error);
	if (result == -ENOEXEC)
		return error_set(error, EINVAL,
				 "a multiboot kernel that is neither ELF nor has load addresses");
	if (result < 0)
		return result;
	if (elf.entry > UINT32_MAX)
		return error_set(error, EINVAL,
				 "a multiboot kernel with its entry above 4 GiB (0x%llx)",
				 (unsigned long long)elf.entry);
	kernel->is_elf = true;
	kernel->entry = elf.entry;
	kernel->segment_count = elf.segment_count;
	memcpy(kernel->segments, elf.segments, sizeof(kernel->segments));
	return 0;
}
