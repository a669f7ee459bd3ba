/*
 * Parsers of kernel images: pure functions over bytes that nobody vouches for.
 *
 * Each checks every offset and size that it takes from the image, and gives back only what lies
 * inside it: after success, [segment.offset, segment.offset + segment.file_bytes) can be read and
 * [segment.gpa, segment.gpa + segment.memory_bytes) doesn't wrap. Whether a segment lies in RAM is
 * the loader's question. None keeps a pointer or allocates. 0, or -EINVAL with one line in `error`;
 * -ENOEXEC says that the image is of another kind altogether.
 */
#ifndef KVIK_MACHINE_BOOT_IMAGE_H
#define KVIK_MACHINE_BOOT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

#define IMAGE_MAX_SEGMENTS 32

/* Bytes of the image that go to guest RAM; what memory_bytes has beyond file_bytes is zeroed. */
struct image_segment {
	uint64_t gpa;
	uint64_t memory_bytes;
	size_t offset;
	size_t file_bytes; /* <= memory_bytes */
};

/* An x86 ELF executable, 32 or 64 bit (System V ABI, chapters 4 and 5). */
struct elf_image {
	bool is_64;
	uint64_t entry;
	bool has_pvh_entry;
	uint32_t pvh_entry; /* XEN_ELFNOTE_PHYS32_ENTRY */
	unsigned segment_count;
	struct image_segment segments[IMAGE_MAX_SEGMENTS];
};
int elf_parse(const uint8_t *image, size_t size, struct elf_image *elf, struct error *error);

/* The longest set-up code, boot sector included, that a header can ask for. */
#define LINUX_SETUP_BYTES_MAX (256 * 512)

/* A Linux bzImage (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"). */
struct linux_image {
	uint16_t version;	/* 0x020f is 2.15 */
	size_t header_bytes;	/* of the setup header, from image offset 0x1f1 */
	size_t setup_bytes;	/* boot sector and real-mode code, from image offset 0 */
	size_t kernel_bytes;	/* the protected-mode kernel, from image offset setup_bytes */
	bool loads_high;	/* at 1 MiB or above (a bzImage); else at 64 KiB (a zImage) */
	bool is_relocatable;
	bool has_64_entry;
	uint32_t alignment;	/* of the load address, when relocatable; a power of two */
	uint64_t preferred_gpa;
	uint64_t init_bytes;	/* RAM needed from the load address on */
	uint64_t initrd_max;	/* last byte that an initrd may occupy */
	uint32_t command_line_max; /* bytes without the NUL */
};
/* Of the image's `size` bytes the first LINUX_SETUP_BYTES_MAX are enough. */
int linux_parse(const uint8_t *image, size_t size, struct linux_image *kernel,
		struct error *error);

/* A Multiboot 0.6.96 ("Multiboot 1") kernel, ELF or with the header's own addresses. */
struct multiboot_image {
	bool is_elf;
	bool wants_memory, wants_page_alignment;
	uint32_t entry;
	unsigned segment_count;
	struct image_segment segments[IMAGE_MAX_SEGMENTS];
};
int multiboot_parse(const uint8_t *image, size_t size, struct multiboot_image *kernel,
		    struct error *error);

#endif
