/*
 * Virtio over PCI (virtio 1.2 §4.1): a function whose capabilities say where the driver finds the
 * common configuration, notifications, interrupt status and the device's own configuration; or with the
 * legacy interface, by which drivers older than virtio 1.0 find them in ports; or with both (transitional).
 */
#ifndef KVIK_DEVICE_VIRTIO_VIRTIO_PCI_H
#define KVIK_DEVICE_VIRTIO_VIRTIO_PCI_H

#include "device/bus/pci.h"
#include "device/bus/pci_rom.h"
#include "device/virtio/virtio.h"
#include "kvm/kvm.h"

struct virtio_pci;

/* Transitional: where legacy drivers know the kind at all; what they do not know is modern. */
enum virtio_pci_interface { VIRTIO_PCI_MODERN, VIRTIO_PCI_TRANSITIONAL, VIRTIO_PCI_LEGACY };

/*
 * Where registers lie in a function that is something else besides (§4.1.2 leaves that to the device). Up to `common_offset` the
 * registers' BAR is what `other_ops` calls, with `other`; `describe` adds BARs. Outlives the device.
 */
struct virtio_pci_layout {
	unsigned table_bar, register_bar;
	uint32_t common_offset, isr_offset;
	const struct mmio_ops *other_ops;
	void (*describe)(void *other, struct pci_function *function);
	bool has_ports; /* ... that are no BAR's: the command register's bit for them is there */
};

struct virtio_pci_config {
	struct pci_bus *bus;
	unsigned slot_function;
	uint32_t class_code; /* 24 bits */
	enum virtio_pci_interface interface;
	/* Notifications go straight from the VM to the device's thread; NULL: they exit. */
	const struct kvm_vm *vm;
	struct pci_rom rom;
	const struct virtio_pci_layout *layout; /* NULL: it is a virtio device alone */
	void *other; /* of the layout; not owned, outlives the device */
};

/* Put a device on a bus; it is owned from now on, and destroyed when this fails. */
struct virtio_pci *virtio_pci_create(const struct virtio_pci_config *config,
				     struct virtio_device *virtio, struct error *error);

/* device: struct virtio_pci, on a bus that is reset, saved and loaded before. */
extern const struct device_ops virtio_pci_device_ops;

#endif
