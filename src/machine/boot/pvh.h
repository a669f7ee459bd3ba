/* Booting an ELF kernel by its PVH entry point. */
#ifndef KVIK_MACHINE_BOOT_PVH_H
#define KVIK_MACHINE_BOOT_PVH_H

#include "machine/boot/image.h"
#include "machine/boot/place.h"
#include "machine/entry.h"

/* `elf` is elf_parse's result for `image` and has a PVH entry. `rsdp_gpa` is 0 without ACPI. */
int pvh_load(const struct elf_image *elf, const uint8_t *image, const struct boot_blob *initrd,
	     const char *command_line, const struct ram *ram, uint64_t rsdp_gpa,
	     struct entry *entry, struct error *error);

#endif
