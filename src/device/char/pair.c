/* A stream on descriptors of its own: a connected socket, two pipes. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "device/char/input.h"

struct char_pair {
	struct char_stream stream;
	struct char_input input;
	int input_fd;
	bool is_gone; /* the peer has ended */
};

static void resume_input(struct char_stream *stream)
{
	char_input_resume(&((struct char_pair *)stream)->input);
}

static void ended(void *context)
{
	struct char_pair *pair = context;

	pair->is_gone = true;
	if (pair->stream.reader.attached)
		pair->stream.reader.attached(pair->stream.reader.context, false);
}

static bool is_attached(const struct char_stream *stream)
{
	return !((const struct char_pair *)stream)->is_gone;
}

static void destroy(struct char_stream *stream)
{
	struct char_pair *pair = (struct char_pair *)stream;

	char_input_close(&pair->input);
	close(pair->input_fd);
	char_output_destroy(stream->output);
	free(pair);
}

struct char_stream *char_pair_create(struct event_loop *loop, int input_fd, int output_fd,
				     struct error *error)
{
	static const struct char_ops ops = {
		.resume_input = resume_input, .destroy = destroy, .is_attached = is_attached};
	struct char_pair *pair = calloc(1, sizeof(*pair));
	int result;

	/* Each side closes its own. */
	if (input_fd == output_fd)
		input_fd = fcntl(output_fd, F_DUPFD_CLOEXEC, 3);
	if (!pair || input_fd < 0) {
		error_set_errno(error, pair ? errno : ENOMEM, "cannot create a console");
		goto fail;
	}
	pair->stream.ops = &ops;
	pair->input_fd = input_fd;
	pair->input.ended = ended;
	pair->input.context = pair;
	pair->stream.output = char_output_create(output_fd, true, error);
	if (!pair->stream.output)
		goto fail;
	result = char_input_open(&pair->input, loop, input_fd, &pair->stream);
	if (result == 0)
		return &pair->stream;
	error_set_errno(error, -result, "cannot watch a console's input");
	destroy(&pair->stream);
	return NULL;

fail:
	if (input_fd >= 0)
		close(input_fd);
	close(output_fd);
	free(pair);
	return NULL;
}
