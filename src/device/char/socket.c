/* A stream on a Unix socket that a program of the host's listens on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "device/char/char.h"
#include "device/char/output.h"

#define INPUT_BYTES 4096

struct char_socket {
	struct char_stream stream;
	int fd; /* the output's own */
	struct event_source input; /* enabled while the reader has room */
	bool has_input;		   /* the peer hasn't closed its end */
};

static void input_ready(void *context)
{
	struct char_socket *socket = context;
	const struct char_reader *reader = &socket->stream.reader;
	uint8_t bytes[INPUT_BYTES];
	size_t room;
	ssize_t count;

	/* Before the reader is asked: it may have room again a moment later, and says so. */
	event_source_enable(&socket->input, false);
	room = reader->room ? reader->room(reader->context) : 0;
	if (!room)
		return;
	/* There is something, and nobody else reads: it doesn't wait. */
	count = read(socket->fd, bytes, room < sizeof(bytes) ? room : sizeof(bytes));
	if (count > 0)
		reader->receive(reader->context, bytes, count);
	if (count > 0 || (count < 0 && errno == EINTR))
		event_source_enable(&socket->input, true);
	else
		__atomic_store_n(&socket->has_input, false, __ATOMIC_SEQ_CST);
}

static void resume_input(struct char_stream *stream)
{
	struct char_socket *socket = (struct char_socket *)stream;

	if (__atomic_load_n(&socket->has_input, __ATOMIC_SEQ_CST))
		event_source_enable(&socket->input, true);
}

static void destroy(struct char_stream *stream)
{
	struct char_socket *socket = (struct char_socket *)stream;

	event_loop_remove(&socket->input);
	char_output_destroy(stream->output);
	free(socket);
}

static int connect_to(const char *path, struct error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, result;

	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(error, EINVAL, "'%s' is too long for a socket's path", path);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	result = error_set_errno(error, errno, "cannot connect to the socket '%s'", path);
	if (fd >= 0)
		close(fd);
	return result;
}

struct char_stream *char_socket_create(struct event_loop *loop, const char *path,
				       struct error *error)
{
	static const struct char_ops ops = {.resume_input = resume_input, .destroy = destroy};
	struct char_socket *socket = calloc(1, sizeof(*socket));
	int result;

	if (!socket) {
		error_set_errno(error, ENOMEM, "cannot create a console");
		return NULL;
	}
	socket->fd = connect_to(path, error);
	if (socket->fd < 0)
		goto fail;
	socket->stream.ops = &ops;
	socket->stream.output = char_output_create(socket->fd, true, error);
	if (!socket->stream.output) {
		close(socket->fd);
		goto fail;
	}
	socket->has_input = true;
	socket->input = (struct event_source){
		.fd = socket->fd, .ready = input_ready, .context = socket};
	result = event_loop_add(loop, &socket->input);
	if (result == 0)
		return &socket->stream;
	error_set_errno(error, -result, "cannot watch the socket '%s'", path);
	char_output_destroy(socket->stream.output);
fail:
	free(socket);
	return NULL;
}
