/*
 * From files that a user named to a guest that is ready to start: which boot protocol a kernel
 * speaks, its parts put into guest RAM, and the boot CPU's state at its entry.
 *
 * A Linux kernel and an initrd, which may be large, stay in their files: each reset reads them again, as they are by
 * then, and they take memory in the guest alone. Kernels of other kinds are read once and kept.
 */
#ifndef KVIK_MACHINE_BOOT_BOOT_H
#define KVIK_MACHINE_BOOT_BOOT_H

#include <stdint.h>

#include "machine/boot/firmware.h"
#include "machine/boot/flat.h"
#include "machine/boot/linux.h"
#include "machine/entry.h"
#include "machine/ram.h"
#include "util/error.h"

struct boot_config {
	const char *kernel;	  /* path; or NULL with one of these: */
	const char *flat;	  /* path of a flat binary */
	struct firmware_files firmware; /* `code`: what boots from disks */
	const char *initrd;	  /* path or NULL */
	const char *command_line; /* NULL: empty */
	enum linux_entry linux_entry;
	uint64_t flat_address;
	enum flat_mode flat_mode;
};

struct boot;

/* Read and examine the files. NULL, and `error`, on failure. `ram_bytes` bounds what may fit. */
struct boot *boot_open(const struct boot_config *config, uint64_t ram_bytes, struct error *error);
void boot_close(struct boot *boot);

/* What was recognized: "Linux bzImage, protocol 2.15", "PVH ELF", ... */
const char *boot_description(const struct boot *boot);

/* Whether the guest is a bare program, over for good when it halts with interrupts off. */
bool boot_is_flat(const struct boot *boot);

/* What the machine begins with; NULL when that is no firmware. Lives as long as `boot`. */
const struct firmware *boot_firmware(const struct boot *boot);

/* Not of firmware: write everything into RAM and say how the boot CPU enters. `rsdp_gpa` is 0 without ACPI. */
int boot_load(const struct boot *boot, const struct ram *ram, uint64_t rsdp_gpa,
	      struct entry *entry, struct error *error);

#endif
