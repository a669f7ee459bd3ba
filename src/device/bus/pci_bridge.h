/*
 * Functions that are bridges to a bus of their own (PCI-to-PCI Bridge 1.2), and what PCI Express adds to
 * those and to what is behind them (PCI Express Base 3.0 §7.8).
 *
 * A bridge's registers say which bus numbers are behind it and which addresses it forwards; the bus follows
 * them. Not modelled: that a bridge must be bus master for what is behind it to reach memory, the reset of
 * the secondary bus, and the reservation of addresses that ISA and VGA devices have.
 */
#ifndef KVIK_DEVICE_BUS_PCI_BRIDGE_H
#define KVIK_DEVICE_BUS_PCI_BRIDGE_H

#include "device/bus/pci.h"

/* Device/port types of the capability (§7.8.2). */
#define PCI_EXPRESS_ENDPOINT  0x0
#define PCI_EXPRESS_ROOT_PORT 0x4
#define PCI_EXPRESS_INTEGRATED 0x9

/* Offsets in the capability. */
#define PCI_EXPRESS_FLAGS	   0x02
#define PCI_EXPRESS_DEVICE	   0x04
#define PCI_EXPRESS_DEVICE_CONTROL 0x08
#define PCI_EXPRESS_LINK	   0x0c
#define PCI_EXPRESS_LINK_CONTROL   0x10
#define PCI_EXPRESS_LINK_STATUS	   0x12
#define PCI_EXPRESS_SLOT	   0x14
#define PCI_EXPRESS_SLOT_CONTROL   0x18
#define PCI_EXPRESS_SLOT_STATUS	   0x1a
#define PCI_EXPRESS_ROOT_CONTROL   0x1c
#define PCI_EXPRESS_LINK2	   0x2c
#define PCI_EXPRESS_LINK_CONTROL2  0x30
#define PCI_EXPRESS_BYTES	   0x3c

/* A function's header becomes a bridge's. Right after pci_function_init. */
void pci_bridge_describe(struct pci_function *function);

/* The capability, for one lane at 2.5 GT/s. Before pci_bus_add. */
void pci_add_express(struct pci_function *function, unsigned type, uint8_t port);

/* The bus behind a bridge, which is on its own bus and stays there; before the machine runs. NULL: out of
 * memory. It is destroyed before the bridge, after what is on it. */
struct pci_bus *pci_bridge_create_bus(struct pci_function *bridge, struct error *error);
void pci_bridge_destroy_bus(struct pci_function *bridge);

#endif
