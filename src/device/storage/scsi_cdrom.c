/*
 * Commands of CD-ROM drives (MMC-6 §6): a medium of one data track, the tray, and what a drive tells of both.
 * Not modelled: audio, writing, raw sectors, copy protection.
 */
#include <string.h>

#include "device/storage/scsi_parts.h"

#define FRAMES_A_SECOND 75
#define LEAD_IN_FRAMES	150
#define LEAD_OUT	0xaa
#define DATA_TRACK	0x14 /* ADR 1, control 4 */
#define DVD_BLOCKS	(737280000ull / 2048) /* larger media than any CD are DVDs */

#define PROFILE_CDROM  0x0008
#define PROFILE_DVDROM 0x0010

#define GET_EVENT_POLLED 0x01
#define EVENT_CLASS_MEDIA 4

static uint32_t block_count(const struct scsi_unit *unit)
{
	uint64_t count = drive_size(unit->drive) / 2048;

	return count > UINT32_MAX ? UINT32_MAX : count;
}

static void put_address(uint8_t *at, uint32_t lba, bool is_msf)
{
	uint32_t frames = lba + LEAD_IN_FRAMES;

	if (!is_msf) {
		put_be32(at, lba);
		return;
	}
	at[0] = 0;
	at[1] = frames / FRAMES_A_SECOND / 60;
	at[2] = frames / FRAMES_A_SECOND % 60;
	at[3] = frames % FRAMES_A_SECOND;
}

static size_t put_track(uint8_t *at, uint8_t track, uint32_t lba, bool is_msf)
{
	memset(at, 0, 8);
	at[1] = DATA_TRACK;
	at[2] = track;
	put_address(at + 4, lba, is_msf);
	return 8;
}

/* An entry of the full TOC (§6.25.3.4). */
static size_t put_raw(uint8_t *at, uint8_t point, uint32_t lba, bool is_address, bool is_msf)
{
	memset(at, 0, 11);
	at[0] = 1;
	at[1] = DATA_TRACK;
	at[3] = point;
	if (is_address)
		put_address(at + 7, lba, is_msf);
	else
		at[8] = 1; /* the track's number */
	return 11;
}

/* READ TOC/PMA/ATIP (§6.25). Format in byte 2, or as old drivers have it in byte 9. */
static void read_toc(const struct scsi_unit *unit, struct scsi_task *task)
{
	bool is_msf = task->cdb[1] & 2;
	uint8_t format = task->cdb[2] & 0xf, *data = task->data, start = task->cdb[6];
	size_t size = 4;

	if (!format)
		format = task->cdb[9] >> 6;
	memset(data, 0, 64);
	data[2] = data[3] = 1; /* first and last */
	switch (format) {
	case 0:
		if (start > 1 && start != LEAD_OUT) {
			scsi_fail(task, SENSE_BAD_FIELD);
			return;
		}
		if (start <= 1)
			size += put_track(data + size, 1, 0, is_msf);
		size += put_track(data + size, LEAD_OUT, block_count(unit), is_msf);
		break;
	case 1: size += put_track(data + size, 1, 0, is_msf); break;
	case 2:
		size += put_raw(data + size, 0xa0, 0, false, is_msf);
		size += put_raw(data + size, 0xa1, 0, false, is_msf);
		size += put_raw(data + size, 0xa2, block_count(unit), true, is_msf);
		size += put_raw(data + size, 1, 0, true, is_msf);
		break;
	default: scsi_fail(task, SENSE_BAD_FIELD); return;
	}
	put_be16(data, size - 2);
	scsi_answer(task, size, get_be16(task->cdb + 7));
}

static uint16_t profile_of(const struct scsi_unit *unit)
{
	if (!drive_medium(unit->drive))
		return 0;
	return block_count(unit) > DVD_BLOCKS ? PROFILE_DVDROM : PROFILE_CDROM;
}

static size_t put_feature(uint8_t *at, uint16_t code, uint8_t flags, uint8_t size)
{
	memset(at, 0, 4 + size);
	put_be16(at, code);
	at[2] = flags;
	at[3] = size;
	return 4 + size;
}

