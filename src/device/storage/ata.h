/*
 * ATA commands (ATA8-ACS, and ATAPI's PACKET) of disks and CD-ROMs, as IDE and AHCI send them.
 *
 * A controller fills in a drive's task file and learns what is to be done; how data gets to the guest and back
 * (PIO by blocks, DMA) is its own matter. Here nothing waits and nothing touches guest memory. Called with
 * the controller's lock held.
 *
 * Not modelled: security, SMART, host-protected areas, power management beyond saying that it is active. They
 * are not claimed and their commands are aborted.
 */
#ifndef KVIK_DEVICE_STORAGE_ATA_H
#define KVIK_DEVICE_STORAGE_ATA_H

#include "device/storage/drive.h"
#include "device/storage/scsi.h"

#define ATA_SECTOR	512
#define ATA_MULTIPLE_MAX 16
#define ATA_QUEUE_DEPTH	32

/* Status and error. */
#define ATA_BUSY  0x80
#define ATA_READY 0x40
#define ATA_SEEK  0x10 /* of a packet device: service */
#define ATA_DRQ	  0x08
#define ATA_ERR	  0x01
#define ATA_ABORTED   0x04
#define ATA_NOT_FOUND 0x10
#define ATA_UNCORRECTABLE 0x40

/* Device register. */
#define ATA_DEVICE_LBA 0x40
#define ATA_DEVICE_1   0x10

/* Interrupt reason of a packet device, in the count register. */
#define ATA_REASON_COMMAND 0x01
#define ATA_REASON_TO_HOST 0x02

#define ATA_RESET_DEVICE 0x08 /* the one command that a busy drive takes */
#define ATA_PACKET	 0xa0

/* The task file; those of 48-bit commands have a second byte each, written before. */
struct ata_registers {
	uint8_t feature, count, low, mid, high;
	uint8_t feature_2, count_2, low_2, mid_2, high_2;
	uint8_t device, command, status, error;
};

enum ata_work {
	ATA_DONE,	/* the registers say how */
	ATA_DATA_IN,	/* `size` bytes of `data` for the guest */
	ATA_READ,	/* of the medium: `offset`, `size` */
	ATA_WRITE,
	ATA_FLUSH,
	ATA_TRIM,	/* `size` bytes of ranges from the guest, then ata_trim_range of each */
	ATA_SEND_PACKET, /* a command packet is to come */
	ATA_READ_LOG,	/* of queued commands' errors: the controller knows */
};

struct ata_task {
	enum ata_work work;
	bool is_dma, is_queued, is_durable;
	uint8_t tag; /* of a queued one */
	uint32_t block_bytes; /* PIO: between two interrupts */
	uint64_t offset, size;
	uint8_t data[ATA_SECTOR];
};

/* Owned and embedded by its controller. */
struct ata_drive {
	struct storage_drive drive;
	struct scsi_unit unit; /* of a CD-ROM */
	struct ata_registers registers;
	uint8_t multiple; /* sectors between interrupts of READ and WRITE MULTIPLE; 0: not set */
	uint8_t heads, sectors; /* as the guest counts them by CHS */
	uint8_t dma_mode; /* as SET FEATURES has it: 0x20 | n: multiword, 0x40 | n: Ultra */
	bool has_write_cache;
	bool is_ahci; /* it has native queues */
};

/* The drive that `config` describes, whose images it owns from now on. 0, or -errno and `error`. */
int ata_drive_init(struct ata_drive *drive, const struct drive_config *config, bool is_ahci,
		   struct error *error);
/* Power on and hardware reset; a software reset leaves the settings. The signature is in the registers. */
void ata_drive_reset(struct ata_drive *drive, bool is_hard);

/* The command register was written. */
void ata_begin(struct ata_drive *drive, struct ata_task *task);
/* Its end, with the registers saying so. */
void ata_succeed(struct ata_drive *drive);
void ata_abort(struct ata_drive *drive, uint8_t error);
/* The medium's work has come to that: the end of the task. */
void ata_worked(struct ata_drive *drive, const struct ata_task *task, int result);
/* The end of a packet's command. */
void ata_packet_done(struct ata_drive *drive, const struct scsi_task *packet);

/* A range of DATA SET MANAGEMENT, 8 bytes: false when it is none (empty, or not on the disk). */
bool ata_trim_range(const struct ata_drive *drive, const uint8_t *bytes, uint64_t *offset,
		    uint64_t *size);

/* Save a drive, or load what changes of it into a copy, which ata_drive_restore takes over. */
struct ata_drive_state {
	struct drive_state drive;
	struct ata_drive copy;
};
void ata_drive_transfer(struct ata_drive *drive, struct ata_drive_state *loaded,
			struct state_stream *state);
void ata_drive_restore(struct ata_drive *drive, const struct ata_drive_state *loaded);

#endif
