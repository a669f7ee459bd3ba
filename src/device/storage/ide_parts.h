/* What the files of the IDE controller share: its state, and what commands do. The controller's lock is held around
 * all of it. */
#ifndef KVIK_DEVICE_STORAGE_IDE_PARTS_H
#define KVIK_DEVICE_STORAGE_IDE_PARTS_H

#include <pthread.h>

#include "device/storage/ata.h"
#include "device/storage/ide.h"
#include "device/storage/transfer.h"

#define CONTROL_NO_INTERRUPT 0x02
#define CONTROL_RESET	     0x04
#define CONTROL_SECOND_BYTE  0x80 /* reads show what was written before (48-bit commands) */

/* The bus master's command and status (§2.7 of the data sheet). */
#define MASTER_START	   0x01
#define MASTER_TO_MEMORY   0x08
#define MASTER_ACTIVE	   0x01
#define MASTER_ERROR	   0x02
#define MASTER_INTERRUPT   0x04
#define MASTER_CAN_DMA	   0x60 /* kept for software */

#define BUFFER_BYTES 0x10000
#define PACKET_BYTES 12

enum phase {
	PHASE_IDLE,
	PHASE_BUSY,	/* the medium works; saved only of what has failed and waits */
	PHASE_TO_GUEST, /* the guest reads [at, end) of the buffer */
	PHASE_FROM_GUEST,
	PHASE_PACKET, /* the guest writes a command packet */
	PHASE_DMA,    /* waits for the bus master */
	PHASES,
};

struct ide_channel {
	struct ide *ide;
	struct irq_line irq;
	struct ata_drive drives[IDE_CHANNEL_DRIVES];
	uint8_t control;
	bool selects_1;	    /* which drive */
	bool wants_interrupt; /* pending in the drive: the line is up unless control says no */
	enum phase phase;
	bool is_packet;	    /* the command is a packet's */
	bool wants_reset;   /* when the medium has ended its work */
	bool begins_anew;   /* its work was loaded (PHASE_BUSY), and begins when the machine does */
	struct ata_task task;
	struct scsi_task packet;
	uint64_t left;	    /* bytes of the command that are not in, or through, the buffer yet */
	uint64_t medium_at; /* where they are */
	uint32_t at, end, filled;
	uint8_t *buffer;    /* owned */
	uint8_t master_command, master_status;
	uint32_t master_table;
	struct storage_transfer transfer; /* the medium's work */
	unsigned range;		  /* of a TRIM: the next */
};

struct ide {
	pthread_mutex_t lock; /* guards the channels */
	pthread_cond_t idle;
	unsigned under_way;
	struct block_held held; /* of these: those that have failed, and wait for better times */
	struct pci_function function;
	struct ide_channel channels[IDE_CHANNELS];
};

static inline struct ata_drive *ide_selected(struct ide_channel *channel)
{
	return &channel->drives[channel->selects_1];
}

/* -- ide_command.c -- */

void ide_update_irq(struct ide_channel *channel); /* the line, after a change of what drives it */
void ide_lower(struct ide_channel *channel); /* the drive's interrupt has been seen */
void ide_reset_channel(struct ide_channel *channel, bool is_hard); /* the medium does not work */

void ide_begin_command(struct ide_channel *channel, uint8_t command); /* of the selected drive; it is idle */
/* The guest has read, or written, all of the buffer. */
void ide_block_taken(struct ide_channel *channel);
void ide_block_filled(struct ide_channel *channel);
/* Have the medium do what it did when the command was saved: of a transfer all from the last block on. In PHASE_BUSY. */
void ide_begin_anew(struct ide_channel *channel);
/* The bus master was started in PHASE_DMA. */
void ide_run_dma(struct ide_channel *channel);

#endif
