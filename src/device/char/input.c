#include "device/char/input.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define INPUT_BYTES 4096

/* Whether the peer has ended its side; there may be something to read before that. */
static bool peer_ended(int fd)
{
	struct pollfd end = {.fd = fd, .events = POLLRDHUP};

	return poll(&end, 1, 0) > 0 && end.revents;
}

/* What read(2) said: false, and the end is told, if it was the end. */
static bool goes_on(struct char_input *input, ssize_t count)
{
	if (count > 0 || (count < 0 && (errno == EINTR || errno == EAGAIN)))
		return true;
	char_input_close(input);
	if (input->ended)
		input->ended(input->context);
	return false;
}

/*
 * How much the reader has room for. While it has none, who goes without having said more is seen all the same:
 * a byte is read ahead for that. 0: it will say so, or the input has ended.
 */
static size_t ask_for_room(struct char_input *input)
{
	const struct char_reader *reader = &input->stream->reader;
	ssize_t count;
	size_t room;

	for (;;) {
		/* Before the reader is asked: it may have room again a moment later, and says so. */
		if (input->has_ahead)
			event_source_enable(&input->source, false);
		else
			event_source_await_end(&input->source);
		room = reader->room ? reader->room(reader->context) : 0;
		if (room || input->has_ahead || !peer_ended(input->source.fd))
			return room;
		count = read(input->source.fd, &input->ahead, 1);
		if (!goes_on(input, count))
			return 0;
		input->has_ahead = count == 1;
	}
}

static void input_ready(void *context)
{
	struct char_input *input = context;
	const struct char_reader *reader = &input->stream->reader;
	uint8_t bytes[INPUT_BYTES];
	size_t room = ask_for_room(input);
	ssize_t count;

	if (!room)
		return;
	if (input->has_ahead) {
		bytes[0] = input->ahead;
		input->has_ahead = false;
		count = 1;
	} else {
		/* There is something, and nobody else reads: it doesn't wait. */
		count = read(input->source.fd, bytes, room < sizeof(bytes) ? room : sizeof(bytes));
	}
	if (count > 0)
		reader->receive(reader->context, bytes, count);
	if (goes_on(input, count) && input->is_open)
		event_source_enable(&input->source, true);
}

int char_input_open(struct char_input *input, struct event_loop *loop, int fd,
		    struct char_stream *stream)
{
	int result;

	input->stream = stream;
	input->has_ahead = false;
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
