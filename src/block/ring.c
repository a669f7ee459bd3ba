#include "block/ring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>

#define ENTRIES 256

struct ring {
	struct io_uring uring;
	unsigned under_way;		       /* never more than the ring of completions holds */
	struct ring_transfer *waiting, *last; /* for room */
};

/*
 * Enable it: from then on the kernel refuses all operations but these two. (By the plain call:
 * Debian 12's liburing.so lacks the functions of its own header for this.)
 */
static int enable_restricted(struct io_uring *uring)
{
	struct io_uring_restriction allowed[] = {
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV},
		{.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITEV},
	};
	int result = io_uring_register(uring->ring_fd, IORING_REGISTER_RESTRICTIONS, allowed,
				       sizeof(allowed) / sizeof(allowed[0]));

	if (result < 0)
		return result;
	return io_uring_register(uring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

struct ring *ring_create(struct error *error)
{
	struct ring *ring = calloc(1, sizeof(*ring));
	int result = -ENOMEM;

	if (!ring)
		goto fail;
	result = io_uring_queue_init(ENTRIES, &ring->uring, IORING_SETUP_R_DISABLED);
	if (result < 0)
		goto fail_free;
	result = enable_restricted(&ring->uring);
	if (result < 0)
		goto fail_ring;
	return ring;

fail_ring:
	io_uring_queue_exit(&ring->uring);
fail_free:
	free(ring);
fail:
	error_set_errno(error, -result, "cannot make an io_uring");
	return NULL;
}

int ring_descriptor(const struct ring *ring)
{
	return ring->uring.ring_fd;
}

void ring_destroy(struct ring *ring)
{
	if (!ring)
		return;
	io_uring_queue_exit(&ring->uring);
	free(ring);
}

void ring_add(struct ring *ring, struct ring_transfer *transfer)
{
	transfer->next = NULL;
	if (ring->last)
		ring->last->next = transfer;
	else
		ring->waiting = transfer;
	ring->last = transfer;
}

void ring_submit(struct ring *ring)
{
	int result;

	while (ring->waiting) {
		struct ring_transfer *transfer = ring->waiting;
		struct io_uring_sqe *entry =
			ring->under_way < ENTRIES ? io_uring_get_sqe(&ring->uring) : NULL;

		if (!entry)
			break; /* ring_reap comes back here */
		if (transfer->is_write)
			io_uring_prep_writev(entry, transfer->fd, transfer->vector, transfer->count,
					     transfer->offset);
		else
			io_uring_prep_readv(entry, transfer->fd, transfer->vector, transfer->count,
					    transfer->offset);
		io_uring_sqe_set_data(entry, transfer);
		ring->waiting = transfer->next;
		if (!ring->waiting)
			ring->last = NULL;
		ring->under_way++;
	}
	if (!io_uring_sq_ready(&ring->uring))
		return;
	/* Short of memory, the kernel takes some later: it is the same call again. */
	do {
		result = io_uring_submit(&ring->uring);
	} while (result == -EINTR || result == -EAGAIN || result == -EBUSY);
}

bool ring_reap(struct ring *ring)
{
	struct io_uring_cqe *entry;
	bool found = false;

	while (io_uring_peek_cqe(&ring->uring, &entry) == 0) {
		struct ring_transfer *transfer = io_uring_cqe_get_data(entry);
		int result = entry->res;

		io_uring_cqe_seen(&ring->uring, entry);
		ring->under_way--;
		found = true;
		transfer->done(transfer, result);
	}
	return found;
}
