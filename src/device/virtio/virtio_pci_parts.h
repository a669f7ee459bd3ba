/* Virtio over PCI from inside, for its own files: virtio_pci.c is the function and the modern interface,
 * virtio_pci_legacy.c the legacy one; virtio_pci_registers.c has the registers that both show. */
#ifndef KVIK_DEVICE_VIRTIO_VIRTIO_PCI_PARTS_H
#define KVIK_DEVICE_VIRTIO_VIRTIO_PCI_PARTS_H

#include "device/bus/pci.h"
#include "device/virtio/virtio.h"
#include "kvm/kvm.h"

struct virtio_pci_layout;

struct virtio_pci {
	struct pci_function function;
	struct virtio_device *virtio; /* owned */
	const struct virtio_pci_layout *layout; /* virtio_pci.h */
	void *other; /* that the layout speaks of; NULL: nothing */
	const struct kvm_vm *vm;
	uint8_t access; /* the capability for accesses by configuration space; 0: there is none */
	bool has_eventfds, has_legacy_eventfds; /* of BAR 4, of BAR 0; guarded as windows are (pci.h) */
	pthread_mutex_t lock; /* guards what follows; taken with the virtio device's held */
	uint32_t device_feature_select, driver_feature_select;
	uint16_t queue_select;
	uint16_t config_vector, queue_vector[VIRTIO_QUEUES_MAX];
};

/* Any thread, without locks. A queue that is not there has no vector; a vector that is not there becomes
 * none, which tells the driver (§4.1.5.1.2). */
uint16_t virtio_pci_selected_queue(struct virtio_pci *pci);
void virtio_pci_select_queue(struct virtio_pci *pci, uint16_t queue);
uint16_t virtio_pci_config_vector(struct virtio_pci *pci);
void virtio_pci_set_config_vector(struct virtio_pci *pci, uint16_t vector);
uint16_t virtio_pci_queue_vector(struct virtio_pci *pci, uint16_t queue);
void virtio_pci_set_queue_vector(struct virtio_pci *pci, uint16_t vector); /* the selected one's */
void virtio_pci_reset_registers(struct virtio_pci *pci);

/* BAR 0. Before pci_bus_add. */
void virtio_pci_legacy_describe(struct virtio_pci *pci);

#endif
