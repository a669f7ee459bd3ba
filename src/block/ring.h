/*
 * An io_uring (io_uring(7)) that can do nothing but read and write: so restricted by the kernel when
 * it is made, because what a ring does passes by the sandbox's filter of system calls.
 *
 * Made on any thread, then used by one: the disk's I/O thread.
 */
#ifndef KVIK_BLOCK_RING_H
#define KVIK_BLOCK_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "util/error.h"

struct ring;

/* Embedded in what is to be read or written. The vector stays the caller's until `done`. */
struct ring_transfer {
	int fd;
	bool is_write;
	uint64_t offset;
	const struct iovec *vector;
	unsigned count;
	/* `result`: bytes, which may be fewer than asked for, or -errno. May add more. */
	void (*done)(struct ring_transfer *transfer, int result);
	struct ring_transfer *next; /* the ring's own */
};

/* NULL, and `error`, where the host has no such rings. */
struct ring *ring_create(struct error *error);
/* The ring's descriptor, readable while ring_reap has something to do. */
int ring_descriptor(const struct ring *ring);
/* When nothing is under way. */
void ring_destroy(struct ring *ring);

/* Queue a transfer; ring_submit gives what is queued to the kernel. */
void ring_add(struct ring *ring, struct ring_transfer *transfer);
void ring_submit(struct ring *ring);
/* Call `done` of what is done. Whether there was anything. */
bool ring_reap(struct ring *ring);

#endif
