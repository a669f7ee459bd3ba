/* A root port of PCI Express: a bridge with one slot behind it, whose device may come and go. */
#ifndef KVIK_DEVICE_PCIE_ROOT_PORT_H
#define KVIK_DEVICE_PCIE_ROOT_PORT_H

#include "device/bus/pci.h"
#include "device/device.h"

#define PCIE_SLOT_NUMBER_MAX 0x1fff

struct pcie_root_port_config {
	struct pci_bus *bus;
	unsigned slot_function;
	uint8_t port;	       /* its number among the root complex's ports */
	uint16_t slot_number;  /* of the slot: to PCIE_SLOT_NUMBER_MAX */
	/* The guest has switched the slot off: what is in it may be taken out. On a vCPU's thread in an access to
	 * configuration space: not there. NULL: nobody takes anything out. */
	void (*switched_off)(void *context, unsigned slot_function);
	void *context;
};

struct pcie_root_port;

struct pcie_root_port *pcie_root_port_create(const struct pcie_root_port_config *config,
					     struct error *error);

/* The bus behind it, for functions of slot 0. The port's. */
struct pci_bus *pcie_root_port_bus(struct pcie_root_port *port);

/* Functions have been put into the slot, or taken out, while the guest runs: it is told. I/O thread. */
void pcie_root_port_changed(struct pcie_root_port *port);
/* The slot's attention button: the guest is asked to switch it off, or on. False: it would not hear of it, as it
 * has no driver for the slot. I/O thread. */
bool pcie_root_port_press_button(struct pcie_root_port *port);
/* The guest is about to switch the slot on or off: its light blinks. Any thread. */
bool pcie_root_port_is_busy(struct pcie_root_port *port);
/* Whether the slot is off: by its power controller, with its indicator off, too. Any thread. */
bool pcie_root_port_is_off(struct pcie_root_port *port);

/* device: struct pcie_root_port, on a bus that is reset, saved and loaded before; what is in its slot after it. */
extern const struct device_ops pcie_root_port_device_ops;

#endif