static size_t put_profiles(uint8_t *at, uint16_t current)
{
	size_t size = put_feature(at, 0x0000, 0x03, 8);

	put_be16(at + 4, PROFILE_DVDROM);
	at[6] = current == PROFILE_DVDROM;
	put_be16(at + 8, PROFILE_CDROM);
	at[10] = current == PROFILE_CDROM;
	return size;
}

/* One of the features, by its place in the order of their codes; 0: none such. */
static size_t put_one_feature(const struct scsi_unit *unit, unsigned which, uint8_t *at)
{
	size_t size;

	switch (which) {
	case 0: return put_profiles(at, profile_of(unit));
	case 1: /* core: its interface, and that it knows the device busy events */
		size = put_feature(at, 0x0001, 0x0b, 8);
		put_be32(at + 4, unit->is_atapi ? 2 : 1);
		at[8] = 1;
		return size;
	case 2: /* removable medium: a tray that locks and ejects */
		size = put_feature(at, 0x0003, 0x03, 4);
		at[4] = 0x29;
		return size;
	case 3: /* random reading */
		size = put_feature(at, 0x0010, drive_medium(unit->drive) ? 0x01 : 0x00, 8);
		put_be32(at + 4, 2048);
		put_be16(at + 8, 16);
		return size;
	case 4: return put_feature(at, 0x001e, profile_of(unit) == PROFILE_CDROM ? 0x09 : 0x08, 4);
	case 5: return put_feature(at, 0x001f, profile_of(unit) == PROFILE_DVDROM ? 0x01 : 0x00, 4);
	default: return 0;
	}
}

/* GET CONFIGURATION (§6.6): all features from a code on, those that are current, or one. */
static void get_configuration(const struct scsi_unit *unit, struct scsi_task *task)
{
	uint8_t type = task->cdb[1] & 3, *data = task->data, *at;
	uint16_t start = get_be16(task->cdb + 2), code;
	size_t size = 8, added;
	unsigned i;

	if (type == 3) {
		scsi_fail(task, SENSE_BAD_FIELD);
		return;
	}
	memset(data, 0, 8);
	put_be16(data + 6, profile_of(unit));
	for (i = 0; (added = put_one_feature(unit, i, data + size)); i++) {
		at = data + size;
		code = get_be16(at);
		if (type == 2 ? code == start : code >= start && (type == 0 || (at[2] & 1)))
			size += added;
	}
	put_be32(data, size - 4);
	scsi_answer(task, size, get_be16(task->cdb + 7));
}

/* GET EVENT STATUS NOTIFICATION (§6.7): media events alone, by asking. */
static void get_event(struct scsi_unit *unit, struct scsi_task *task)
{
	uint8_t *data = task->data;
	size_t size = 4;

	if (!(task->cdb[1] & GET_EVENT_POLLED)) {
		scsi_fail(task, SENSE_BAD_FIELD);
		return;
	}
	memset(data, 0, 8);
	data[3] = 1 << EVENT_CLASS_MEDIA;
	if (task->cdb[4] & 1 << EVENT_CLASS_MEDIA) {
		data[2] = EVENT_CLASS_MEDIA;
		data[4] = unit->event;
		data[5] = (unit->drive->is_open ? 1 : 0) | (drive_medium(unit->drive) ? 2 : 0);
		size = 8;
		/* It is told once, where there was room to tell it. */
		if (get_be16(task->cdb + 7) > 4)
			unit->event = MEDIA_NO_EVENT;
	} else {
		data[2] = 0x80; /* none of those that were asked for */
	}
	put_be16(data, size - 2);
	scsi_answer(task, size, get_be16(task->cdb + 7));
}

void scsi_move_tray(struct scsi_unit *unit, bool opens)
{
	struct storage_drive *drive = unit->drive;

	if (drive->is_open == opens)
		return;
	drive_set_open(drive, opens);
	unit->event = opens ? MEDIA_REMOVED : drive->block ? MEDIA_NEW : MEDIA_NO_EVENT;
	/* Whoever reads behind it has to look at what is in there now. */
	if (!opens && drive->block)
		drive->has_changed = true;
}

