/*
 * A descriptor on which a machine is sent or received: a file, a pipe or a socket whose other end may stop at any
 * time. So whoever waits there can be woken.
 *
 * One thread sends or receives; transfer_cancel is for any.
 */
#ifndef KVIK_MACHINE_TRANSFER_H
#define KVIK_MACHINE_TRANSFER_H

#include <stdbool.h>

#include "machine/saved_ram.h"

struct transfer {
	int fd;
	int wake_fd; /* an eventfd that is readable once it was cancelled */
	bool is_cancelled; /* atomic */
	uint8_t *bytes;	   /* to be written, `used` of them */
	size_t used;
	uint64_t sent; /* atomic */
	struct saved_stream stream; /* what the machine's state goes through */
};

/* `fd` is its own from now on, also when this fails. 0 or -errno. */
int transfer_begin(struct transfer *transfer, int fd);
/* Write out what still waits. 0 or -errno. */
int transfer_flush(struct transfer *transfer);
/* Wait for so long, or until it is cancelled: then -ECANCELED. */
int transfer_sleep(struct transfer *transfer, uint64_t ns);
/* What waits there fails with -ECANCELED, and all that comes. */
void transfer_cancel(struct transfer *transfer);
bool transfer_is_cancelled(const struct transfer *transfer);
/* Close the descriptor, once: 0, or the -errno by which what was written has not arrived. */
int transfer_close(struct transfer *transfer);
void transfer_end(struct transfer *transfer);

#endif
