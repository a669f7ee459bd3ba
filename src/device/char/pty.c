/*
 * A stream on a pseudo-terminal. The master's descriptor tells by POLLHUP that nobody has the other side
 * open, and nothing tells when somebody opens it: so it is looked at now and then.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "device/char/input.h"

#define LOOK_NS 200000000ull

struct char_pty {
	struct char_stream stream;
	struct event_loop *loop;
	struct char_input input;
	struct event_timer look; /* runs while nobody is there */
	int master;
	bool is_attached;
};

static void tell(struct char_pty *pty, bool is_attached)
{
	const struct char_reader *reader = &pty->stream.reader;

	pty->is_attached = is_attached;
	if (reader->attached)
		reader->attached(reader->context, is_attached);
}

static void wait_for_peer(struct char_pty *pty)
{
	event_timer_set(&pty->look, monotonic_ns() + LOOK_NS, LOOK_NS);
}

static void peer_gone(void *context)
{
	struct char_pty *pty = context;

	char_output_replace(pty->stream.output, -1);
	tell(pty, false);
	wait_for_peer(pty);
}

static void look(void *context)
{
	struct char_pty *pty = context;
	struct pollfd state = {.fd = pty->master, .events = POLLIN};
	int output_fd;

	if (poll(&state, 1, 0) < 0 || state.revents & POLLHUP)
		return;
	output_fd = fcntl(pty->master, F_DUPFD_CLOEXEC, 3);
	if (output_fd < 0)
		return;
	if (char_input_open(&pty->input, pty->loop, pty->master, &pty->stream) < 0) {
		close(output_fd);
		return;
	}
	event_timer_set(&pty->look, 0, 0);
	char_output_replace(pty->stream.output, output_fd);
	tell(pty, true);
}

static void resume_input(struct char_stream *stream)
{
	char_input_resume(&((struct char_pty *)stream)->input);
}

static bool is_attached(const struct char_stream *stream)
{
	return ((const struct char_pty *)stream)->is_attached;
}

static void destroy(struct char_stream *stream)
{
	struct char_pty *pty = (struct char_pty *)stream;

	char_input_close(&pty->input);
	event_timer_destroy(&pty->look);
	if (pty->master >= 0)
		close(pty->master);
	char_output_destroy(stream->output);
	free(pty);
}

/* The master, with its slave in raw mode; -1 and errno. */
static int open_master(char *name, size_t name_size)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK), slave = -1, code;
	struct termios mode;

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
	    ptsname_r(master, name, name_size) != 0)
		goto fail;
	slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || tcgetattr(slave, &mode) < 0)
		goto fail;
	cfmakeraw(&mode);
	if (tcsetattr(slave, TCSANOW, &mode) < 0)
		goto fail;
	close(slave);
	return master;

fail:
	code = errno;
	if (slave >= 0)
		close(slave);
	if (master >= 0)
		close(master);
	errno = code;
	return -1;
}

struct char_stream *char_pty_create(struct event_loop *loop, char *name, size_t name_size,
				    struct error *error)
{
	static const struct char_ops ops = {
		.resume_input = resume_input, .destroy = destroy, .is_attached = is_attached};
	struct char_pty *pty = calloc(1, sizeof(*pty));
	int result;

	if (!pty) {
		error_set_errno(error, ENOMEM, "cannot create a pseudo-terminal");
		return NULL;
	}
	pty->stream.ops = &ops;
	pty->loop = loop;
	pty->input.ended = peer_gone;
	pty->input.context = pty;
	pty->master = open_master(name, name_size);
	if (pty->master < 0) {
		error_set_errno(error, errno, "cannot create a pseudo-terminal");
		goto fail;
	}
	pty->stream.output = char_output_create(-1, true, error);
	if (!pty->stream.output)
		goto fail;
	result = event_timer_init(&pty->look, loop, look, pty);
	if (result < 0) {
		error_set_errno(error, -result, "cannot create a pseudo-terminal");
		goto fail;
	}
	wait_for_peer(pty);
	return &pty->stream;

fail:
	destroy(&pty->stream);
	return NULL;
}
