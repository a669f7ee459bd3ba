/*
 * What disks and CD-ROMs have in common, and the commands of disks (SBC-3 §5). Not modelled: reservations,
 * protection information, logical blocks of other sizes, tagged task management beyond what a controller does.
 */
#include "device/storage/scsi_parts.h"

#include <errno.h>
#include <string.h>

#define UNMAP_HEADER	 8
#define UNMAP_DESCRIPTOR 16
#define FUA		 0x08 /* in byte 1 of READ and WRITE (10) to (16) */

void scsi_unit_reset(struct scsi_unit *unit, bool tells)
{
	unit->last = (struct scsi_sense){0};
	unit->attention = tells ? SENSE_RESET : (struct scsi_sense){0};
	unit->event = 0;
}

void scsi_unit_resized(struct scsi_unit *unit)
{
	if (!unit->attention.key)
		unit->attention = SENSE_RESIZED;
}

static uint64_t block_count(const struct scsi_unit *unit)
{
	return drive_size(unit->drive) / scsi_block_bytes(unit);
}

static void request_sense(struct scsi_unit *unit, struct scsi_task *task)
{
	if (unit->attention.key && !unit->last.key) {
		unit->last = unit->attention;
		unit->attention.key = 0;
	}
	scsi_write_sense(task->data, &unit->last);
	unit->last = (struct scsi_sense){0};
	scsi_answer(task, SCSI_SENSE_SIZE, task->cdb[4]);
}

static void read_capacity_10(const struct scsi_unit *unit, struct scsi_task *task)
{
	uint64_t count = block_count(unit);

	put_be32(task->data, count - 1 > UINT32_MAX ? UINT32_MAX : count - 1);
	put_be32(task->data + 4, scsi_block_bytes(unit));
	scsi_answer(task, 8, 8);
}

static void read_capacity_16(const struct scsi_unit *unit, struct scsi_task *task)
{
	memset(task->data, 0, 32);
	put_be64(task->data, block_count(unit) - 1);
	put_be32(task->data + 8, scsi_block_bytes(unit));
	if (!unit->drive->is_cdrom && block_info(unit->drive->block)->can_discard)
		task->data[14] = 0x80; /* LBPME: provisioning is there */
	scsi_answer(task, 32, get_be32(task->cdb + 10));
}

/* Blocks [lba, lba + count), as work of that kind. */
static void access_blocks(const struct scsi_unit *unit, struct scsi_task *task, enum scsi_work work,
			  uint64_t lba, uint64_t count)
{
	uint64_t blocks = block_count(unit);

	if (work != SCSI_READ && drive_is_readonly(unit->drive)) {
		scsi_fail(task, SENSE_PROTECTED);
	} else if (lba > blocks || count > blocks - lba) {
		scsi_fail(task, SENSE_OUT_OF_RANGE);
	} else if (count) {
		task->work = work;
		task->offset = lba * scsi_block_bytes(unit);
		task->size = count * scsi_block_bytes(unit);
	}
}

/* READ, WRITE, WRITE SAME and VERIFY have their numbers where the group of the operation code says. */
static void read_range(const uint8_t *cdb, uint64_t *lba, uint64_t *count)
{
	switch (cdb[0] >> 5) {
	case 0:
		*lba = get_be32(cdb) & 0x1fffff;
		*count = cdb[4] ? cdb[4] : 256;
		break;
	case 4:
		*lba = get_be64(cdb + 2);
		*count = get_be32(cdb + 10);
		break;
	case 5:
		*lba = get_be32(cdb + 2);
		*count = get_be32(cdb + 6);
		break;
	default:
		*lba = get_be32(cdb + 2);
		*count = get_be16(cdb + 7);
		break;
	}
}

static void transfer_blocks(const struct scsi_unit *unit, struct scsi_task *task, enum scsi_work work)
{
	uint64_t lba, count;

	read_range(task->cdb, &lba, &count);
	if (task->cdb[0] >> 5) {
		/* Protection information is not there (SBC-3 table 39). */
		if (task->cdb[1] & 0xe0) {
			scsi_fail(task, SENSE_BAD_FIELD);
			return;
		}
		task->is_durable = work == SCSI_WRITE && (task->cdb[1] & FUA);
	}
	access_blocks(unit, task, work, lba, count);
}

/* Zeroes alone: of one block from the guest, which scsi_parameters looks at, or of none (NDOB). */
static void write_same(const struct scsi_unit *unit, struct scsi_task *task)
{
	bool is_16 = task->cdb[0] == SCSI_WRITE_SAME_16;
	uint64_t lba, count;

	read_range(task->cdb, &lba, &count);
	if ((task->cdb[1] & (is_16 ? 0xf6 : 0xf7)) || !count) {
		scsi_fail(task, SENSE_BAD_FIELD);
		return;
	}
	task->may_unmap = task->cdb[1] & 0x08;
	access_blocks(unit, task, SCSI_ZEROES, lba, count);
	if (task->work == SCSI_ZEROES && !(is_16 && (task->cdb[1] & 0x01))) {
		task->work = SCSI_PARAMETERS;
		task->size = scsi_block_bytes(unit);
	}
}

