/* INQUIRY: what a unit is (SPC-4 §6.6, the vital product data of §7.8, SBC-3 §6.5). */
#include <string.h>

#include "device/storage/scsi_parts.h"

#define TYPE_DISK  0x00
#define TYPE_CDROM 0x05

#define PAGE_SUPPORTED	  0x00
#define PAGE_SERIAL	  0x80
#define PAGE_IDENTIFIERS  0x83
#define PAGE_LIMITS	  0xb0
#define PAGE_CHARACTERISTICS 0xb1
#define PAGE_PROVISIONING 0xb2

#define LIMITS_SIZE 0x3c
#define UNMAP_MAX   (1u << 22) /* blocks at once: 2 GiB */

static size_t put_serial(uint8_t *page, const struct storage_drive *drive)
{
	size_t length = strlen(drive->serial);

	memcpy(page, drive->serial, length);
	return length;
}

/* A world wide name as a designator of eight bytes (§7.8.6.6), or none. */
static size_t put_name(uint8_t *page, uint8_t code_set, uint8_t type, uint64_t name)
{
	if (!name)
		return 0;
	page[0] = code_set;
	page[1] = type;
	page[3] = sizeof(name);
	put_be64(page + 4, name);
	return 4 + sizeof(name);
}

/* Designators: the serial number as text (§7.8.6.3), and names. */
static size_t put_identifiers(uint8_t *page, const struct storage_drive *drive)
{
	size_t length;

	page[0] = 0x02;
	page[1] = 0x00; /* vendor specific */
	length = put_serial(page + 4, drive);
	page[3] = length;
	length += 4;
	length += put_name(page + length, 0x01, 0x03, drive->identity.wwn);	 /* binary; NAA, of the unit */
	return length + put_name(page + length, 0x61, 0x93, drive->identity.port_wwn); /* by SAS; of the target's port */
}

static size_t put_limits(uint8_t *page)
{
	put_be32(page + 16, UNMAP_MAX);
	put_be32(page + 20, 1); /* one range in an UNMAP */
	put_be64(page + 32, UNMAP_MAX); /* WRITE SAME, likewise */
	return LIMITS_SIZE;
}

static void answer_page(const struct scsi_unit *unit, struct scsi_task *task)
{
	uint8_t *page = task->data + 4;
	const struct storage_drive *drive = unit->drive;
	bool can_discard = drive->block && block_info(drive->block)->can_discard;
	size_t size = 0;

	memset(task->data, 0, 256);
	task->data[0] = drive->is_cdrom ? TYPE_CDROM : TYPE_DISK;
	task->data[1] = task->cdb[2];
	switch (task->cdb[2]) {
	case PAGE_SUPPORTED:
		page[size++] = PAGE_SUPPORTED;
		page[size++] = PAGE_SERIAL;
		page[size++] = PAGE_IDENTIFIERS;
		if (!drive->is_cdrom) {
			page[size++] = PAGE_LIMITS;
			page[size++] = PAGE_CHARACTERISTICS;
			page[size++] = PAGE_PROVISIONING;
		}
		break;
	case PAGE_SERIAL: size = put_serial(page, drive); break;
	case PAGE_IDENTIFIERS: size = put_identifiers(page, drive); break;
	case PAGE_LIMITS: size = put_limits(page); break;
	case PAGE_CHARACTERISTICS: size = LIMITS_SIZE; break; /* nothing of it is known */
	case PAGE_PROVISIONING:
		page[1] = can_discard ? 0xe0 : 0x60; /* UNMAP, WRITE SAME (16) and (10) */
		page[2] = 0x02;			     /* thin */
		size = 4;
		break;
	default: scsi_fail(task, SENSE_BAD_FIELD); return;
	}
	if (drive->is_cdrom && task->cdb[2] >= PAGE_LIMITS) {
		scsi_fail(task, SENSE_BAD_FIELD);
		return;
	}
	put_be16(task->data + 2, size);
	scsi_answer(task, 4 + size, get_be16(task->cdb + 3));
}

void scsi_inquiry(const struct scsi_unit *unit, struct scsi_task *task)
{
	const struct storage_drive *drive = unit->drive;
	const struct drive_identity *identity = &drive->identity;
	const char *product = drive->is_cdrom ? (unit->is_atapi ? "QEMU DVD-ROM" : "QEMU CD-ROM") : "QEMU HARDDISK";
	uint8_t *data = task->data;

	if (task->cdb[1] & 0x01) {
		answer_page(unit, task);
		return;
	}
	if (task->cdb[2]) {
		scsi_fail(task, SENSE_BAD_FIELD);
		return;
	}
	memset(data, 0, 36);
	data[0] = drive->is_cdrom ? TYPE_CDROM : TYPE_DISK;
	data[1] = drive->is_cdrom || unit->is_removable ? 0x80 : 0; /* removable */
	data[2] = 5;			      /* SPC-3 */
	data[3] = unit->is_atapi ? 0x21 : 0x12; /* format of these data; HISUP */
	data[4] = 36 - 5;
	data[7] = unit->is_atapi ? 0 : 0x12; /* SYNC, CMDQUE */
	drive_put_text(data + 8, 8, *identity->vendor ? identity->vendor : "QEMU");
	drive_put_text(data + 16, 16, *identity->product ? identity->product : product);
	drive_put_text(data + 32, 4, *identity->revision ? identity->revision : DRIVE_REVISION);
	/* ATAPI's allocation length has one byte (SPC-2). */
	scsi_answer(task, 36, unit->is_atapi ? task->cdb[4] : get_be16(task->cdb + 3));
}
