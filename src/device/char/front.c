#include "device/char/front.h"

#include <errno.h>
#include <stdlib.h>

struct char_front {
	struct char_stream stream;
	struct char_stream *below;
	struct char_output *nobody; /* what the stream has where the one below has no output: watches need one */
};

static const struct char_reader *reader_of(void *context)
{
	return &((const struct char_front *)context)->stream.reader;
}

static size_t front_room(void *context)
{
	const struct char_reader *reader = reader_of(context);

	return reader->room ? reader->room(reader->context) : 0;
}

static void front_receive(void *context, const uint8_t *data, size_t size)
{
	reader_of(context)->receive(reader_of(context)->context, data, size);
}

static void front_receive_break(void *context)
{
	const struct char_reader *reader = reader_of(context);

	if (reader->receive_break)
		reader->receive_break(reader->context);
}

static void front_attached(void *context, bool is_attached)
{
	const struct char_reader *reader = reader_of(context);

	if (reader->attached)
		reader->attached(reader->context, is_attached);
}

static void front_ended(void *context)
{
	const struct char_reader *reader = reader_of(context);

	if (reader->ended)
		reader->ended(reader->context);
}

static void resume_input(struct char_stream *stream)
{
	char_resume_input(((struct char_front *)stream)->below);
}

static bool is_attached(const struct char_stream *stream)
{
	return char_is_attached(((const struct char_front *)stream)->below);
}

static void destroy(struct char_stream *stream)
{
	struct char_front *front = (struct char_front *)stream;

	char_destroy(front->below);
	char_output_destroy(front->nobody);
	free(front);
}

static struct char_output *output_below(const struct char_front *front)
{
	return front->below->output ? front->below->output : front->nobody;
}

static void lead_to(struct char_front *front, struct char_stream *below)
{
	front->below = below;
	front->stream.output = output_below(front);
	char_set_reader(below, &(struct char_reader){.room = front_room,
						     .receive = front_receive,
						     .receive_break = front_receive_break,
						     .attached = front_attached,
						     .ended = front_ended,
						     .context = front});
}

struct char_stream *char_front_create(struct char_stream *below, struct error *error)
{
	static const struct char_ops ops = {
		.resume_input = resume_input, .destroy = destroy, .is_attached = is_attached};
	struct char_front *front = calloc(1, sizeof(*front));

	if (!front)
		error_set_errno(error, ENOMEM, "cannot create a console");
	else
		front->nobody = char_output_create(-1, true, error);
	if (!front || !front->nobody) {
		char_destroy(below);
		free(front);
		return NULL;
	}
	front->stream.ops = &ops;
	lead_to(front, below);
	return &front->stream;
}

struct char_stream *char_front_take(struct char_stream *stream)
{
	static const struct char_reader none;
	struct char_front *front = (struct char_front *)stream;
	struct char_stream *below = front->below;

	below->reader = none;
	char_output_destroy(front->nobody);
	free(front);
	return below;
}

void char_front_change(struct char_stream *stream, struct char_stream *below)
{
	static const struct char_reader none;
	struct char_front *front = (struct char_front *)stream;
	struct char_stream *old = front->below;
	struct char_output *old_output = output_below(front);
	bool was_attached = char_is_attached(old);

	old->reader = none;
	lead_to(front, below);
	char_output_move_watches(old_output, front->stream.output);
	char_destroy(old);
	if (was_attached)
		front_attached(front, false);
	if (char_is_attached(below))
		front_attached(front, true);
}
