/* An NVM Express controller (NVMe 1.4) with one namespace: what -device nvme is. */
#ifndef KVIK_DEVICE_STORAGE_NVME_H
#define KVIK_DEVICE_STORAGE_NVME_H

#include "block/block.h"
#include "device/bus/pci.h"

struct nvme;

/* Put the function on the bus, with an image that is its own even when this fails. `number` is for a serial
 * number where the image has none. NULL and `error`. */
struct nvme *nvme_create(struct pci_bus *bus, unsigned slot_function, struct block *block,
			 unsigned number, struct error *error);

extern const struct device_ops nvme_device_ops; /* device: struct nvme */

#endif