static void write_same_data(const struct scsi_unit *unit, struct scsi_task *task, size_t available)
{
	uint64_t lba, count;
	size_t i;

	read_range(task->cdb, &lba, &count);
	if (available < scsi_block_bytes(unit)) {
		scsi_fail(task, SENSE_BAD_LENGTH);
		return;
	}
	for (i = 0; i < scsi_block_bytes(unit); i++) {
		if (task->data[i]) {
			scsi_fail(task, SENSE_BAD_PARAMETER);
			return;
		}
	}
	access_blocks(unit, task, SCSI_ZEROES, lba, count);
}

static void unmap(const struct scsi_unit *unit, struct scsi_task *task)
{
	uint16_t size = get_be16(task->cdb + 7);

	if (drive_is_readonly(unit->drive)) {
		scsi_fail(task, SENSE_PROTECTED);
	} else if (task->cdb[1] & 0x01) {
		scsi_fail(task, SENSE_BAD_FIELD);
	} else if (size > SCSI_DATA_MAX) {
		scsi_fail(task, SENSE_BAD_LENGTH);
	} else if (size) {
		task->work = SCSI_PARAMETERS;
		task->size = size;
	}
}

/* One range, as the block limits page says (SBC-3 §5.28). */
static void unmap_data(const struct scsi_unit *unit, struct scsi_task *task, size_t available)
{
	size_t described;

	if (available < UNMAP_HEADER) {
		scsi_fail(task, SENSE_BAD_LENGTH);
		return;
	}
	described = get_be16(task->data + 2);
	if (described < UNMAP_DESCRIPTOR)
		return;
	if (described >= 2 * UNMAP_DESCRIPTOR || available < UNMAP_HEADER + UNMAP_DESCRIPTOR) {
		scsi_fail(task, SENSE_BAD_PARAMETER);
		return;
	}
	access_blocks(unit, task, SCSI_DISCARD, get_be64(task->data + UNMAP_HEADER),
		      get_be32(task->data + UNMAP_HEADER + 8));
}

static void begin_disk(const struct scsi_unit *unit, struct scsi_task *task)
{
	uint64_t lba, count;

	switch (task->cdb[0]) {
	case SCSI_READ_6:
	case SCSI_READ_10:
	case SCSI_READ_12:
	case SCSI_READ_16: transfer_blocks(unit, task, SCSI_READ); break;
	case SCSI_WRITE_6:
	case SCSI_WRITE_10:
	case SCSI_WRITE_12:
	case SCSI_WRITE_16: transfer_blocks(unit, task, SCSI_WRITE); break;
	case SCSI_WRITE_SAME_10:
	case SCSI_WRITE_SAME_16: write_same(unit, task); break;
	case SCSI_UNMAP: unmap(unit, task); break;
	case SCSI_SYNCHRONIZE_10:
	case SCSI_SYNCHRONIZE_16: task->work = SCSI_FLUSH; break;
	case SCSI_VERIFY_10:
	case SCSI_VERIFY_16:
		/* Of the medium, without comparing: that the blocks are there. */
		if (task->cdb[1] & 0x06) {
			scsi_fail(task, SENSE_BAD_FIELD);
			break;
		}
		read_range(task->cdb, &lba, &count);
		access_blocks(unit, task, SCSI_READ, lba, count);
		if (task->work == SCSI_READ)
			task->work = SCSI_DONE;
		break;
	case SCSI_START_STOP:
	case SCSI_ALLOW_REMOVAL:
	case SCSI_SEEK_10:
	case SCSI_RESERVE_6:
	case SCSI_RELEASE_6: break;
	default: scsi_fail(task, SENSE_UNKNOWN_COMMAND); break;
	}
}

/* What is answered without a medium. */
static bool begin_common(struct scsi_unit *unit, struct scsi_task *task)
{
	/* A controller with more answers for its target. */
	static const uint16_t only_lun = 0;

	switch (task->cdb[0]) {
	case SCSI_INQUIRY: scsi_inquiry(unit, task); return true;
	case SCSI_REPORT_LUNS: scsi_target_answer(&only_lun, 1, task); return true;
	case SCSI_REQUEST_SENSE: request_sense(unit, task); return true;
	case SCSI_MODE_SENSE_6:
	case SCSI_MODE_SENSE_10: scsi_mode_sense(unit, task); return true;
	case SCSI_MODE_SELECT_6:
	case SCSI_MODE_SELECT_10:
		task->work = SCSI_PARAMETERS;
		task->size = task->cdb[0] == SCSI_MODE_SELECT_6 ? task->cdb[4]
								: get_be16(task->cdb + 7);
		if (task->size > SCSI_DATA_MAX)
			scsi_fail(task, SENSE_BAD_LENGTH);
		else if (!task->size)
			task->work = SCSI_DONE;
		return true;
	case SCSI_SEND_DIAGNOSTIC:
		/* The default self-test passes; there are no others. */
		if (!(task->cdb[1] & 0x04))
			scsi_fail(task, SENSE_BAD_FIELD);
		return true;
	default: return false;
	}
}

