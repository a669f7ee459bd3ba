/* QEMU's pci-testdev: a PCI function by which kvm-unit-tests count and time their I/O. */
#ifndef KVIK_DEVICE_PCI_TESTDEV_H
#define KVIK_DEVICE_PCI_TESTDEV_H

#include "device/bus/pci.h"
#include "device/device.h"
#include "kvm/kvm.h"

struct pci_testdev;

/*
 * On `bus` at PCI_SLOT_FUNCTION(...). `membar_bytes`, a power of two of 16 or more, adds a 64-bit BAR
 * with nothing in it; 0: none. Eventfds are registered with `vm`; NULL: their tests count as well.
 */
struct pci_testdev *pci_testdev_create(struct pci_bus *bus, unsigned slot_function,
				       const struct kvm_vm *vm, uint64_t membar_bytes,
				       struct error *error);

/* device: struct pci_testdev, on a bus that is reset, saved and loaded before. */
extern const struct device_ops pci_testdev_device_ops;

#endif
