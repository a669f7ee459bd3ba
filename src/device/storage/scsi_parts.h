/* SCSI from inside: what its files share. */
#ifndef KVIK_DEVICE_STORAGE_SCSI_PARTS_H
#define KVIK_DEVICE_STORAGE_SCSI_PARTS_H

#include "device/storage/scsi.h"

#include "util/endian.h"

/* Operation codes. */
#define SCSI_TEST_UNIT_READY	 0x00
#define SCSI_REQUEST_SENSE	 0x03
#define SCSI_READ_6		 0x08
#define SCSI_WRITE_6		 0x0a
#define SCSI_INQUIRY		 0x12
#define SCSI_MODE_SELECT_6	 0x15
#define SCSI_RESERVE_6		 0x16
#define SCSI_RELEASE_6		 0x17
#define SCSI_MODE_SENSE_6	 0x1a
#define SCSI_START_STOP		 0x1b
#define SCSI_SEND_DIAGNOSTIC	 0x1d
#define SCSI_ALLOW_REMOVAL	 0x1e
#define SCSI_READ_CAPACITY_10	 0x25
#define SCSI_READ_10		 0x28
#define SCSI_WRITE_10		 0x2a
#define SCSI_SEEK_10		 0x2b
#define SCSI_VERIFY_10		 0x2f
#define SCSI_SYNCHRONIZE_10	 0x35
#define SCSI_WRITE_SAME_10	 0x41
#define SCSI_UNMAP		 0x42 /* of disks; of CD-ROMs: READ SUB-CHANNEL */
#define SCSI_READ_TOC		 0x43
#define SCSI_GET_CONFIGURATION	 0x46
#define SCSI_GET_EVENT		 0x4a
#define SCSI_READ_DISC		 0x51
#define SCSI_MODE_SELECT_10	 0x55
#define SCSI_MODE_SENSE_10	 0x5a
#define SCSI_READ_16		 0x88
#define SCSI_WRITE_16		 0x8a
#define SCSI_VERIFY_16		 0x8f
#define SCSI_SYNCHRONIZE_16	 0x91
#define SCSI_WRITE_SAME_16	 0x93
#define SCSI_SERVICE_IN_16	 0x9e
#define SCSI_REPORT_LUNS	 0xa0
#define SCSI_READ_12		 0xa8
#define SCSI_WRITE_12		 0xaa
#define SCSI_READ_STRUCTURE	 0xad
#define SCSI_MECHANISM_STATUS	 0xbd
#define SCSI_READ_CD		 0xbe

#define KEY_NOT_READY	    0x2
#define KEY_MEDIUM	    0x3
#define KEY_ILLEGAL_REQUEST 0x5
#define KEY_ATTENTION	    0x6
#define KEY_DATA_PROTECT    0x7

#define SENSE_NO_MEDIUM	     (struct scsi_sense){KEY_NOT_READY, 0x3a, 0x01} /* tray closed */
#define SENSE_TRAY_OPEN	     (struct scsi_sense){KEY_NOT_READY, 0x3a, 0x02}
#define SENSE_UNKNOWN_COMMAND (struct scsi_sense){KEY_ILLEGAL_REQUEST, 0x20, 0x00}
#define SENSE_OUT_OF_RANGE   (struct scsi_sense){KEY_ILLEGAL_REQUEST, 0x21, 0x00}
#define SENSE_BAD_FIELD	     (struct scsi_sense){KEY_ILLEGAL_REQUEST, 0x24, 0x00}
#define SENSE_BAD_UNIT	     (struct scsi_sense){KEY_ILLEGAL_REQUEST, 0x25, 0x00}
#define SENSE_BAD_LENGTH     (struct scsi_sense){KEY_ILLEGAL_REQUEST, 0x1a, 0x00}
#define SENSE_BAD_PARAMETER  (struct scsi_sense){KEY_ILLEGAL_REQUEST, 0x26, 0x00}
#define SENSE_LOCKED	     (struct scsi_sense){KEY_ILLEGAL_REQUEST, 0x53, 0x02}
#define SENSE_PROTECTED	     (struct scsi_sense){KEY_DATA_PROTECT, 0x27, 0x00}
#define SENSE_READ_ERROR     (struct scsi_sense){KEY_MEDIUM, 0x11, 0x00}
#define SENSE_WRITE_ERROR    (struct scsi_sense){KEY_MEDIUM, 0x0c, 0x00}
#define SENSE_NO_SPACE	     (struct scsi_sense){KEY_DATA_PROTECT, 0x27, 0x07}
#define SENSE_MEDIUM_CHANGED (struct scsi_sense){KEY_ATTENTION, 0x28, 0x00}
#define SENSE_RESET	     (struct scsi_sense){KEY_ATTENTION, 0x29, 0x00}
#define SENSE_RESIZED	     (struct scsi_sense){KEY_ATTENTION, SCSI_RESIZED_CODE, SCSI_RESIZED_QUALIFIER}

/* Media events (MMC-6 §6.7.2.3.1). */
#define MEDIA_NO_EVENT	    0
#define MEDIA_EJECT_REQUEST 1
#define MEDIA_NEW	    2
#define MEDIA_REMOVED	    3

/* A task's ends. */
static inline void scsi_fail(struct scsi_task *task, struct scsi_sense sense)
{
	task->work = SCSI_DONE;
	task->status = SCSI_CHECK_CONDITION;
	task->sense = sense;
}

/* `size` bytes of `data`, of which the guest takes what it has allocated. */
static inline void scsi_answer(struct scsi_task *task, size_t size, size_t allocated)
{
	task->work = SCSI_DATA_IN;
	task->size = size < allocated ? size : allocated;
}

/* scsi_inquiry.c, scsi_mode.c, scsi_cdrom.c: commands by their subject; false: not one of these. */
void scsi_inquiry(const struct scsi_unit *unit, struct scsi_task *task);
void scsi_mode_sense(const struct scsi_unit *unit, struct scsi_task *task);
void scsi_mode_selected(const struct scsi_unit *unit, struct scsi_task *task, size_t available);
bool scsi_cdrom_begin(struct scsi_unit *unit, struct scsi_task *task);
/* Open or close the tray, whoever does it; nothing, where it is so already. */
void scsi_move_tray(struct scsi_unit *unit, bool opens);

#endif
