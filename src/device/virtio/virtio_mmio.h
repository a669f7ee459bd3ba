/* Virtio over memory-mapped registers, version 2 (virtio 1.2 §4.2): for boards without PCI, which tell their
 * guests where it is. */
#ifndef KVIK_DEVICE_VIRTIO_VIRTIO_MMIO_H
#define KVIK_DEVICE_VIRTIO_VIRTIO_MMIO_H

#include "device/bus/mmio.h"
#include "device/irq_line.h"
#include "device/virtio/virtio.h"
#include "kvm/kvm.h"

#define VIRTIO_MMIO_BYTES 0x200

struct virtio_mmio;

struct virtio_mmio_config {
	struct irq_line irq; /* its alone; level-triggered */
	/* Where its registers will be; and the VM, which notifies the device's thread of accesses there
	 * itself. NULL: they exit. */
	uint64_t gpa;
	const struct kvm_vm *vm;
};

/* The device is owned from now on, and destroyed when this fails. */
struct virtio_mmio *virtio_mmio_create(const struct virtio_mmio_config *config,
				       struct virtio_device *virtio, struct error *error);

/* device: struct virtio_mmio */
extern const struct device_ops virtio_mmio_device_ops;
extern const struct mmio_ops virtio_mmio_ops; /* VIRTIO_MMIO_BYTES */

#endif
