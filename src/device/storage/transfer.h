/*
 * One command's work on a disk: bytes between it and a list of guest memory, a flush, zeroes, a discard.
 * Longer than one request of the block layer may be, it is several, one after the other.
 */
#ifndef KVIK_DEVICE_STORAGE_TRANSFER_H
#define KVIK_DEVICE_STORAGE_TRANSFER_H

#include "block/block.h"
#include "device/storage/gather.h"

/* Owned and embedded by its command, which leaves it alone until `complete`. */
struct storage_transfer {
	enum block_operation operation;
	unsigned flags; /* BLOCK_FUA, BLOCK_UNMAP */
	uint64_t offset, size;	/* bytes; of reads and writes at most what the list has */
	struct gather gather;	/* of reads and writes; freed by the command */
	/* On the disk's I/O thread, without a lock, never inside of transfer_start. */
	void (*complete)(struct storage_transfer *transfer, int result);
	void *context;
	struct block_held *held; /* the controller's count; NULL: none */
	/* The transfer's own: */
	struct block_request request;
	struct block *block;
	uint64_t done;
	unsigned piece; /* where in the list the next request begins */
	uint64_t piece_at;
	unsigned parts_max;
	struct iovec *parts; /* `few`, or owned */
	struct iovec few[8];
};

/* Any thread. */
void transfer_start(struct storage_transfer *transfer, struct block *block);

#endif
