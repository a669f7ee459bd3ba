#include "device/char/char.h"

#include "device/char/output.h"

void char_write(struct char_stream *stream, const uint8_t *data, size_t size)
{
	if (stream->output)
		char_output_write(stream->output, data, size);
}

bool char_is_ready(struct char_stream *stream)
{
	return !stream->output || char_output_is_ready(stream->output);
}

bool char_is_overfull(struct char_stream *stream)
{
	return stream->output && char_output_is_overfull(stream->output);
}

void char_watch(struct char_stream *stream, struct char_watch *watch)
{
	if (stream->output)
		char_output_add_watch(stream->output, watch);
}

void char_unwatch(struct char_stream *stream, struct char_watch *watch)
{
	if (stream->output)
		char_output_remove_watch(stream->output, watch);
}

size_t char_output_room(struct char_stream *stream)
{
	return stream->output ? char_output_free(stream->output) : SIZE_MAX;
}

bool char_is_attached(const struct char_stream *stream)
{
	return !stream->ops->is_attached || stream->ops->is_attached(stream);
}

bool char_drain(struct char_stream *stream, void (*drained)(void *context), void *context)
{
	return !stream->output || char_output_drain(stream->output, drained, context);
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

void char_destroy(struct char_stream *stream)
{
	if (stream)
		stream->ops->destroy(stream);
}
