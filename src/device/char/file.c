/* The streams that have no host input: none, file and stdout; and the callback one for tests. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "device/char/char.h"
#include "device/char/output.h"

static void output_stream_destroy(struct char_stream *stream)
{
	char_output_destroy(stream->output);
	free(stream);
}

/* A stream that owns `output`, NULL for none; `output` is destroyed on failure. */
static struct char_stream *output_stream_create(struct char_output *output, struct error *error)
{
	static const struct char_ops ops = {.destroy = output_stream_destroy};
	struct char_stream *stream = calloc(1, sizeof(*stream));

	if (!stream) {
		char_output_destroy(output);
		error_set_errno(error, ENOMEM, "cannot create a console");
		return NULL;
	}
	stream->ops = &ops;
	stream->output = output;
	return stream;
}

struct char_stream *char_none_create(struct error *error)
{
	return output_stream_create(NULL, error);
}

struct char_stream *char_fd_create(int fd, struct error *error)
{
	struct char_output *output = char_output_create(fd, true, error);

	if (!output)
		close(fd);
	return output ? output_stream_create(output, error) : NULL;
}

struct char_stream *char_file_create(const char *path, struct error *error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd >= 0)
		return char_fd_create(fd, error);
	error_set_errno(error, errno, "cannot write the console file '%s'", path);
	return NULL;
}

struct char_stream *char_stdout_create(struct error *error)
{
	struct char_output *output = char_output_create(STDOUT_FILENO, false, error);

	return output ? output_stream_create(output, error) : NULL;
}

struct char_stream *char_callback_create(void (*write)(void *context, const uint8_t *data,
                                                       size_t size),
                                         void *context, struct error *error)
{
	struct char_output *output = char_output_create_callback(write, context, error);

	return output ? output_stream_create(output, error) : NULL;
}

void char_callback_stall(struct char_stream *stream, bool is_stalled)
{
	char_output_set_stalled(stream->output, is_stalled);
}

size_t char_callback_input(struct char_stream *stream, const uint8_t *data, size_t size)
{
	const struct char_reader *reader = &stream->reader;
	size_t room = reader->room ? reader->room(reader->context) : 0;

	if (size > room)
		size = room;
	if (size)
		reader->receive(reader->context, data, size);
	return size;
}
