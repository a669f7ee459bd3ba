/* Booting a Multiboot 1 kernel. */
#ifndef KVIK_MACHINE_BOOT_MULTIBOOT_H
#define KVIK_MACHINE_BOOT_MULTIBOOT_H

#include "machine/boot/image.h"
#include "machine/boot/place.h"
#include "machine/entry.h"

/*
 * `kernel` is multiboot_parse's result for `image`. The initrd becomes the one module; the command
 * line is preceded by `name`, as the specification and GRUB have it.
 */
int multiboot_load(const struct multiboot_image *kernel, const uint8_t *image,
		   const struct boot_blob *initrd, const char *name, const char *command_line,
		   const struct ram *ram, struct entry *entry, struct error *error);

#endif
