/* Where the boot loaders put things in low RAM, and the helpers that they share. */
#ifndef KVIK_MACHINE_BOOT_PLACE_H
#define KVIK_MACHINE_BOOT_PLACE_H

#include "machine/boot/image.h"
#include "machine/ram.h"

/*
 * Conventional memory, from below: entry.h's tables at 0x500 and 0x9000-0xefff, and
 */
#define PLACE_BOOT_DATA	      0x7000  /* zero page, PVH start info, or multiboot info: 4 KiB */
#define PLACE_SETUP_DATA      0x8000  /* more of these: 4 KiB */
#define PLACE_REAL_MODE	      0x10000 /* Linux's real-mode code and its stack: 64 KiB */
#define PLACE_COMMAND_LINE    0x20000
#define PLACE_COMMAND_LINE_END 0x30000
#define PLACE_BOOT_END	      PLACE_COMMAND_LINE_END

/* A file that goes along with a kernel: an initrd, a module. Empty when size is 0. */
struct boot_blob {
	const uint8_t *data;
	size_t size;
};

/* Copy all segments to RAM. They must not touch the boot data below PLACE_BOOT_END. */
int place_segments(const struct ram *ram, const uint8_t *image,
		   const struct image_segment *segments, unsigned count, struct error *error);

/* Write the command line with its NUL; `limit` is the longest that the kernel takes. */
int place_command_line(const struct ram *ram, const char *command_line, uint32_t limit,
		       struct error *error);

/*
 * Put `blob` on a page boundary as high as possible, all of it at or above `floor`, below `ceiling`
 * (exclusive) and below the end of low RAM. Its address goes to `gpa`.
 */
int place_blob_high(const struct ram *ram, const struct boot_blob *blob, uint64_t floor,
		    uint64_t ceiling, uint64_t *gpa, struct error *error);

/* The end of the highest segment below 4 GiB. */
uint64_t place_segments_end(const struct image_segment *segments, unsigned count);

#endif
