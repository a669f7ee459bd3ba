/* The chipset of a plain PCI PC: host bridge, ISA bridge, power-management function. */
#ifndef KVIK_DEVICE_I440FX_H
#define KVIK_DEVICE_I440FX_H

#include "device/bus/pci.h"
#include "device/device.h"

struct i440fx {
	struct pci_bus *bus;
	struct pci_function host_bridge, isa_bridge, power_management;
	pthread_mutex_t route_lock; /* held while links are wired, so that the last write counts */
};

/* Fill in the functions and put them on the bus. `pm_port` is where the ACPI registers are. */
void i440fx_init(struct i440fx *chipset, struct pci_bus *bus, uint16_t pm_port, uint8_t sci_irq);
/* As firmware does: wire the interrupt links A to D to these inputs of the PICs. */
void i440fx_set_routes(struct i440fx *chipset, const uint8_t irqs[PCI_PINS]);

/* device: struct i440fx, on a bus that is reset, saved and loaded before. Its owner's memory. */
extern const struct device_ops i440fx_device_ops;

#endif
