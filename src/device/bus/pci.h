/*
 * A PCI bus's configuration space (PCI Local Bus 3.0): configuration mechanism #1, functions
 * with 256 bytes each of which a mask says what software may write.
 */
#ifndef KVIK_DEVICE_BUS_PCI_H
#define KVIK_DEVICE_BUS_PCI_H

#include "device/bus/pio.h"
#include "device/device.h"
#include "device/power.h"

#define PCI_CONFIG_PORT	 0xcf8 /* address at 0xcf8, reset control at 0xcf9, data at 0xcfc */
#define PCI_CONFIG_PORTS 8

#define PCI_SLOT_FUNCTION(slot, function) ((slot) << 3 | (function))
#define PCI_CONFIG_BYTES 256

/* A function's configuration space. Owned and embedded by its device; guarded by the bus's lock. */
struct pci_function {
	uint8_t config[PCI_CONFIG_BYTES];
	uint8_t writable[PCI_CONFIG_BYTES]; /* bits that software may change */
	uint8_t initial[PCI_CONFIG_BYTES];  /* config at reset; taken by pci_bus_add */
	/* After software wrote [offset, offset + size); may be NULL. Under the bus's lock. */
	void (*config_written)(struct pci_function *function, unsigned offset, unsigned size);
};

struct pci_bus;

struct pci_bus *pci_bus_create(const struct power *power, struct error *error);

/* Put a function at PCI_SLOT_FUNCTION(...) of bus 0. Before the machine runs. */
void pci_bus_add(struct pci_bus *bus, unsigned slot_function, struct pci_function *function);

/* Fill in the identification registers (§6.2.1); `class_code` is 24 bits. */
void pci_function_identify(struct pci_function *function, uint16_t vendor, uint16_t device,
			   uint32_t class_code, uint8_t revision);

/* Save a function's configuration space, or load it into `config` and check that what software
 * cannot write is as here; and take over what was loaded. */
void pci_function_transfer(struct pci_bus *bus, struct pci_function *function, uint8_t *config,
			   struct state_stream *state);
void pci_function_restore(struct pci_bus *bus, struct pci_function *function,
			  const uint8_t *config);

/* device: struct pci_bus. A reset is one of its functions' configuration, too. */
extern const struct device_ops pci_bus_device_ops;
extern const struct pio_ops pci_bus_pio_ops;

#endif
