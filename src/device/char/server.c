/* A stream that listens on a socket, or asks for peers, and talks with one after another. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device/char/input.h"
#include "util/log.h"

struct char_server {
	struct char_stream stream;
	struct event_loop *loop;
	struct event_source listener; /* enabled while there is no peer */
	struct char_input input;
	bool is_passed; /* the listener does not listen: peers are passed on it */
	bool asks;	/* ... for one at a time, which somebody connects to */
	int peer; /* for input, of a descriptor that the output has, too; -1: none */
};

static void tell(struct char_server *server, bool is_attached)
{
	const struct char_reader *reader = &server->stream.reader;

	if (reader->attached)
		reader->attached(reader->context, is_attached);
}

static void ask(struct char_server *server)
{
	const char word = 0;

	/* Who asks no more than that finds room. */
	if (server->asks && write(server->listener.fd, &word, sizeof(word)) < 0)
		log_warning("no other connection of a console is asked for: %s", strerror(errno));
}

static void peer_gone(void *context)
{
	struct char_server *server = context;

	/* It may have ended its own side only, and wait for an answer. */
	char_output_finish(server->stream.output);
	close(server->peer);
	server->peer = -1;
	tell(server, false);
	event_source_enable(&server->listener, true);
	ask(server);
}

/* Take `fd` as the peer. 0 or -errno: it is closed. */
static int take_peer(struct char_server *server, int fd)
{
	int output_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3), result;

	if (output_fd < 0) {
		result = -errno;
		close(fd);
		return result;
	}
	result = char_input_open(&server->input, server->loop, fd, &server->stream);
	if (result < 0) {
		close(fd);
		close(output_fd);
		return result;
	}
	server->peer = fd;
	char_output_replace(server->stream.output, output_fd);
	event_source_enable(&server->listener, false);
	tell(server, true);
	return 0;
}

/* As accept(2). */
static int receive_peer(struct char_server *server)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char word;
	struct iovec vector = {&word, sizeof(word)};
	struct msghdr message = {.msg_iov = &vector,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof(control)};
	ssize_t got = recvmsg(server->listener.fd, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	int fd = -1;

	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
	    header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	if (fd >= 0)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	else if (got == 0) /* nobody passes any more */
		event_source_enable(&server->listener, false);
	else if (got > 0) /* there was no room for it */
		ask(server);
	return fd;
}

static void connection_ready(void *context)
{
	struct char_server *server = context;
	int fd = server->is_passed ? receive_peer(server)
				   : accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	/* Who gave up again, or cannot be served, has seen the end of the connection. */
	if (fd >= 0 && take_peer(server, fd) < 0)
		ask(server);
}

static void resume_input(struct char_stream *stream)
{
	char_input_resume(&((struct char_server *)stream)->input);
}

static bool is_attached(const struct char_stream *stream)
{
	return ((const struct char_server *)stream)->peer >= 0;
}

static void destroy(struct char_stream *stream)
{
	struct char_server *server = (struct char_server *)stream;

	char_input_close(&server->input);
	event_loop_remove(&server->listener);
	close(server->listener.fd);
	if (server->peer >= 0)
		close(server->peer);
	char_output_destroy(stream->output);
	free(server);
}

static struct char_stream *create(struct event_loop *loop, int listening_fd, int peer, bool asks,
				  struct error *error)
{
	static const struct char_ops ops = {
		.resume_input = resume_input, .destroy = destroy, .is_attached = is_attached};
	struct char_server *server = calloc(1, sizeof(*server));
	socklen_t size = sizeof(int);
	int result, listens = 1;

	if (!server) {
		error_set_errno(error, ENOMEM, "cannot create a console");
		goto fail;
	}
	server->stream.ops = &ops;
	server->loop = loop;
	getsockopt(listening_fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
	server->is_passed = !listens;
	server->asks = asks;
	server->peer = -1;
	server->input.ended = peer_gone;
	server->input.context = server;
	server->listener = (struct event_source){
		.fd = listening_fd, .ready = connection_ready, .context = server};
	server->stream.output = char_output_create(-1, true, error);
	if (!server->stream.output)
		goto fail;
	fcntl(listening_fd, F_SETFL, fcntl(listening_fd, F_GETFL) | O_NONBLOCK);
	result = event_loop_add(loop, &server->listener);
	if (result == 0 && peer >= 0) {
		fcntl(peer, F_SETFL, fcntl(peer, F_GETFL) | O_NONBLOCK);
		result = take_peer(server, peer);
	} else if (peer >= 0) {
		close(peer);
	}
	if (result == 0) {
		ask(server);
		return &server->stream;
	}
	error_set_errno(error, -result, "cannot watch a console's socket");
	destroy(&server->stream);
	return NULL;

fail:
	free(server);
	close(listening_fd);
	if (peer >= 0)
		close(peer);
	return NULL;
}

struct char_stream *char_server_create(struct event_loop *loop, int listening_fd, int peer,
				       struct error *error)
{
	return create(loop, listening_fd, peer, false, error);
}

struct char_stream *char_client_create(struct event_loop *loop, int dialer, struct error *error)
{
	return create(loop, dialer, -1, true, error);
}
