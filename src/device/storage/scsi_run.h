/* A SCSI command from its first byte to its end, where data lies in lists of guest memory. */
#ifndef KVIK_DEVICE_STORAGE_SCSI_RUN_H
#define KVIK_DEVICE_STORAGE_SCSI_RUN_H

#include <pthread.h>

#include "device/storage/scsi.h"
#include "device/storage/transfer.h"

/* Owned and embedded by its controller's command. Filled in by it: */
struct scsi_run {
	struct scsi_unit *unit;
	const struct guest_memory *memory;
	pthread_mutex_t *lock; /* the controller's */
	struct block_held *held; /* likewise, as storage_transfer's */
	/* Where data for the guest goes, and where its data is; the controller's. May be one list. */
	const struct gather *in, *out;
	struct scsi_task task; /* with its `cdb` */
	/* On the disk's I/O thread with the lock held: the task has its end, `moved` bytes went. */
	void (*complete)(struct scsi_run *run);
	/* The run's own: */
	uint64_t moved;
	struct storage_transfer transfer;
};

/* With the lock held. True: it has ended already; false: `complete` will say so. */
bool scsi_run_start(struct scsi_run *run);

#endif
