/*
 * What firmware does with a PCI bus before a guest sees it: BARs get addresses and are switched on,
 * interrupt lines are told. By configuration accesses, as firmware would.
 */
#ifndef KVIK_MACHINE_PCI_SETUP_H
#define KVIK_MACHINE_PCI_SETUP_H

#include "device/bus/pci.h"

/* Where BARs may lie: [first, end) each. An empty range has none. */
struct pci_layout {
	uint64_t io_first, io_end;
	uint64_t low_first, low_end;   /* memory below 4 GiB */
	uint64_t high_first, high_end; /* memory above, for what is 64 bits wide and doesn't fit below */
	uint8_t link_gsi[PCI_LINKS_MAX];   /* what the interrupt line registers tell */
};

/* A BAR for which there is no room is left off, and a warning says so. */
void pci_setup(struct pci_bus *bus, const struct pci_layout *layout);

#endif
