/*
 * The IDE controller of a PIIX3 (Intel 82371SB data sheet, function 1): two channels of two drives at the
 * ports and interrupts that PCs have always had, and bus-master DMA.
 */
#ifndef KVIK_DEVICE_STORAGE_IDE_H
#define KVIK_DEVICE_STORAGE_IDE_H

#include "device/bus/pci.h"
#include "device/storage/drive.h"
#include "device/storage/tray.h"

#define IDE_CHANNELS	   2
#define IDE_CHANNEL_DRIVES 2
#define IDE_DRIVES	   (IDE_CHANNELS * IDE_CHANNEL_DRIVES)

/* Ports of a channel: the task file, and one for control. */
#define IDE_FIRST_PORT(channel)	  ((channel) ? 0x170 : 0x1f0)
#define IDE_PORTS		  8
#define IDE_CONTROL_PORT(channel) ((channel) ? 0x376 : 0x3f6)
#define IDE_IRQ(channel)	  (14 + (channel))

struct ide;
struct ide_channel;

/*
 * Put the function on the bus, with the drives that are present (primary master and slave, secondary master
 * and slave), whose images are its own even when this fails. `irq`: `gsi` is filled in. NULL and `error`.
 */
struct ide *ide_create(struct pci_bus *bus, unsigned slot_function, const struct irq_line *irq,
		       const struct drive_config drives[IDE_DRIVES], struct error *error);
struct ide_channel *ide_channel(struct ide *ide, unsigned channel);
/* That of a CD-ROM drive, at its place among the drives. */
struct tray ide_tray(struct ide *ide, unsigned place);

extern const struct device_ops ide_device_ops; /* device: struct ide */
/* device: struct ide_channel. */
extern const struct pio_ops ide_port_ops, ide_control_ops;

#endif
