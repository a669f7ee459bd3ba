/* The console on standard input and output. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "device/char/input.h"
#include "device/char/terminal.h"

struct char_stdio {
	struct char_stream stream;
	struct char_input input;
};

static void resume_input(struct char_stream *stream)
{
	char_input_resume(&((struct char_stdio *)stream)->input);
}

static void ended(void *context)
{
	const struct char_reader *reader = &((const struct char_stdio *)context)->stream.reader;

	if (reader->ended)
		reader->ended(reader->context);
}

static void destroy(struct char_stream *stream)
{
	struct char_stdio *stdio = (struct char_stdio *)stream;

	char_input_close(&stdio->input);
	terminal_restore();
	free(stdio);
}

struct char_stream *char_stdio_create(struct event_loop *loop, struct char_stream *standard_output,
				      bool keeps_signals, struct error *error)
{
	static const struct char_ops ops = {.resume_input = resume_input, .destroy = destroy};
	struct char_stdio *stdio = calloc(1, sizeof(*stdio));
	int result = 0;

	if (!stdio) {
		error_set_errno(error, ENOMEM, "cannot set up the console");
		return NULL;
	}
	stdio->stream.ops = &ops;
	stdio->stream.output = standard_output->output;
	stdio->input.ended = ended;
	stdio->input.context = stdio;
	/* A terminal of which this is a background job would stop the process when read. */
	if (!isatty(STDIN_FILENO) || terminal_enter_raw(keeps_signals))
		result = char_input_open(&stdio->input, loop, STDIN_FILENO, &stdio->stream);
	/* EBADF: standard input is closed, which is the same as empty. */
	if (result < 0 && result != -EBADF) {
		error_set_errno(error, -result, "cannot watch standard input");
		destroy(&stdio->stream);
		return NULL;
	}
	return &stdio->stream;
}
