/*
 * A list of pieces of guest memory, as a controller's command describes where its data is (PRDs, PRPs, a
 * queue's buffers): checked when it is made, host addresses from then on. What is no RAM is refused: a
 * transfer between two devices is not modelled.
 */
#ifndef KVIK_DEVICE_STORAGE_GATHER_H
#define KVIK_DEVICE_STORAGE_GATHER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "device/guest_memory.h"

#define GATHER_PIECES_MAX 65536

/* All zero: empty. Owned by one command. */
struct gather {
	struct iovec *vector; /* owned */
	uint64_t *gpa;	      /* owned; of each piece; UINT64_MAX: who made it says what was written */
	unsigned count, room;
	uint64_t size_bytes;
};

/* Add [gpa, gpa + size). 0; -EFAULT: not all of it is RAM; -ENOMEM, also for too many pieces. */
int gather_add(struct gather *gather, const struct guest_memory *memory, uint64_t gpa,
	       uint64_t size_bytes);
/* Add pieces that were checked before, and that are marked as written by whoever did. 0 or -ENOMEM. */
int gather_add_vector(struct gather *gather, const struct iovec *vector, unsigned count);
void gather_free(struct gather *gather); /* empty afterwards */

/* Copy from `offset` of the list's bytes, as far as there are: how many. */
size_t gather_read(const struct gather *gather, uint64_t offset, void *data, size_t size);
size_t gather_write(const struct gather *gather, const struct guest_memory *memory, uint64_t offset,
		    const void *data, size_t size);

/* The first `size_bytes` were written by others (read(2), ...). */
void gather_written(const struct gather *gather, const struct guest_memory *memory,
		    uint64_t size_bytes);

#endif
