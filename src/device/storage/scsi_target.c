/* What a target has to say, beyond its units: which it has, and that others are not there (SPC-4 §6.33, §6.6.2); and how it is
 * written. */
#include <string.h>

#include "device/storage/scsi_parts.h"

#define NO_UNIT	     0x7f /* of INQUIRY: none can be there, of no known type */
#define INQUIRY_SIZE 36
#define FLAT	     0x40 /* the way of addressing units from 256 on */

_Static_assert(8 + SCSI_TARGET_UNITS_MAX * 8 <= SCSI_DATA_MAX, "a list of units fits");

void scsi_write_sense(uint8_t bytes[SCSI_SENSE_SIZE], const struct scsi_sense *sense)
{
	memset(bytes, 0, SCSI_SENSE_SIZE);
	bytes[0] = 0x70; /* current, fixed format */
	bytes[2] = sense->key;
	bytes[7] = SCSI_SENSE_SIZE - 8;
	bytes[12] = sense->code;
	bytes[13] = sense->qualifier;
}

void scsi_write_lun(uint8_t bytes[2], unsigned lun)
{
	bytes[0] = lun < 256 ? 0 : FLAT | lun >> 8;
	bytes[1] = lun;
}

/* In the order of their numbers. */
static void report_luns(const uint16_t *luns, unsigned count, struct scsi_task *task)
{
	unsigned i, j, place;

	memset(task->data, 0, 8 + count * 8);
	put_be32(task->data, count * 8);
	for (i = 0; i < count; i++) {
		for (j = 0, place = 0; j < count; j++)
			place += luns[j] < luns[i];
		scsi_write_lun(task->data + 8 + place * 8, luns[i]);
	}
	scsi_answer(task, 8 + count * 8, get_be32(task->cdb + 6));
}

void scsi_target_answer(const uint16_t *luns, unsigned count, struct scsi_task *task)
{
	const struct scsi_sense sense = SENSE_BAD_UNIT;

	task->status = SCSI_GOOD;
	switch (task->cdb[0]) {
	case SCSI_REPORT_LUNS: report_luns(luns, count, task); break;
	case SCSI_INQUIRY:
		if (task->cdb[1] & 0x01) {
			scsi_fail(task, SENSE_BAD_UNIT);
			break;
		}
		memset(task->data, 0, INQUIRY_SIZE);
		task->data[0] = NO_UNIT;
		task->data[2] = 5;    /* SPC-3 */
		task->data[3] = 0x12; /* format of these data; HISUP */
		task->data[4] = INQUIRY_SIZE - 5;
		scsi_answer(task, INQUIRY_SIZE, get_be16(task->cdb + 3));
		break;
	case SCSI_REQUEST_SENSE:
		scsi_write_sense(task->data, &sense);
		scsi_answer(task, SCSI_SENSE_SIZE, task->cdb[4]);
		break;
	default: scsi_fail(task, SENSE_BAD_UNIT); break;
	}
}
