#include "device/storage/ata_identify.h"

#include <string.h>

#define LBA_28_MAX 0x0fffffffu

#define CAN_DMA	 0x0100
#define CAN_LBA	 0x0200
#define CAN_IORDY 0x0c00 /* supported, may be disabled */

uint64_t ata_sectors(const struct ata_drive *drive)
{
	return drive_size(&drive->drive) / ATA_SECTOR;
}

uint32_t ata_sectors_28(const struct ata_drive *drive)
{
	uint64_t sectors = ata_sectors(drive);

	return sectors > LBA_28_MAX ? LBA_28_MAX : sectors;
}

static void put(uint8_t *data, unsigned word, uint16_t value)
{
	data[2 * word] = value;
	data[2 * word + 1] = value >> 8;
}

static void put_32(uint8_t *data, unsigned word, uint32_t value)
{
	put(data, word, value);
	put(data, word + 1, value >> 16);
}

/* The first character of a word is its upper byte. */
static void put_text(uint8_t *data, unsigned word, unsigned words, const char *text)
{
	uint8_t field[40];
	unsigned i;

	drive_put_text(field, 2 * words, text);
	for (i = 0; i < words; i++)
		put(data, word + i, field[2 * i] << 8 | field[2 * i + 1]);
}

static uint16_t mode_bits(const struct ata_drive *drive, uint8_t kind, uint8_t modes)
{
	bool is_chosen = (drive->dma_mode & ~7) == kind;

	return modes | (is_chosen ? 1u << (8 + (drive->dma_mode & 7)) : 0);
}

static void put_common(const struct ata_drive *drive, uint8_t *data)
{
	put_text(data, 10, 10, drive->drive.serial);
	put_text(data, 23, 4, DRIVE_REVISION);
	put_text(data, 27, 20, drive->drive.is_cdrom ? "QEMU DVD-ROM" : "QEMU HARDDISK");
	put(data, 48, 1); /* 32-bit transfers */
	put(data, 53, 6); /* words 64 to 70 and 88 count */
	put(data, 63, mode_bits(drive, 0x20, 0x07));
	put(data, 64, 3); /* PIO 3 and 4 */
	put(data, 65, 120);
	put(data, 66, 120);
	put(data, 67, 120);
	put(data, 68, 120);
	put(data, 80, 0x01f0); /* ATA-4 to ATA8 */
	put(data, 88, mode_bits(drive, 0x40, 0x3f));
	put(data, 93, 0x6001 | (drive->is_ahci ? 0 : 0x2000));
}

static void put_features(const struct ata_drive *drive, uint8_t *data)
{
	const struct block_info *info = drive->drive.block ? block_info(drive->drive.block) : NULL;

	put(data, 82, 1u << 14 | 1u << 5); /* NOP, a write cache */
	put(data, 83, 1u << 14 | 1u << 13 | 1u << 12 | 1u << 10); /* flush, flush ext, 48 bits */
	put(data, 84, 1u << 14 | 1u << 6 | (drive->is_ahci ? 1u << 5 : 0)); /* FUA, logs */
	put(data, 85, 1u << 14 | (drive->has_write_cache ? 1u << 5 : 0));
	put(data, 86, 1u << 13 | 1u << 12 | 1u << 10);
	put(data, 87, 1u << 14 | 1u << 6 | (drive->is_ahci ? 1u << 5 : 0));
	if (info && info->can_discard)
		put(data, 169, 1); /* TRIM */
}

static void put_geometry(const struct ata_drive *drive, uint8_t *data)
{
	struct block_geometry geometry = {.cylinders = 1, .heads = 16, .sectors = 63};
	uint32_t cylinders, chs;

	if (drive->drive.block)
		geometry = block_info(drive->drive.block)->geometry;
	put(data, 1, geometry.cylinders);
	put(data, 3, geometry.heads);
	put(data, 6, geometry.sectors);
	cylinders = ata_sectors(drive) / (drive->heads * drive->sectors);
	cylinders = cylinders > 16383 ? 16383 : cylinders ? cylinders : 1;
	chs = cylinders * drive->heads * drive->sectors;
	put(data, 54, cylinders);
	put(data, 55, drive->heads);
	put(data, 56, drive->sectors);
	put_32(data, 57, chs);
}

static void identify_disk(const struct ata_drive *drive, uint8_t *data)
{
	uint64_t sectors = ata_sectors(drive);

	put(data, 0, 0x0040);
	put_geometry(drive, data);
	put(data, 47, 0x8000 | ATA_MULTIPLE_MAX);
	put(data, 49, CAN_IORDY | CAN_LBA | CAN_DMA);
	put(data, 50, 0x4000);
	put(data, 53, 7);
	put(data, 59, drive->multiple ? 0x100 | drive->multiple : 0);
	put_32(data, 60, ata_sectors_28(drive));
	if (drive->is_ahci) {
		put(data, 75, ATA_QUEUE_DEPTH - 1);
		put(data, 76, 1u << 8 | 1u << 2 | 1u << 1); /* native queues, 3 and 1.5 Gb/s */
	}
	put_features(drive, data);
	put_32(data, 100, sectors);
	put_32(data, 102, sectors >> 32);
	put(data, 105, 8); /* sectors of ranges in one TRIM */
	put(data, 106, 0x4000);
	put(data, 217, 1); /* does not rotate */
}

static void identify_packet(const struct ata_drive *drive, uint8_t *data)
{
	put(data, 0, 0x8580); /* a CD-ROM, removable, packets of 12 bytes, answered within 50 us */
	put(data, 49, CAN_IORDY | CAN_LBA | CAN_DMA);
	put(data, 82, 1u << 14 | 1u << 9 | 1u << 4); /* NOP, DEVICE RESET, PACKET */
	put(data, 83, 1u << 14);
	put(data, 84, 1u << 14);
	put(data, 85, 1u << 14 | 1u << 9 | 1u << 4);
	put(data, 87, 1u << 14);
	if (drive->is_ahci)
		put(data, 76, 1u << 2 | 1u << 1);
}

void ata_identify(const struct ata_drive *drive, uint8_t data[ATA_SECTOR])
{
	memset(data, 0, ATA_SECTOR);
	put_common(drive, data);
	if (drive->drive.is_cdrom)
		identify_packet(drive, data);
	else
		identify_disk(drive, data);
}
