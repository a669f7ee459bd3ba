/* MODE SENSE and MODE SELECT (SPC-4 §6.11, §7.5; SBC-3 §6.4; MMC-6 §7): nothing can be changed. */
#include <string.h>

#include "device/storage/scsi_parts.h"

#define PAGE_RECOVERY	  0x01
#define PAGE_GEOMETRY	  0x04
#define PAGE_CACHING	  0x08
#define PAGE_CONTROL	  0x0a
#define PAGE_AUDIO	  0x0e
#define PAGE_CAPABILITIES 0x2a /* of a CD-ROM */
#define PAGE_ALL	  0x3f

#define CONTROL_CHANGEABLE 1
#define CONTROL_SAVED	   3

#define PAGE_BYTES_MAX 24 /* that one page has */

#define CD_SPEED 706 /* KB/s: four times */

static size_t put_page(uint8_t *at, uint8_t code, uint8_t size)
{
	memset(at, 0, size);
	at[0] = code;
	at[1] = size - 2;
	return size;
}

static size_t put_geometry(const struct storage_drive *drive, uint8_t *at, bool is_changeable)
{
	const struct block_geometry *geometry = &block_info(drive->block)->geometry;
	size_t size = put_page(at, PAGE_GEOMETRY, 24);

	if (is_changeable)
		return size;
	put_be32(at + 1, geometry->cylinders);
	at[1] = 24 - 2;
	at[2] = geometry->cylinders >> 16;
	at[3] = geometry->cylinders >> 8;
	at[4] = geometry->cylinders;
	at[5] = geometry->heads;
	put_be16(at + 20, 5400); /* turns a minute */
	return size;
}

static size_t put_capabilities(const struct storage_drive *drive, uint8_t *at, bool is_changeable)
{
	size_t size = put_page(at, PAGE_CAPABILITIES, 22);

	if (is_changeable)
		return size;
	at[2] = 0x3b; /* reads CD-R, CD-RW, DVD-ROM, DVD-R */
	at[4] = 0x70; /* sessions, both modes */
	at[6] = 0x29 | (drive->is_locked ? 2 : 0); /* a tray that locks and ejects */
	put_be16(at + 8, CD_SPEED);
	put_be16(at + 10, 2);	/* volume levels */
	put_be16(at + 12, 512); /* KiB of buffer */
	put_be16(at + 14, CD_SPEED);
	return size;
}

static bool wants(uint8_t page, uint8_t code)
{
	return page == code || page == PAGE_ALL;
}

static size_t put_pages(const struct scsi_unit *unit, uint8_t page, bool is_changeable, uint8_t *at)
{
	const struct storage_drive *drive = unit->drive;
	size_t size = 0;

	if (wants(page, PAGE_RECOVERY)) {
		size += put_page(at + size, PAGE_RECOVERY, drive->is_cdrom ? 8 : 12);
		if (!is_changeable && !drive->is_cdrom)
			at[size - 12 + 2] = 0x80; /* writes are reassigned */
	}
	if (!drive->is_cdrom && wants(page, PAGE_GEOMETRY))
		size += put_geometry(drive, at + size, is_changeable);
	if (!drive->is_cdrom && wants(page, PAGE_CACHING)) {
		size += put_page(at + size, PAGE_CACHING, 20);
		if (!is_changeable && block_info(drive->block)->has_write_cache)
			at[size - 20 + 2] = 0x04; /* WCE */
	}
	if (!unit->is_atapi && wants(page, PAGE_CONTROL))
		size += put_page(at + size, PAGE_CONTROL, 12);
	if (drive->is_cdrom && wants(page, PAGE_AUDIO))
		size += put_page(at + size, PAGE_AUDIO, 16);
	if (drive->is_cdrom && wants(page, PAGE_CAPABILITIES))
		size += put_capabilities(drive, at + size, is_changeable);
	return size;
}

/* A short block descriptor, where a disk's driver wants one. */
static size_t put_descriptor(const struct scsi_unit *unit, uint8_t *at)
{
	uint64_t blocks = drive_size(unit->drive) / scsi_block_bytes(unit);

	memset(at, 0, 8);
	put_be32(at, blocks > 0xffffff ? 0 : blocks);
	put_be32(at + 4, scsi_block_bytes(unit));
	return 8;
}

void scsi_mode_sense(const struct scsi_unit *unit, struct scsi_task *task)
{
	bool is_6 = task->cdb[0] == SCSI_MODE_SENSE_6;
	size_t header = is_6 ? 4 : 8, size = header, pages, descriptor = 0;
	uint8_t *data = task->data, control = task->cdb[2] >> 6, parameter = 0;

	memset(data, 0, header);
	if (control == CONTROL_SAVED) {
		scsi_fail(task, (struct scsi_sense){KEY_ILLEGAL_REQUEST, 0x39, 0x00});
		return;
	}
	if (!unit->drive->is_cdrom) {
		parameter = drive_is_readonly(unit->drive) ? 0x90 : 0x10; /* WP, DPOFUA */
		if (!(task->cdb[1] & 0x08))
			descriptor = put_descriptor(unit, data + size);
	}
	size += descriptor;
	pages = task->cdb[3] ? 0
			     : put_pages(unit, task->cdb[2] & 0x3f, control == CONTROL_CHANGEABLE,
					 data + size);
	if (!pages) {
		scsi_fail(task, SENSE_BAD_FIELD);
		return;
	}
	size += pages;
	if (is_6) {
		data[0] = size - 1;
		data[2] = parameter;
		data[3] = descriptor;
	} else {
		put_be16(data, size - 2);
		data[3] = parameter;
		data[7] = descriptor;
	}
	scsi_answer(task, size, is_6 ? task->cdb[4] : get_be16(task->cdb + 7));
}

/* What is as it is already may be said; Linux sets the error recovery page of CD-ROMs. */
void scsi_mode_selected(const struct scsi_unit *unit, struct scsi_task *task, size_t available)
{
	size_t header = task->cdb[0] == SCSI_MODE_SELECT_6 ? 4 : 8, at;
	uint8_t current[PAGE_BYTES_MAX], page;
	size_t size;

	if (available < header) {
		scsi_fail(task, SENSE_BAD_LENGTH);
		return;
	}
	at = header + (header == 4 ? task->data[3] : get_be16(task->data + 6));
	while (at + 2 <= available) {
		/* All at once can be asked for, and not be said: they are more than fit. */
		page = task->data[at] & 0x3f;
		size = page == PAGE_ALL ? 0 : put_pages(unit, page, false, current);
		if (!size || size != task->data[at + 1] + 2u || at + size > available) {
			scsi_fail(task, SENSE_BAD_PARAMETER);
			return;
		}
		at += size;
	}
}
