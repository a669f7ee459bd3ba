/* The NVMe controller from inside: nvme.c has registers and life, nvme_admin.c and nvme_io.c the
 * commands, nvme_queue.c their ends, nvme_saved.c what of them is saved. */
#ifndef KVIK_DEVICE_STORAGE_NVME_PARTS_H
#define KVIK_DEVICE_STORAGE_NVME_PARTS_H

#include <pthread.h>

#include "device/bus/pci.h"
#include "device/storage/nvme_registers.h"
#include "device/storage/transfer.h"
#include "util/event_signal.h"

#define NVME_IO_QUEUES	 16 /* of each kind, beside the admin queue's */
#define NVME_QUEUES	 (NVME_IO_QUEUES + 1)
#define NVME_ENTRIES_MAX 2048
#define NVME_MDTS	 7 /* 512 KiB in a command */
#define NVME_DATA_MAX	 (NVME_PAGE << NVME_MDTS)
#define NVME_EVENTS_MAX	 4
#define NVME_FEATURES	 0x20
#define NVME_SECTOR	 512

struct nvme_sq {
	bool exists, is_leaving; /* is_leaving: deleted when its commands have ended */
	uint64_t gpa;
	uint16_t size, head, tail, cq;
	unsigned under_way; /* commands */
	uint16_t leaving_id; /* the command that deletes it */
};

struct nvme_cq {
	bool exists, interrupts, phase;
	uint64_t gpa;
	uint16_t size, head, tail, vector;
	unsigned under_way; /* commands whose ends will need room */
};

/* As software writes it (§4.2). */
struct nvme_sqe {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t namespace;
	uint32_t dw2, dw3;
	uint64_t metadata, prp1, prp2;
	uint32_t dw10, dw11, dw12, dw13, dw14, dw15;
} __attribute__((packed));

struct nvme_command;

struct nvme {
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;
	unsigned under_way, epoch;
	struct block_held held; /* of these: those that have failed, and wait for better times */
	struct nvme_command *commands; /* that are under way, of queues */
	struct nvme_saved {
		uint16_t sq;
		struct nvme_sqe sqe;
	} *anew; /* that were loaded, and begin when the controller does; owned */
	unsigned anew_count;
	bool flushes_anew; /* a shutdown that was loaded likewise */
	bool is_held, is_disabling;
	uint32_t cc, csts, aqa, masked;
	uint64_t asq, acq;
	uint32_t features[NVME_FEATURES];
	unsigned events; /* commands that wait for one */
	struct nvme_sq sq[NVME_QUEUES];
	struct nvme_cq cq[NVME_QUEUES];
	/* Fixed: */
	struct pci_function function;
	struct block *block; /* owned */
	struct event_signal doorbell; /* of the disk's loop */
	char serial[BLOCK_SERIAL_MAX + 1];
};

/* A command that is under way. */
struct nvme_command {
	struct nvme *nvme;
	struct nvme_command *next, **link; /* in its commands */
	unsigned epoch;
	uint16_t sq;
	struct nvme_sqe sqe;
	uint32_t result; /* of its completion */
	struct storage_transfer transfer;
	struct gather gather;
	unsigned range, ranges; /* of a DATASET MANAGEMENT */
	uint8_t data[NVME_PAGE];
};

/* With the lock held. */
void nvme_update_intx(struct nvme *nvme);
void nvme_fail(struct nvme *nvme); /* CSTS.CFS */
void nvme_reset_controller(struct nvme *nvme); /* nothing is under way */

void nvme_drop_anew(struct nvme *nvme);

/* With the lock held, on the disk's I/O thread. A command of a queue, which has counted it, is under way. */
void nvme_add(struct nvme *nvme, struct nvme_command *command);
/* Likewise. A command ends here: its completion is queued, it is freed. */
void nvme_finish(struct nvme_command *command, uint16_t status);
/* It ends later and otherwise: freed without a completion, for which it keeps the room or not. */
void nvme_keep(struct nvme_command *command, bool keeps_room);
/* The memory that PRPs describe (§4.3), `size` bytes of it. A status. */
uint16_t nvme_read_prps(struct nvme_command *command, uint64_t size);

/* -- nvme_saved.c; with the lock held -- */

/* What waits, into `copy` and on; or loaded into it, with what its queues count by that. */
void nvme_transfer_commands(const struct nvme *nvme, struct nvme *copy, struct state_stream *state);
/* Have what was loaded begin. On the disk's I/O thread. */
void nvme_begin_anew(struct nvme *nvme);

void nvme_admin_begin(struct nvme_command *command);
void nvme_io_begin(struct nvme_command *command);

#endif
