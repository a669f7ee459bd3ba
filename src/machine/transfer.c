#include "machine/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BUFFER_BYTES (256u << 10)

bool transfer_is_cancelled(const struct transfer *transfer)
{
	return __atomic_load_n(&transfer->is_cancelled, __ATOMIC_ACQUIRE);
}

/* Until something can be read or written, or for `timeout_ms` (-1: for ever). */
static int wait_for(const struct transfer *transfer, int fd, short events, int timeout_ms)
{
	struct pollfd polls[2] = {{fd, events, 0}, {transfer->wake_fd, POLLIN, 0}};

	if (poll(polls, 2, timeout_ms) < 0 && errno != EINTR)
		return -errno;
	return transfer_is_cancelled(transfer) ? -ECANCELED : 0;
}

static int write_out(struct transfer *transfer, const uint8_t *bytes, size_t size)
{
	ssize_t put;
	int result = transfer_is_cancelled(transfer) ? -ECANCELED : 0;

	while (size && result == 0) {
		put = write(transfer->fd, bytes, size);
		if (put < 0 && errno == EAGAIN)
			result = wait_for(transfer, transfer->fd, POLLOUT, -1);
		else if (put < 0 && errno != EINTR)
			result = -errno;
		if (put <= 0)
			continue;
		bytes += put;
		size -= put;
		__atomic_add_fetch(&transfer->sent, put, __ATOMIC_RELAXED);
	}
	return result;
}

int transfer_flush(struct transfer *transfer)
{
	size_t used = transfer->used;

	transfer->used = 0;
	return write_out(transfer, transfer->bytes, used);
}

static int stream_write(void *context, const void *bytes, size_t size)
{
	struct transfer *transfer = context;
	int result = 0;

	if (size > BUFFER_BYTES - transfer->used)
		result = transfer_flush(transfer);
	if (result == 0 && size > BUFFER_BYTES)
		return write_out(transfer, bytes, size);
	if (result == 0) {
		memcpy(transfer->bytes + transfer->used, bytes, size);
		transfer->used += size;
	}
	return result;
}

static int stream_read(void *context, void *bytes, size_t size)
{
	struct transfer *transfer = context;
	uint8_t *at = bytes;
	ssize_t got;
	int result = transfer_is_cancelled(transfer) ? -ECANCELED : 0;

	while (size && result == 0) {
		got = read(transfer->fd, at, size);
		if (got == 0)
			return -EPIPE;
		if (got < 0 && errno == EAGAIN)
			result = wait_for(transfer, transfer->fd, POLLIN, -1);
		else if (got < 0 && errno != EINTR)
			result = -errno;
		if (got <= 0)
			continue;
		at += got;
		size -= got;
	}
	return result;
}

int transfer_begin(struct transfer *transfer, int fd)
{
	int result;

	*transfer = (struct transfer){
		.fd = fd,
		.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.bytes = malloc(BUFFER_BYTES),
		.stream = {.write = stream_write, .read = stream_read, .context = transfer},
	};
	result = transfer->wake_fd < 0 ? -errno : transfer->bytes ? 0 : -ENOMEM;
	if (result == 0 && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		result = -errno;
	if (result < 0)
		transfer_end(transfer);
	return result;
}

int transfer_sleep(struct transfer *transfer, uint64_t ns)
{
	return wait_for(transfer, -1, 0, ns / 1000000 + 1);
}

void transfer_cancel(struct transfer *transfer)
{
	uint64_t one = 1;

	__atomic_store_n(&transfer->is_cancelled, true, __ATOMIC_RELEASE);
	/* A full counter wakes, too. */
	if (write(transfer->wake_fd, &one, sizeof(one)) < 0)
		return;
}

int transfer_close(struct transfer *transfer)
{
	int fd = transfer->fd;

	transfer->fd = -1;
	return fd >= 0 && close(fd) < 0 ? -errno : 0;
}

void transfer_end(struct transfer *transfer)
{
	transfer_close(transfer);
	if (transfer->wake_fd >= 0)
		close(transfer->wake_fd);
	transfer->wake_fd = -1;
	free(transfer->bytes);
	transfer->bytes = NULL;
}
