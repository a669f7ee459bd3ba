#include "block/nbd/wire.h"

#include <errno.h>
#include <poll.h>
#include <time.h>

#define LOOK_MS	    1000 /* whether it was broken */
#define VECTORS_MAX 1024 /* Linux's UIO_MAXIOV */

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static int wait_for(struct wire *wire, short events)
{
	struct pollfd source = {.fd = wire->fd, .events = events};
	int64_t left_ms;
	int result;

	for (;;) {
		if (__atomic_load_n(&wire->is_broken, __ATOMIC_ACQUIRE))
			return -ECANCELED;
		left_ms = LOOK_MS;
		if (wire->deadline_ns) {
			left_ms = (wire->deadline_ns - now_ns()) / 1000000;
			if (left_ms <= 0)
				return -ETIMEDOUT;
		}
		result = poll(&source, 1, left_ms < LOOK_MS ? (int)left_ms : LOOK_MS);
		if (result > 0)
			return 0;
		if (result < 0 && errno != EINTR)
			return -errno;
	}
}

static int transfer(struct wire *wire, struct iovec *vector, unsigned count, bool is_send)
{
	ssize_t done;
	int result;

	for (;;) {
		while (count > 0 && vector->iov_len == 0) {
			vector++;
			count--;
		}
		if (count == 0)
			return 0;
		done = is_send ? writev(wire->fd, vector, count < VECTORS_MAX ? (int)count : VECTORS_MAX)
			       : preadv2(wire->fd, vector, count < VECTORS_MAX ? (int)count : VECTORS_MAX, -1, 0);
		if (done == 0 || (done < 0 && errno == EPIPE))
			return -ECONNRESET;
		if (done < 0) {
			if (errno == EINTR)
				continue;
			result = errno == EAGAIN ? wait_for(wire, is_send ? POLLOUT : POLLIN) : -errno;
			if (result < 0)
				return result;
			continue;
		}
		for (; count > 0 && (size_t)done >= vector->iov_len; vector++, count--)
			done -= vector->iov_len;
		if (done > 0) {
			vector->iov_base = (uint8_t *)vector->iov_base + done;
			vector->iov_len -= done;
		}
	}
}

int wire_send(struct wire *wire, struct iovec *vector, unsigned count)
{
	return transfer(wire, vector, count, true);
}

int wire_receive(struct wire *wire, struct iovec *vector, unsigned count)
{
	return transfer(wire, vector, count, false);
}

int wire_send_bytes(struct wire *wire, const void *bytes, size_t size)
{
	return wire_send(wire, &(struct iovec){(void *)bytes, size}, 1);
}

int wire_receive_bytes(struct wire *wire, void *bytes, size_t size)
{
	return wire_receive(wire, &(struct iovec){bytes, size}, 1);
}

void wire_break(struct wire *wire)
{
	__atomic_store_n(&wire->is_broken, true, __ATOMIC_RELEASE);
}
