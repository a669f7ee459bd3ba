/* The connections of a socket device: see vsock_parts.h. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/virtio/vsock_parts.h"

struct vsock_connection *vsock_find(struct vsock *vsock, uint32_t host_port, uint32_t guest_port)
{
	struct vsock_connection *connection;

	for (connection = vsock->connections; connection; connection = connection->next)
		if (!connection->is_dead && connection->state != VSOCK_COMMANDED &&
		    connection->host_port == host_port && connection->guest_port == guest_port)
			return connection;
	return NULL;
}

void vsock_drop(struct vsock *vsock, struct vsock_connection *connection)
{
	struct vsock_connection **place = &vsock->connections;

	while (*place != connection)
		place = &(*place)->next;
	*place = connection->next;
	vsock_connection_destroy(connection);
	vsock->count--;
	event_source_enable(&vsock->listener, true);
}

void vsock_drop_dead(struct vsock *vsock)
{
	struct vsock_connection *connection, *next;

	for (connection = vsock->connections; connection; connection = next) {
		next = connection->next;
		if (connection->is_dead)
			vsock_drop(vsock, connection);
	}
}

void vsock_refuse(struct vsock *vsock, uint32_t host_port, uint32_t guest_port)
{
	if (vsock->refusal_count < VSOCK_REFUSALS_MAX)
		vsock->refusals[vsock->refusal_count++] = (struct vsock_refusal){host_port, guest_port};
}

void vsock_end(struct vsock *vsock, struct vsock_connection *connection)
{
	if (connection->state != VSOCK_COMMANDED)
		vsock_refuse(vsock, connection->host_port, connection->guest_port);
	vsock_drop(vsock, connection);
}

bool vsock_finish(struct vsock *vsock, struct vsock_connection *connection)
{
	if (connection->waiting_count || !connection->guest_ended)
		return true;
	if (connection->guest_is_deaf) {
		vsock_end(vsock, connection);
		return false;
	}
	shutdown(connection->fd, SHUT_WR);
	return true;
}

void vsock_note_taken(struct vsock_connection *connection)
{
	if (connection->taken - connection->taken_told >= VSOCK_BUFFER_BYTES / 2)
		connection->tell |= VSOCK_TELL_CREDIT;
}

struct vsock_connection *vsock_add(struct vsock *vsock, int fd, enum vsock_state state)
{
	struct vsock_connection *connection = NULL;
	int result = 0;

	if (vsock->count < VSOCK_CONNECTIONS_MAX)
		connection = vsock_connection_create(vsock, fd);
	if (!connection) {
		close(fd);
		return NULL;
	}
	connection->state = state;
	connection->input = (struct event_source){.fd = fd, .ready = vsock->input_ready, .context = connection};
	connection->output = (struct event_source){.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3), .for_output = true,
						   .ready = vsock->output_ready, .context = connection};
	if (connection->output.fd < 0)
		result = -errno;
	if (result == 0 && vsock->virtio.loop)
		result = event_loop_add(vsock->virtio.loop, &connection->input);
	if (result == 0 && vsock->virtio.loop)
		result = event_loop_add(vsock->virtio.loop, &connection->output);
	if (result < 0) {
		vsock_connection_destroy(connection);
		return NULL;
	}
	event_source_enable(&connection->output, false);
	connection->next = vsock->connections;
	vsock->connections = connection;
	if (++vsock->count == VSOCK_CONNECTIONS_MAX)
		event_source_enable(&vsock->listener, false);
	return connection;
}
