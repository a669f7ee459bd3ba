#include "device/char/char.h"

void char_write(struct char_stream *stream, const uint8_t *data, size_t size)
{
	stream->ops->write(stream, data, size);
}

void char_set_reader(struct char_stream *stream, const struct char_reader *reader)
{
	stream->reader = *reader;
	char_resume_input(stream);
}

void char_resume_input(struct char_stream *stream)
{
	if (stream->ops->resume_input)
		stream->ops->resume_input(stream);
}

void char_cancel(struct char_stream *stream)
{
	if (stream->ops->cancel)
		stream->ops->cancel(stream);
}

void char_destroy(struct char_stream *stream)
{
	if (stream)
		stream->ops->destroy(stream);
}
