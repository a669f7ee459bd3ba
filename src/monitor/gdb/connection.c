#include "monitor/gdb/connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKED_UP_BYTES (256u << 10)
#define QUEUE_MAX	(16u << 20) /* which a peer gets to only if it asks and never reads */

static void lose(struct gdb_connection *connection)
{
	connection->is_lost = true;
	event_source_enable(&connection->input, false);
	event_source_enable(&connection->output, false);
}

static void input_ready(void *context)
{
	struct gdb_connection *connection = context;
	ssize_t count = read(connection->input.fd, connection->bytes, sizeof(connection->bytes));

	if (count < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (count <= 0) {
		lose(connection);
	} else {
		connection->start = 0;
		connection->end = count;
		/* No more before these are taken. */
		event_source_enable(&connection->input, false);
	}
	connection->changed(connection->context);
}

static void flush(struct gdb_connection *connection)
{
	ssize_t count;

	while (connection->sent < connection->queued) {
		count = write(connection->output.fd, connection->queue + connection->sent,
			      connection->queued - connection->sent);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0 && errno != EAGAIN)
			lose(connection);
		if (count < 0)
			break;
		connection->sent += count;
	}
	if (connection->sent == connection->queued)
		connection->sent = connection->queued = 0;
	event_source_enable(&connection->output, connection->queued && !connection->is_lost);
}

static void output_ready(void *context)
{
	struct gdb_connection *connection = context;

	flush(connection);
	connection->changed(connection->context);
}

int gdb_connection_open(struct gdb_connection *connection, struct event_loop *loop, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), result;

	if (copy < 0) {
		result = -errno;
		close(fd);
		return result;
	}
	connection->input = (struct event_source){.fd = fd, .ready = input_ready,
						  .context = connection};
	connection->output = (struct event_source){.fd = copy, .ready = output_ready,
						   .context = connection, .for_output = true};
	connection->start = connection->end = connection->sent = connection->queued = 0;
	connection->is_lost = false;
	result = event_loop_add(loop, &connection->input);
	if (result == 0)
		result = event_loop_add(loop, &connection->output);
	if (result < 0) {
		event_loop_remove(&connection->input);
		close(fd);
		close(copy);
		return result;
	}
	event_source_enable(&connection->output, false);
	connection->is_open = true;
	return 0;
}

/* -- on a stream -- */

static size_t stream_room(void *context)
{
	const struct gdb_connection *connection = context;

	return connection->end != connection->start || connection->is_lost ? 0 : sizeof(connection->bytes);
}

static void stream_receive(void *context, const uint8_t *bytes, size_t size)
{
	struct gdb_connection *connection = context;
	bool is_new = !connection->is_open;

	memcpy(connection->bytes, bytes, size);
	connection->start = 0;
	connection->end = size;
	connection->is_open = true;
	if (is_new)
		connection->begun(connection->context);
	connection->changed(connection->context);
}

static void stream_ended(void *context)
{
	struct gdb_connection *connection = context;

	if (!connection->is_open)
		return;
	connection->is_lost = true;
	connection->changed(connection->context);
}

static void stream_attached(void *context, bool is_attached)
{
	if (!is_attached)
		stream_ended(context);
}

/* On the output's thread. */
static void stream_ready(void *context)
{
	event_signal_raise(&((struct gdb_connection *)context)->woken);
}

static void stream_woken(void *context)
{
	struct gdb_connection *connection = context;

	if (connection->is_open)
		connection->changed(connection->context);
}

int gdb_connection_await(struct gdb_connection *connection, struct event_loop *loop, struct char_stream *stream)
{
	const struct char_reader reader = {.room = stream_room, .receive = stream_receive, .attached = stream_attached,
					   .ended = stream_ended, .context = connection};
	int result = event_signal_init(&connection->woken, loop, stream_woken, connection);

	if (result < 0)
		return result;
	connection->stream = stream;
	connection->output_ready = (struct char_watch){stream_ready, connection, NULL};
	char_watch(stream, &connection->output_ready);
	char_set_reader(stream, &reader);
	return 0;
}

void gdb_connection_ignore(struct gdb_connection *connection)
{
	if (!connection->stream)
		return;
	char_unwatch(connection->stream, &connection->output_ready);
	char_set_reader(connection->stream, &(struct char_reader){.room = NULL});
	event_signal_destroy(&connection->woken);
	connection->is_open = false;
	connection->stream = NULL;
}

/* -- on either -- */

void gdb_connection_close(struct gdb_connection *connection)
{
	if (!connection->is_open)
		return;
	connection->is_open = false;
	if (connection->stream) {
		connection->is_lost = false;
		connection->start = connection->end = 0;
		char_resume_input(connection->stream);
		return;
	}
	event_loop_remove(&connection->input);
	event_loop_remove(&connection->output);
	close(connection->input.fd);
	close(connection->output.fd);
	free(connection->queue);
	connection->queue = NULL;
	connection->room = connection->sent = connection->queued = 0;
	connection->start = connection->end = 0;
}

const uint8_t *gdb_connection_input(const struct gdb_connection *connection, size_t *size)
{
	*size = connection->end - connection->start;
	return connection->bytes + connection->start;
}

void gdb_connection_take(struct gdb_connection *connection, size_t size)
{
	connection->start += size;
	if (connection->start < connection->end || connection->is_lost)
		return;
	if (connection->stream)
		char_resume_input(connection->stream);
	else
		event_source_enable(&connection->input, true);
}

void gdb_connection_send(struct gdb_connection *connection, const uint8_t *bytes, size_t size)
{
	uint8_t *queue;
	size_t room = connection->room ? connection->room : 65536;

	if (!connection->is_open || connection->is_lost)
		return;
	if (connection->stream) {
		/* Who does not read is lost, when that is seen next. */
		connection->is_lost = char_output_room(connection->stream) < size;
		if (!connection->is_lost)
			char_write(connection->stream, bytes, size);
		return;
	}
	while (room < connection->queued + size)
		room *= 2;
	queue = room > QUEUE_MAX ? NULL : realloc(connection->queue, room);
	if (!queue) {
		lose(connection);
		return;
	}
	connection->queue = queue;
	connection->room = room;
	memcpy(queue + connection->queued, bytes, size);
	connection->queued += size;
	flush(connection);
}

bool gdb_connection_is_backed_up(const struct gdb_connection *connection)
{
	return connection->stream ? !char_is_ready(connection->stream)
				  : connection->queued - connection->sent > BACKED_UP_BYTES;
}

bool gdb_connection_is_drained(const struct gdb_connection *connection)
{
	/* A stream keeps what it was given. */
	return connection->sent == connection->queued;
}
