#include "cli/command_stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "device/char/terminal.h"
#include "guest/protocol.h"
#include "util/event_signal.h"
#include "util/log.h"

#define INPUT_BYTES 2048
#define TEXT_BYTES  512
/* ^], three times without a key between. */
#define QUIT_KEY   0x1d
#define QUIT_TIMES 3

struct command_stream {
	struct char_stream stream;
	struct command_end end;
	struct char_stream *standard_output;
	struct char_stream errors; /* its output alone */
	struct char_watch output_ready, errors_ready;
	/* Standard input. */
	struct event_source input;
	struct event_signal resume; /* the guest has room again */
	bool has_input;		    /* it is in the loop */
	bool is_terminal;
	unsigned quit_keys;
	bool has_end, has_size; /* to be told */
	bool is_closed[3], told_closed[3]; /* by number: nobody reads it; atomic, and the loop's thread's */
	bool is_starved;	/* atomic: waits for room */
	/* The frame that comes. */
	struct guest_frame frame;
	size_t frame_bytes; /* that are there, the header's among them */
	uint8_t text[TEXT_BYTES];
};

static struct command_stream *of(struct char_stream *stream)
{
	return (struct command_stream *)stream;
}

static bool window_size(struct winsize *size)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (isatty(fd) && ioctl(fd, TIOCGWINSZ, size) == 0)
			return true;
	return false;
}

struct command_terminals command_terminals(void)
{
	struct command_terminals terminals = {.will_be_raw = isatty(STDIN_FILENO)};
	struct winsize size;
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		terminals.is_terminal[fd] = isatty(fd);
	if (window_size(&size)) {
		terminals.rows = size.ws_row;
		terminals.columns = size.ws_col;
	}
	return terminals;
}

/* --- to the guest; on the loop's thread --- */

/* Whether it was sent: there must be room for all of it. */
static bool send_frame(struct command_stream *stream, enum guest_frame_kind kind,
		       const void *bytes, uint16_t size)
{
	const struct char_reader *reader = &stream->stream.reader;
	uint8_t frame[sizeof(struct guest_frame) + INPUT_BYTES];
	const struct guest_frame header = {kind, size};

	/* Set before asking, so that room made right after the answer resumes us. */
	__atomic_store_n(&stream->is_starved, true, __ATOMIC_SEQ_CST);
	if (!reader->room || reader->room(reader->context) < sizeof(header) + size)
		return false;
	memcpy(frame, &header, sizeof(header));
	memcpy(frame + sizeof(header), bytes, size);
	reader->receive(reader->context, frame, sizeof(header) + size);
	return true;
}

