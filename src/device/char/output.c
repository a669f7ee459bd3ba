#include "device/char/output.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

/* How soon a waiting writer sees char_output_cancel when no signal wakes it. */
#define CANCEL_POLL_MS 100

void char_output_write(struct char_output *output, const uint8_t *data, size_t size)
{
	struct pollfd writable = {.fd = output->fd, .events = POLLOUT};
	ssize_t count;

	while (size && !__atomic_load_n(&output->gone, __ATOMIC_RELAXED)) {
		/* Waiting here, not in write(2), lets a stalled reader never hold up the exit. */
		if (poll(&writable, 1, CANCEL_POLL_MS) <= 0)
			continue;
		count = write(output->fd, data, size);
		if (count >= 0) {
			data += count;
			size -= count;
		} else if (errno != EINTR && errno != EAGAIN) {
			/* EPIPE, ENOSPC, EIO: nobody will read this; the guest goes on. */
			char_output_cancel(output);
		}
	}
}

void char_output_cancel(struct char_output *output)
{
	__atomic_store_n(&output->gone, true, __ATOMIC_RELAXED);
}
