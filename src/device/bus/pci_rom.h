/*
 * Expansion ROMs (PCI Local Bus 3.0 §6.2.5.2, §6.3): code for firmware that a function brings along, behind a BAR of
 * its own, which opens while the function takes memory accesses and the register's own lowest bit is set.
 */
#ifndef KVIK_DEVICE_BUS_PCI_ROM_H
#define KVIK_DEVICE_BUS_PCI_ROM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

#define PCI_ROM_BYTES_MAX (16u << 20)

struct pci_function;

/* What is in one: a list of images, one for each kind of firmware. */
struct pci_rom {
	const uint8_t *bytes;
	size_t size_bytes; /* 0: there is no ROM; up to PCI_ROM_BYTES_MAX */
	/* It was made for several devices: have its images name this one, as firmware checks. */
	bool is_adapted;
};

/*
 * Give the function a ROM with a copy of these bytes; nothing if there are none. When identification is known, and
 * before pci_bus_add. What is in it is not part of a saved state, but its size must be the same. 0, or -errno and `error`.
 */
int pci_function_set_rom(struct pci_function *function, const struct pci_rom *rom, struct error *error);

#endif