/* START STOP UNIT (§6.42). */
static void start_stop(struct scsi_unit *unit, struct scsi_task *task)
{
	struct storage_drive *drive = unit->drive;
	bool loads_or_ejects = task->cdb[4] & 2, starts = task->cdb[4] & 1;

	if ((task->cdb[4] & 0xf0) || !loads_or_ejects)
		return; /* power conditions, the motor */
	if (!starts && drive->is_locked)
		scsi_fail(task, SENSE_LOCKED);
	else
		scsi_move_tray(unit, !starts);
}

static void read_disc(const struct scsi_unit *unit, struct scsi_task *task)
{
	uint8_t *data = task->data;

	(void)unit;
	if (task->cdb[1] & 7) {
		scsi_fail(task, SENSE_BAD_FIELD);
		return;
	}
	memset(data, 0, 34);
	put_be16(data, 32);
	data[2] = 0x0e; /* complete, its last session, too */
	data[3] = data[4] = data[5] = data[6] = 1;
	data[7] = 0x20; /* for any use */
	scsi_answer(task, 34, get_be16(task->cdb + 7));
}

/* READ DVD STRUCTURE (§6.22): the physical format of a DVD. */
static void read_structure(const struct scsi_unit *unit, struct scsi_task *task)
{
	uint8_t *data = task->data;

	if (profile_of(unit) != PROFILE_DVDROM || task->cdb[7] != 0 || task->cdb[6] != 0) {
		scsi_fail(task, SENSE_BAD_FIELD);
		return;
	}
	memset(data, 0, 2052);
	put_be16(data, 2050);
	data[4] = 0x01; /* DVD-ROM, version 1 */
	data[5] = 0x0f; /* 120 mm, any rate */
	data[6] = 0x01; /* one layer */
	put_be32(data + 8, 0x30000);
	put_be32(data + 12, 0x30000 + block_count(unit) - 1);
	scsi_answer(task, 2052, get_be16(task->cdb + 8));
}

/* READ CD (§6.19) of the data alone, which is what READ (10) does. */
static void read_cd(const struct scsi_unit *unit, struct scsi_task *task)
{
	uint64_t lba = get_be32(task->cdb + 2), count = get_be32(task->cdb + 5) & 0xffffff;

	if ((task->cdb[9] & 0xf8) == 0 || !count)
		return;
	if ((task->cdb[9] & 0xf8) != 0x10) {
		scsi_fail(task, SENSE_BAD_FIELD);
	} else if (lba > block_count(unit) || count > block_count(unit) - lba) {
		scsi_fail(task, SENSE_OUT_OF_RANGE);
	} else {
		task->work = SCSI_READ;
		task->offset = lba * 2048;
		task->size = count * 2048;
	}
}

bool scsi_cdrom_begin(struct scsi_unit *unit, struct scsi_task *task)
{
	switch (task->cdb[0]) {
	case SCSI_GET_CONFIGURATION: get_configuration(unit, task); return true;
	case SCSI_GET_EVENT: get_event(unit, task); return true;
	case SCSI_START_STOP: start_stop(unit, task); return true;
	case SCSI_ALLOW_REMOVAL: unit->drive->is_locked = task->cdb[4] & 1; return true;
	case SCSI_MECHANISM_STATUS:
		memset(task->data, 0, 8);
		task->data[1] = unit->drive->is_open ? 0x10 : 0;
		task->data[5] = 1;
		scsi_answer(task, 8, get_be16(task->cdb + 8));
		return true;
	default: break;
	}
	if (!drive_medium(unit->drive))
		return false; /* what is said of that is the same for all */
	switch (task->cdb[0]) {
	case SCSI_READ_TOC: read_toc(unit, task); return true;
	case SCSI_READ_DISC: read_disc(unit, task); return true;
	case SCSI_READ_STRUCTURE: read_structure(unit, task); return true;
	case SCSI_READ_CD: read_cd(unit, task); return true;
	default: return false;
	}
}
