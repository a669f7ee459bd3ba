/* Booting a Linux kernel image by the Linux/x86 boot protocol. */
#ifndef KVIK_MACHINE_BOOT_LINUX_H
#define KVIK_MACHINE_BOOT_LINUX_H

#include "machine/boot/image.h"
#include "machine/boot/place.h"
#include "machine/entry.h"

/* How a Linux kernel is entered: the widest mode that it has, or a certain one. */
enum linux_entry { LINUX_ENTRY_AUTO, LINUX_ENTRY_16, LINUX_ENTRY_32, LINUX_ENTRY_64 };

/*
 * `kernel` is linux_parse's result for `image`, of which only the set-up code has to be there; `code` is what follows
 * it. Writes the kernel, its parameters, the initrd and the command line into RAM. `rsdp_gpa` is 0 without ACPI.
 */
int linux_load(const struct linux_image *kernel, const uint8_t *image,
	       const struct boot_blob *code, const struct boot_blob *initrd, const char *command_line, enum linux_entry how,
	       const struct ram *ram, uint64_t rsdp_gpa, struct entry *entry, struct error *error);

#endif
