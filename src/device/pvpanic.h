/* pvpanic: a guest's kernel tells that it has panicked. As QEMU has it: docs/specs/pvpanic.rst. */
#ifndef KVIK_DEVICE_PVPANIC_H
#define KVIK_DEVICE_PVPANIC_H

#include "device/bus/pci.h"
#include "device/bus/pio.h"
#include "device/device.h"
#include "device/power.h"

/* What the register is read for, and written: bits of POWER_PANIC's status. */
#define PVPANIC_PANICKED     0x1
#define PVPANIC_CRASH_LOADED 0x2 /* a crash kernel takes over */

#define PVPANIC_PORT 0x505 /* where it is unless somebody says another */

/* One port, or a function of PCI: device: struct power, which is asked for POWER_PANIC. */
extern const struct pio_ops pvpanic_pio_ops;
extern const struct device_ops pvpanic_port_device_ops;

struct pvpanic_pci;
/* On `bus` at PCI_SLOT_FUNCTION(...). */
struct pvpanic_pci *pvpanic_pci_create(struct pci_bus *bus, unsigned slot_function, struct power *power,
				       struct error *error);
extern const struct device_ops pvpanic_pci_device_ops; /* device: struct pvpanic_pci */

#endif
