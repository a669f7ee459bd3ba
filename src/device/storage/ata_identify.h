/* IDENTIFY DEVICE and IDENTIFY PACKET DEVICE data (ATA8-ACS §7.16, §7.17). */
#ifndef KVIK_DEVICE_STORAGE_ATA_IDENTIFY_H
#define KVIK_DEVICE_STORAGE_ATA_IDENTIFY_H

#include "device/storage/ata.h"

void ata_identify(const struct ata_drive *drive, uint8_t data[ATA_SECTOR]);

/* Sectors that commands of 28 bits reach. */
uint32_t ata_sectors_28(const struct ata_drive *drive);
uint64_t ata_sectors(const struct ata_drive *drive);

#endif
