/*
 * SCSI commands (SPC-4, SBC-3, MMC-6) of disks and CD-ROMs, as ATAPI and virtio-scsi send them.
 *
 * A controller hands in a command's bytes and learns what is to be done for it: nothing more, bytes for the
 * guest, bytes from the guest, or work on the medium, which it does as its transport moves data
 * (scsi_run.h where that is by lists of guest memory). Here nothing waits and nothing touches guest memory.
 * Called with the controller's lock held.
 */
#ifndef KVIK_DEVICE_STORAGE_SCSI_H
#define KVIK_DEVICE_STORAGE_SCSI_H

#include "device/storage/drive.h"

#define SCSI_CDB_MAX	32
#define SCSI_DATA_MAX	4096
#define SCSI_SENSE_SIZE 18

#define SCSI_GOOD	     0x00
#define SCSI_CHECK_CONDITION 0x02

enum scsi_work {
	SCSI_DONE,	  /* `status` and `sense` say how */
	SCSI_DATA_IN,	  /* `size` bytes of `data` for the guest, then it is done */
	SCSI_PARAMETERS,  /* `size` bytes from the guest into `data`, then scsi_parameters */
	SCSI_READ,	  /* the rest on the medium, at `offset`, `size` bytes; then scsi_worked */
	SCSI_WRITE,
	SCSI_FLUSH,
	SCSI_DISCARD,
	SCSI_ZEROES,
};

/* Key, additional code and qualifier of what went wrong. */
struct scsi_sense {
	uint8_t key, code, qualifier;
};

struct scsi_task {
	uint8_t cdb[SCSI_CDB_MAX];
	enum scsi_work work;
	uint8_t status;
	struct scsi_sense sense;
	uint64_t offset;
	uint64_t size;
	bool is_durable; /* of writes: FUA */
	bool may_unmap;	 /* of zeroes */
	uint8_t data[SCSI_DATA_MAX];
};

/* A logical unit: a drive that understands SCSI. Owned and embedded by its controller. */
struct scsi_unit {
	struct storage_drive *drive;
	bool is_atapi;		      /* by ATA's packets: INQUIRY says so */
	bool is_removable;	      /* a disk's medium, INQUIRY says; a CD-ROM always is */
	struct scsi_sense last;	      /* for REQUEST SENSE; key 0: nothing */
	struct scsi_sense attention; /* for the next command that may tell of it; key 0: nothing */
	uint8_t event;		      /* a media event of MMC-6 §6.7.2.3 to tell of; 0: none */
};

/* What a command is about; `cdb` is filled in (zeroes behind its end). */
void scsi_begin(struct scsi_unit *unit, struct scsi_task *task);
/* The parameters have come: `available` bytes of them in `data`. */
void scsi_parameters(struct scsi_unit *unit, struct scsi_task *task, size_t available);
/* The work was done, or failed. */
void scsi_worked(struct scsi_unit *unit, struct scsi_task *task, int result);

/* What a target answers by itself: REPORT LUNS, and whatever is for a unit that it does not have. It has `count` units, at
 * most SCSI_TARGET_UNITS_MAX; the task ends, or has data for the guest. */
#define SCSI_TARGET_UNITS_MAX 256
void scsi_target_answer(const uint16_t *luns, unsigned count, struct scsi_task *task);
/* A unit's number, below 16384, in the two bytes that it begins with (SAM-5 §4.7.7). */
void scsi_write_lun(uint8_t bytes[2], unsigned lun);

/* Fixed-format sense data (SPC-4 §4.5.3). */
void scsi_write_sense(uint8_t bytes[SCSI_SENSE_SIZE], const struct scsi_sense *sense);

/* Power on or reset; `tells` whether the next command hears of it. */
void scsi_unit_reset(struct scsi_unit *unit, bool tells);
/* Its medium has another size: the next command hears of it, unless it hears of a reset. */
#define SCSI_RESIZED_CODE      0x2a
#define SCSI_RESIZED_QUALIFIER 0x09
void scsi_unit_resized(struct scsi_unit *unit);
/* Bytes of a logical block. */
static inline uint32_t scsi_block_bytes(const struct scsi_unit *unit)
{
	return unit->drive->is_cdrom ? 2048 : 512;
}

void scsi_unit_transfer(struct scsi_unit *loaded, struct state_stream *state);
/* What was transferred becomes the unit's. */
void scsi_unit_restore(struct scsi_unit *unit, const struct scsi_unit *loaded);

#endif
