/*
 * Firmware that a machine begins with, in place of a kernel: what goes into its ROM and, of UEFI, into the
 * flash memory below it that keeps variables.
 */
#ifndef KVIK_MACHINE_BOOT_FIRMWARE_H
#define KVIK_MACHINE_BOOT_FIRMWARE_H

#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

#define FIRMWARE_UNIT	   4096 /* sizes are multiples of it */
#define FIRMWARE_BYTES_MAX (8u << 20) /* code and variables together: what there is room for below 4 GiB */

struct firmware_files {
	const char *code; /* path of the ROM's bytes, which end at 4 GiB */
	/* What the flash memory has at first; NULL: there is none, if `vars_kept` isn't there. */
	const char *vars;
	/* Path of a file that keeps what is in it. A new or empty one begins as `vars`. NULL: it is lost at
	 * the end. */
	const char *vars_kept;
	const char *vga_rom; /* path of a display's BIOS, for a BIOS; NULL: none */
	const char *virtio_vga_rom; /* likewise, if the display is virtio-vga: it takes the place of the other */
	/* What UEFI is to boot before anything else; NULL: nothing. Of boot_open's own, from its configuration. */
	const char *kernel, *initrd, *command_line;
};

struct firmware {
	uint8_t *code, *vars; /* vars NULL: no flash memory */
	size_t code_size, vars_size;
	int vars_fd; /* -1: kept nowhere */
	uint8_t *vga_rom; /* NULL: none */
	size_t vga_rom_size;
	/* NULL: it boots what it finds. */
	uint8_t *kernel, *initrd;
	size_t kernel_size, initrd_size;
	const char *command_line; /* the caller's of firmware_open */
};

/* Read the files, and open and lock what is to be written. NULL, and `error`, on failure. */
struct firmware *firmware_open(const struct firmware_files *files, struct error *error);
void firmware_close(struct firmware *firmware); /* NULL is fine */

#endif
