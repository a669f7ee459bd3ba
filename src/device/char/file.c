/* The streams that have no host input: none, file and stdout; and the callback one for tests. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "device/char/char.h"
#include "device/char/output.h"

struct char_file {
	struct char_stream stream;
	struct char_output output;
	bool owns_fd;
};

struct char_callback {
	struct char_stream stream;
	void (*output)(void *context, const uint8_t *data, size_t size);
	void *context;
};

static void none_write(struct char_stream *stream, const uint8_t *data, size_t size)
{
	(void)stream;
	(void)data;
	(void)size;
}

static void none_destroy(struct char_stream *stream)
{
	free(stream);
}

struct char_stream *char_none_create(struct error *error)
{
	static const struct char_ops ops = {.write = none_write, .destroy = none_destroy};
	struct char_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		error_set_errno(error, ENOMEM, "cannot create a console");
	else
		stream->ops = &ops;
	return stream;
}

static void file_write(struct char_stream *stream, const uint8_t *data, size_t size)
{
	char_output_write(&((struct char_file *)stream)->output, data, size);
}

static void file_cancel(struct char_stream *stream)
{
	struct char_file *file = (struct char_file *)stream;

	/* A file takes its last bytes at once; only a pipe or a FIFO can stall. */
	char_output_cancel(&file->output);
}

static void file_destroy(struct char_stream *stream)
{
	struct char_file *file = (struct char_file *)stream;

	if (file->owns_fd)
		close(file->output.fd);
	free(file);
}

static struct char_stream *file_stream_create(int fd, bool owns_fd, struct error *error)
{
	static const struct char_ops ops = {
		.write = file_write, .cancel = file_cancel, .destroy = file_destroy};
	struct char_file *file = calloc(1, sizeof(*file));

	if (!file) {
		error_set_errno(error, ENOMEM, "cannot create a console");
		return NULL;
	}
	file->stream.ops = &ops;
	file->output.fd = fd;
	file->owns_fd = owns_fd;
	return &file->stream;
}

struct char_stream *char_file_create(const char *path, struct error *error)
{
	struct char_stream *stream;
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0) {
		error_set_errno(error, errno, "cannot write the console file '%s'", path);
		return NULL;
	}
	stream = file_stream_create(fd, true, error);
	if (!stream)
		close(fd);
	return stream;
}

struct char_stream *char_stdout_create(struct error *error)
{
	return file_stream_create(STDOUT_FILENO, false, error);
}

static void callback_write(struct char_stream *stream, const uint8_t *data, size_t size)
{
	struct char_callback *callback = (struct char_callback *)stream;

	callback->output(callback->context, data, size);
}

struct char_stream *char_callback_create(void (*output)(void *context, const uint8_t *data,
							size_t size),
					 void *context, struct error *error)
{
	static const struct char_ops ops = {.write = callback_write, .destroy = none_destroy};
	struct char_callback *callback = calloc(1, sizeof(*callback));

	if (!callback) {
		error_set_errno(error, ENOMEM, "cannot create a console");
		return NULL;
	}
	callback->stream.ops = &ops;
	callback->output = output;
	callback->context = context;
	return &callback->stream;
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
