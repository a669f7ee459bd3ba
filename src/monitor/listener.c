#include "monitor/listener.h"

/* On the output's thread. */
static void output_ready(void *context)
{
	struct listener *listener = context;

	char_resume_input(listener->stream);
}

void listener_begin(struct listener *listener, struct char_stream *stream,
		    const struct char_reader *reader)
{
	listener->stream = stream;
	listener->output_ready = (struct char_watch){output_ready, listener, NULL};
	char_watch(stream, &listener->output_ready);
	if (char_is_attached(stream))
		reader->attached(reader->context, true);
	char_set_reader(stream, reader);
}

void listener_end(struct listener *listener)
{
	char_unwatch(listener->stream, &listener->output_ready);
	char_set_reader(listener->stream, &(struct char_reader){.room = NULL});
}
