/*
 * An AHCI controller (Serial ATA AHCI 1.3.1) as the ICH9 has it: six ports, each with a disk or a CD-ROM drive,
 * 32 command slots, native queues, MSI.
 */
#ifndef KVIK_DEVICE_STORAGE_AHCI_H
#define KVIK_DEVICE_STORAGE_AHCI_H

#include "device/bus/pci.h"
#include "device/storage/drive.h"
#include "device/storage/tray.h"

#define AHCI_PORTS 6

struct ahci;

/* Put the function on the bus, with the drives that are present, whose images are its own even when this
 * fails. NULL and `error`. */
struct ahci *ahci_create(struct pci_bus *bus, unsigned slot_function,
			 const struct drive_config drives[AHCI_PORTS], struct error *error);

/* That of a CD-ROM drive on a port. */
struct tray ahci_tray(struct ahci *ahci, unsigned port);

extern const struct device_ops ahci_device_ops; /* device: struct ahci */

#endif
