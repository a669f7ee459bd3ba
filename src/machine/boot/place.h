/*
 * Where the boot loaders put things in RAM, and the helpers that they share.
 *
 * A kernel names the addresses of its segments, and it may be any RAM. So the loaders first take
 * what the kernel wants, and then look for places for what goes along with it.
 */
#ifndef KVIK_MACHINE_BOOT_PLACE_H
#define KVIK_MACHINE_BOOT_PLACE_H

#include "machine/boot/image.h"
#include "machine/entry.h"
#include "machine/ram.h"

/* The usual places in conventional memory, beside those of entry.h; for Linux the only ones. */
#define PLACE_BOOT_DATA	      0x7000  /* zero page, PVH start info, or multiboot info: 4 KiB */
#define PLACE_SETUP_DATA      0x8000  /* more of these: 4 KiB */
#define PLACE_REAL_MODE	      0x10000 /* Linux's real-mode code and its stack: 64 KiB */
#define PLACE_STACK_TOP	      (PLACE_REAL_MODE + 0xfff0)
#define PLACE_COMMAND_LINE    0x20000
#define PLACE_COMMAND_LINE_END 0x30000
#define PLACE_BOOT_END	      PLACE_COMMAND_LINE_END

/* Room for all segments and what the loaders add. */
#define PLACES_MAX (IMAGE_MAX_SEGMENTS + 8)

/* What is taken of the RAM below 4 GiB. */
struct places {
	const struct ram *ram;
	struct {
		uint64_t gpa, end;
	} taken[PLACES_MAX];
	unsigned count;
};

void places_init(struct places *places, const struct ram *ram);
/* Take this place, whatever is there. */
void places_take(struct places *places, uint64_t gpa, uint64_t size_bytes);
/*
 * Take `size_bytes` at `preferred` if that is free RAM, else as high as possible in conventional
 * memory, far from kernels that load low, else as high as possible in the RAM from 1 MiB to 4 GiB;
 * on a multiple of `alignment`, a power of two. 0 and the address in `gpa`, or -ENOSPC.
 */
int places_find(struct places *places, uint64_t size_bytes, uint64_t alignment, uint64_t preferred,
		uint64_t *gpa);

/* What goes into RAM as it is: an initrd, a module, a kernel's code. Empty when size is 0. */
struct boot_blob {
	const char *what;    /* in messages */
	const uint8_t *data; /* NULL: it is in the file, from `offset` on */
	size_t size, offset;
	int fd;
};

/* Copy all segments to RAM and take their places. */
int place_segments(struct places *places, const uint8_t *image,
		   const struct image_segment *segments, unsigned count, struct error *error);

/*
 * Write the command line with its NUL, at PLACE_COMMAND_LINE if that is free; `limit` is the longest
 * that the kernel takes. Its address goes to `gpa`.
 */
int place_command_line(struct places *places, const char *command_line, uint32_t limit,
		       uint64_t *gpa, struct error *error);

/* Copy `blob` to where RAM is known to have room for it. */
int place_blob_at(const struct ram *ram, const struct boot_blob *blob, uint64_t gpa, struct error *error);
/* Put `blob` on a page boundary as high as possible below 4 GiB. Its address goes to `gpa`. */
int place_blob(struct places *places, const struct boot_blob *blob, uint64_t *gpa,
	       struct error *error);
/* The same, but all of it at or above `floor` and below `ceiling` (exclusive), free or not. */
int place_blob_high(const struct ram *ram, const struct boot_blob *blob, uint64_t floor,
		    uint64_t ceiling, uint64_t *gpa, struct error *error);

/*
 * Find places for what the entry into protected or long mode needs: a descriptor table, a stack for
 * kernels that begin without one of their own, long mode's page tables. Fills in `entry`.
 */
int place_entry(struct places *places, struct entry *entry, struct error *error);

#endif
