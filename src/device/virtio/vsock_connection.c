#include "device/virtio/vsock_connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define COMMAND "CONNECT "

struct vsock_connection *vsock_connection_create(void *device, int fd)
{
	struct vsock_connection *connection = calloc(1, sizeof(*connection));

	if (!connection)
		return NULL;
	connection->device = device;
	connection->fd = fd;
	connection->input.fd = connection->output.fd = -1;
	return connection;
}

void vsock_connection_destroy(struct vsock_connection *connection)
{
	event_loop_remove(&connection->input);
	event_loop_remove(&connection->output);
	if (connection->output.fd >= 0)
		close(connection->output.fd);
	close(connection->fd);
	free(connection->waiting);
	free(connection);
}

void vsock_connection_kill(struct vsock_connection *connection)
{
	connection->is_dead = true;
	event_source_enable(&connection->input, false);
	event_source_enable(&connection->output, false);
	shutdown(connection->fd, SHUT_RDWR);
}

uint32_t vsock_connection_credit(const struct vsock_connection *connection)
{
	uint32_t under_way = connection->sent - connection->guest_taken;

	/* A guest that has taken more than was sent, or shrinks its room, gets nothing. */
	return under_way < connection->guest_room ? connection->guest_room - under_way : 0;
}

static bool would_block(int code)
{
	return code == EAGAIN || code == EWOULDBLOCK || code == EINTR;
}

/* How many bytes the host took, or -errno. Who has gone costs no signal: kvik ignores SIGPIPE. */
static ssize_t send_parts(const struct vsock_connection *connection, const struct iovec *parts,
			  unsigned count)
{
	ssize_t sent = count ? writev(connection->fd, parts, count) : 0;

	if (sent < 0)
		return would_block(errno) ? 0 : -errno;
	return sent;
}

static void keep(struct vsock_connection *connection, const uint8_t *bytes, size_t size)
{
	uint32_t end = (connection->waiting_first + connection->waiting_count) % VSOCK_BUFFER_BYTES;
	size_t first = VSOCK_BUFFER_BYTES - end;

	if (first > size)
		first = size;
	memcpy(connection->waiting + end, bytes, first);
	memcpy(connection->waiting, bytes + first, size - first);
	connection->waiting_count += size;
}

int vsock_connection_take(struct vsock_connection *connection, const struct iovec *parts,
			  unsigned count)
{
	size_t total = 0, part;
	ssize_t sent = 0;
	unsigned i;

	for (i = 0; i < count; i++)
		total += parts[i].iov_len;
	if (total > VSOCK_BUFFER_BYTES - connection->waiting_count)
		return -EMSGSIZE;
	if (!connection->waiting_count)
		sent = send_parts(connection, parts, count);
	if (sent < 0)
		return sent;
	connection->taken += sent;
	if ((size_t)sent == total)
		return 0;
	if (!connection->waiting)
		connection->waiting = malloc(VSOCK_BUFFER_BYTES);
	if (!connection->waiting)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		part = (size_t)sent < parts[i].iov_len ? (size_t)sent : parts[i].iov_len;
		keep(connection, (const uint8_t *)parts[i].iov_base + part, parts[i].iov_len - part);
		sent -= part;
	}
	return 0;
}

int vsock_connection_flush(struct vsock_connection *connection)
{
	struct iovec parts[2];
	uint32_t first;
	ssize_t sent;

	while (connection->waiting_count) {
		first = VSOCK_BUFFER_BYTES - connection->waiting_first;
		if (first > connection->waiting_count)
			first = connection->waiting_count;
		parts[0] = (struct iovec){connection->waiting + connection->waiting_first, first};
		parts[1] = (struct iovec){connection->waiting, connection->waiting_count - first};
		sent = send_parts(connection, parts, 2);
		if (sent <= 0)
			return sent;
		connection->taken += sent;
		connection->waiting_count -= sent;
		connection->waiting_first = (connection->waiting_first + sent) % VSOCK_BUFFER_BYTES;
	}
	return 0;
}

/* The number of a port, and nothing else. */
static int parse_port(const char *text, uint32_t *port)
{
	uint64_t number = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		number = number * 10 + (*text - '0');
		if (number > UINT32_MAX)
			return -EINVAL;
	}
	*port = number;
	return 0;
}

int vsock_connection_read_command(struct vsock_connection *connection)
{
	char *line = connection->command;
	ssize_t size;
	char byte;

	/* A byte at a time: what is behind the line is for the guest. */
	for (;;) {
		size = read(connection->fd, &byte, 1);
		if (size < 0 && would_block(errno))
			return 0;
		if (size <= 0)
			return size < 0 ? -errno : -EPIPE;
		if (byte == '\n')
			break;
		if (connection->command_bytes == sizeof(connection->command) - 1)
			return -EPROTO;
		line[connection->command_bytes++] = byte;
	}
	if (strncmp(line, COMMAND, strlen(COMMAND)) != 0)
		return -EPROTO;
	return parse_port(line + strlen(COMMAND), &connection->guest_port) < 0 ? -EPROTO : 1;
}
