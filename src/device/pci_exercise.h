/* A PCI function that does nothing but exercise what functions can do: for tests of guests, of the
 * bus and of this monitor. */
#ifndef KVIK_DEVICE_PCI_EXERCISE_H
#define KVIK_DEVICE_PCI_EXERCISE_H

#include "device/bus/pci.h"
#include "device/device.h"

struct pci_exercise;

/* On `bus` at PCI_SLOT_FUNCTION(...). */
struct pci_exercise *pci_exercise_create(struct pci_bus *bus, unsigned slot_function,
					 struct error *error);

/* device: struct pci_exercise, on a bus that is reset, saved and loaded before. */
extern const struct device_ops pci_exercise_device_ops;

#endif