static void begin_with_medium(struct scsi_unit *unit, struct scsi_task *task)
{
	if (!drive_medium(unit->drive)) {
		scsi_fail(task, unit->drive->is_open ? SENSE_TRAY_OPEN : SENSE_NO_MEDIUM);
		return;
	}
	switch (task->cdb[0]) {
	case SCSI_TEST_UNIT_READY: return;
	case SCSI_READ_CAPACITY_10: read_capacity_10(unit, task); return;
	case SCSI_SERVICE_IN_16:
		if ((task->cdb[1] & 0x1f) == 0x10)
			read_capacity_16(unit, task);
		else
			scsi_fail(task, SENSE_BAD_FIELD);
		return;
	default: break;
	}
	if (!unit->drive->is_cdrom) {
		begin_disk(unit, task);
		return;
	}
	switch (task->cdb[0]) {
	case SCSI_READ_6:
	case SCSI_READ_10:
	case SCSI_READ_12:
	case SCSI_READ_16: transfer_blocks(unit, task, SCSI_READ); break;
	case SCSI_SEEK_10:
	case SCSI_VERIFY_10:
	case SCSI_SYNCHRONIZE_10: break;
	default: scsi_fail(task, SENSE_UNKNOWN_COMMAND); break;
	}
}

/* What it ended with is what REQUEST SENSE tells. */
static void remember(struct scsi_unit *unit, const struct scsi_task *task)
{
	if (task->work == SCSI_DONE && task->status == SCSI_CHECK_CONDITION)
		unit->last = task->sense;
}

void scsi_begin(struct scsi_unit *unit, struct scsi_task *task)
{
	uint8_t code = task->cdb[0];
	bool tells = code != SCSI_INQUIRY && code != SCSI_REPORT_LUNS && code != SCSI_REQUEST_SENSE &&
		     code != SCSI_GET_EVENT && code != SCSI_GET_CONFIGURATION;

	task->work = SCSI_DONE;
	task->status = SCSI_GOOD;
	task->sense = (struct scsi_sense){0};
	task->offset = task->size = 0;
	task->is_durable = task->may_unmap = false;
	if (unit->drive->has_changed) {
		unit->drive->has_changed = false;
		unit->attention = SENSE_MEDIUM_CHANGED;
	}
	if (code != SCSI_REQUEST_SENSE && tells)
		unit->last = (struct scsi_sense){0};
	if (tells && unit->attention.key) {
		scsi_fail(task, unit->attention);
		unit->attention.key = 0;
	} else if (!begin_common(unit, task) &&
		   !(unit->drive->is_cdrom && scsi_cdrom_begin(unit, task))) {
		begin_with_medium(unit, task);
	}
	remember(unit, task);
}

void scsi_parameters(struct scsi_unit *unit, struct scsi_task *task, size_t available)
{
	task->work = SCSI_DONE;
	switch (task->cdb[0]) {
	case SCSI_UNMAP: unmap_data(unit, task, available); break;
	case SCSI_WRITE_SAME_10:
	case SCSI_WRITE_SAME_16: write_same_data(unit, task, available); break;
	default: scsi_mode_selected(unit, task, available); break;
	}
	remember(unit, task);
}

void scsi_worked(struct scsi_unit *unit, struct scsi_task *task, int result)
{
	bool was_reading = task->work == SCSI_READ;

	task->work = SCSI_DONE;
	if (result == -ENOSPC)
		scsi_fail(task, SENSE_NO_SPACE);
	else if (result < 0)
		scsi_fail(task, was_reading ? SENSE_READ_ERROR : SENSE_WRITE_ERROR);
	remember(unit, task);
}

static void transfer_sense(struct scsi_sense *sense, struct state_stream *state)
{
	state_u8(state, "sense key", &sense->key);
	state_u8(state, "sense code", &sense->code);
	state_u8(state, "sense qualifier", &sense->qualifier);
}

void scsi_unit_transfer(struct scsi_unit *loaded, struct state_stream *state)
{
	transfer_sense(&loaded->last, state);
	transfer_sense(&loaded->attention, state);
	state_u8(state, "media event", &loaded->event);
	state_check(state, "media event", loaded->event < 4);
}

void scsi_unit_restore(struct scsi_unit *unit, const struct scsi_unit *loaded)
{
	unit->last = loaded->last;
	unit->attention = loaded->attention;
	unit->event = loaded->event;
}
