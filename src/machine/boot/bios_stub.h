/* The few BIOS services that Linux's real-mode set-up code needs. */
#ifndef KVIK_MACHINE_BOOT_BIOS_STUB_H
#define KVIK_MACHINE_BOOT_BIOS_STUB_H

#include "machine/ram.h"

#define BIOS_STUB_GPA 0xfe000
#define BIOS_STUB_END 0xff000

/* Write the stub, with this RAM's memory map, and an interrupt vector table that leads to it. */
int bios_stub_install(const struct ram *ram, struct error *error);

#endif
