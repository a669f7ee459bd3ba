#include "device/char/input.h"

#include <errno.h>
#include <unistd.h>

#define INPUT_BYTES 4096

static void input_ready(void *context)
{
	struct char_input *input = context;
	const struct char_reader *reader = &input->stream->reader;
	uint8_t bytes[INPUT_BYTES];
	size_t room;
	ssize_t count;

	/* Before the reader is asked: it may have room again a moment later, and says so. */
	event_source_enable(&input->source, false);
	room = reader->room ? reader->room(reader->context) : 0;
	if (!room)
		return;
	/* There is something, and nobody else reads: it doesn't wait. */
	count = read(input->source.fd, bytes, room < sizeof(bytes) ? room : sizeof(bytes));
	if (count > 0)
		reader->receive(reader->context, bytes, count);
	if (count > 0 || (count < 0 && (errno == EINTR || errno == EAGAIN))) {
		if (input->is_open)
			event_source_enable(&input->source, true);
		return;
	}
	char_input_close(input);
	if (input->ended)
		input->ended(input->context);
}

int char_input_open(struct char_input *input, struct event_loop *loop, int fd,
		    struct char_stream *stream)
{
	int result;

	input->stream = stream;
	input->source = (struct event_source){.fd = fd, .ready = input_ready, .context = input};
	result = event_loop_add(loop, &input->source);
	__atomic_store_n(&input->is_open, result == 0, __ATOMIC_SEQ_CST);
	return result;
}

void char_input_close(struct char_input *input)
{
	__atomic_store_n(&input->is_open, false, __ATOMIC_SEQ_CST);
	event_loop_remove(&input->source);
}

void char_input_resume(struct char_input *input)
{
	if (__atomic_load_n(&input->is_open, __ATOMIC_SEQ_CST))
		event_source_enable(&input->source, true);
}