static void send_waiting(struct command_stream *stream)
{
	struct winsize size;
	uint16_t numbers[2], fd;

	if (stream->has_size && window_size(&size)) {
		numbers[0] = size.ws_row;
		numbers[1] = size.ws_col;
		stream->has_size = !send_frame(stream, FRAME_SIZE, numbers, sizeof(numbers));
	}
	for (fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
		if (__atomic_load_n(&stream->is_closed[fd], __ATOMIC_RELAXED) && !stream->told_closed[fd])
			stream->told_closed[fd] = send_frame(stream, FRAME_CLOSED, &fd, sizeof(fd));
	if (stream->has_end && !stream->has_size)
		stream->has_end = !send_frame(stream, FRAME_INPUT, NULL, 0);
	if (stream->has_input)
		event_source_enable(&stream->input, true);
}

/* Whether the keys that end the run are complete. */
static bool asks_to_quit(struct command_stream *stream, const uint8_t *bytes, ssize_t count)
{
	ssize_t i;

	for (i = 0; i < count && stream->is_terminal; i++) {
		stream->quit_keys = bytes[i] == QUIT_KEY ? stream->quit_keys + 1 : 0;
		if (stream->quit_keys == QUIT_TIMES)
			return true;
	}
	return false;
}

static void end_input(struct command_stream *stream)
{
	event_loop_remove(&stream->input);
	stream->has_input = false;
	stream->has_end = true;
	send_waiting(stream);
}

static void input_ready(void *context)
{
	struct command_stream *stream = context;
	const struct char_reader *reader = &stream->stream.reader;
	uint8_t bytes[INPUT_BYTES];
	ssize_t count;

	__atomic_store_n(&stream->is_starved, true, __ATOMIC_SEQ_CST);
	if (!reader->room ||
	    reader->room(reader->context) < sizeof(struct guest_frame) + INPUT_BYTES) {
		/* A terminal is read all the same: its user may want to end the run. */
		if (!stream->is_terminal) {
			event_source_enable(&stream->input, false);
			return;
		}
	}
	count = read(STDIN_FILENO, bytes, sizeof(bytes));
	if (count < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (count <= 0) {
		end_input(stream);
		return;
	}
	if (asks_to_quit(stream, bytes, count)) {
		stream->end.quit(stream->end.context);
		return;
	}
	/* Keys that a guest does not take are lost, as on any line. */
	send_frame(stream, FRAME_INPUT, bytes, count);
}

static void resume_ready(void *context)
{
	send_waiting(context);
}

static void resume_input(struct char_stream *stream)
{
	if (__atomic_exchange_n(&of(stream)->is_starved, false, __ATOMIC_SEQ_CST))
		event_signal_raise(&of(stream)->resume);
}

void command_stream_resized(struct char_stream *stream)
{
	of(stream)->has_size = true;
	send_waiting(of(stream));
}

/* --- from the guest --- */

/* With locks of the device's held, under which nothing can be sent to it: the loop does. */
static void look_for_end(struct command_stream *stream, unsigned fd, struct char_output *output)
{
	if (stream->is_closed[fd] || !char_output_is_gone(output))
		return;
	__atomic_store_n(&stream->is_closed[fd], true, __ATOMIC_RELAXED);
	event_signal_raise(&stream->resume);
}

/* The guest waits while one of the outputs has too much already. */
static void hold_back(struct command_stream *stream)
{
	struct char_output *own = stream->stream.output;

	if (char_is_ready(stream->standard_output) && char_is_ready(&stream->errors))
		return;
	char_output_set_stalled(own, true);
	if (char_is_ready(stream->standard_output) && char_is_ready(&stream->errors))
		char_output_set_stalled(own, false);
}

static void outputs_ready(void *context)
{
	struct command_stream *stream = context;

	if (char_is_ready(stream->standard_output) && char_is_ready(&stream->errors))
		char_output_set_stalled(stream->stream.output, false);
}

static void frame_complete(struct command_stream *stream)
{
	uint32_t status;

	switch (stream->frame.kind) {
	case FRAME_FAILED:
		log_error("in the guest: %.*s",
			  stream->frame.size < TEXT_BYTES ? stream->frame.size : TEXT_BYTES,
			  (const char *)stream->text);
		break;
	case FRAME_EXIT:
		if (stream->frame.size != sizeof(status))
			break;
		memcpy(&status, stream->text, sizeof(status));
		stream->end.ended(stream->end.context, status & 0xff);
		break;
	default: break;
	}
	stream->frame_bytes = 0;
}

static void take_body(struct command_stream *stream, const uint8_t *data, size_t size)
{
	size_t at = stream->frame_bytes - sizeof(stream->frame);

	if (stream->frame.kind == FRAME_OUTPUT)
		char_write(stream->standard_output, data, size);
	else if (stream->frame.kind == FRAME_ERROR)
		char_write(&stream->errors, data, size);
	else if (at < TEXT_BYTES)
		memcpy(stream->text + at, data, size < TEXT_BYTES - at ? size : TEXT_BYTES - at);
}

static void guest_wrote(void *context, const uint8_t *data, size_t size)
{
	struct command_stream *stream = context;
	const size_t header = sizeof(stream->frame);
	size_t part;

	while (size) {
		if (stream->frame_bytes < header) {
			((uint8_t *)&stream->frame)[stream->frame_bytes] = *data;
			part = 1;
		} else {
			part = header + stream->frame.size - stream->frame_bytes;
			part = part < size ? part : size;
			take_body(stream, data, part);
		}
		stream->frame_bytes += part;
		data += part;
		size -= part;
		if (stream->frame_bytes >= header &&
		    stream->frame_bytes == header + stream->frame.size)
			frame_complete(stream);
	}
	look_for_end(stream, STDOUT_FILENO, stream->standard_output->output);
	look_for_end(stream, STDERR_FILENO, stream->errors.output);
	hold_back(stream);
}

/* --- life --- */

struct char_stream *command_stream_errors(struct char_stream *stream)
{
	return &of(stream)->errors;
}

static void destroy(struct char_stream *char_stream)
{
	struct command_stream *stream = of(char_stream);

	if (stream->has_input)
		event_loop_remove(&stream->input);
	event_signal_destroy(&stream->resume);
	terminal_restore();
	char_unwatch(stream->standard_output, &stream->output_ready);
	if (stream->errors.output) {
		char_output_remove_watch(stream->errors.output, &stream->errors_ready);
		char_output_destroy(stream->errors.output);
	}
	char_output_destroy(stream->stream.output);
	free(stream);
}

static int watch_input(struct command_stream *stream, struct event_loop *loop)
{
	int result;

	result = event_signal_init(&stream->resume, loop, resume_ready, stream);
	if (result < 0)
		return result;
	stream->input = (struct event_source){
		.fd = STDIN_FILENO, .ready = input_ready, .context = stream};
	stream->is_terminal = isatty(STDIN_FILENO);
	/* A terminal of which this is a background job would stop the process when read. */
	if (stream->is_terminal && !terminal_enter_raw(false))
		return 0;
	result = event_loop_add(loop, &stream->input);
	stream->has_input = result == 0;
	/* Standard input is closed, which is the same as empty. */
	stream->has_end = result == -EBADF;
	return result == -EBADF ? 0 : result;
}

struct char_stream *command_stream_create(struct event_loop *loop,
					  struct char_stream *standard_output,
					  const struct command_end *end, struct error *error)
{
	static const struct char_ops ops = {.resume_input = resume_input, .destroy = destroy};
	struct command_stream *stream = calloc(1, sizeof(*stream));
	int result;

	if (!stream) {
		error_set_errno(error, ENOMEM, "cannot connect the command");
		return NULL;
	}
	*stream = (struct command_stream){.stream.ops = &ops,
					  .end = *end,
					  .standard_output = standard_output,
					  .output_ready = {outputs_ready, stream, NULL},
					  .errors_ready = {outputs_ready, stream, NULL}};
	char_watch(standard_output, &stream->output_ready);
	stream->stream.output = char_output_create_callback(guest_wrote, stream, error);
	if (stream->stream.output)
		stream->errors.output = char_output_create(STDERR_FILENO, false, error);
	if (!stream->errors.output) {
		destroy(&stream->stream);
		return NULL;
	}
	char_watch(&stream->errors, &stream->errors_ready);
	char_output_expect_gone(standard_output->output);
	char_output_expect_gone(stream->errors.output);
	result = watch_input(stream, loop);
	if (result < 0) {
		destroy(&stream->stream);
		error_set_errno(error, -result, "cannot connect the command");
		return NULL;
	}
	return &stream->stream;
}
