/*
 * The memory map that guests are told (ACPI 6.4 §15, "System Address Map Interfaces"): one table,
 * given to every boot protocol in its own form.
 */
#ifndef KVIK_MACHINE_E820_H
#define KVIK_MACHINE_E820_H

#include "machine/ram.h"

#define E820_RAM      1
#define E820_RESERVED 2

#define E820_MAX_ENTRIES 8

/* Firmware's area: extended BIOS data at the top of conventional memory, tables below 1 MiB. */
#define E820_CONVENTIONAL_END 0x9fc00ull
#define E820_FIRMWARE_START   0xe0000ull
#define E820_FIRMWARE_END     0x100000ull

/* What the backends keep for themselves below 4 GiB (an identity map, then a TSS), and firmware. */
#define E820_BACKEND_START 0xfeffc000ull
#define E820_BACKEND_END   0x100000000ull
#define E820_FIRMWARE_ROM  0xff000000ull /* firmware's ROM begins here at the lowest */

struct e820_entry {
	uint64_t gpa, size_bytes;
	uint32_t type;
};

struct e820_map {
	struct e820_entry entries[E820_MAX_ENTRIES];
	unsigned count;
};

void e820_build(const struct ram *ram, struct e820_map *map);
/* What firmware is told, which makes a map of its own from it: RAM as it is there, and reservations. */
void e820_build_for_firmware(const struct ram *ram, struct e820_map *map);

#endif
