#include "device/char/mux.h"

#include <errno.h>
#include <stdlib.h>

#include "util/event_signal.h"
#include "util/log.h"

#define QUEUE_BYTES 4096 /* a power of two */

struct front {
	struct char_stream stream;
	struct char_mux *mux;
	bool is_starved; /* atomic: bytes wait in the queue for the reader's room */
	uint8_t queue[QUEUE_BYTES]; /* this and what follows: I/O thread */
	unsigned head, count;
};

struct char_mux {
	struct char_stream *below;
	struct char_mux_commands commands;
	uint8_t escape;
	bool escape_pending; /* the escape key was the last */
	struct event_signal resume; /* a reader has room again */
	struct front *fronts[CHAR_MUX_FRONTS_MAX];
	unsigned front_count, focus;
};

static void show_help(const struct char_mux *mux)
{
	char key[] = {'^', mux->escape | 0x40, 0};

	log_print(LOG_ERROR, "%s x   quit kvik", key);
	if (mux->commands.save)
		log_print(LOG_ERROR, "%s s   save the machine (--save)", key);
	if (mux->commands.power)
		log_print(LOG_ERROR, "%s p   press the power button", key);
	if (mux->commands.picture)
		log_print(LOG_ERROR, "%s d   take a picture of the display (--display)", key);
	log_print(LOG_ERROR, "%s b   send a break to the serial console", key);
	if (mux->front_count > 1)
		log_print(LOG_ERROR, "%s c   go from the console to the monitor, and back", key);
	log_print(LOG_ERROR, "%s %s  send %s itself", key, key, key);
	log_print(LOG_ERROR, "%s h   show this help", key);
}

static void enqueue(struct front *front, uint8_t byte)
{
	/* A full queue loses typed characters, as a full line does. */
	if (front->count < QUEUE_BYTES)
		front->queue[(front->head + front->count++) % QUEUE_BYTES] = byte;
}

/* Move what fits from the queue to the reader. */
static void deliver(struct front *front)
{
	const struct char_reader *reader = &front->stream.reader;
	size_t room, chunk;

	while (front->count && reader->room) {
		/* Set before asking, so that room made right after the answer resumes us. */
		__atomic_store_n(&front->is_starved, true, __ATOMIC_SEQ_CST);
		room = reader->room(reader->context);
		if (room == 0)
			return;
		chunk = QUEUE_BYTES - front->head;
		if (chunk > front->count)
			chunk = front->count;
		if (chunk > room)
			chunk = room;
		/* Taken off before the reader is called, which may come back here. */
		front->head = (front->head + chunk) % QUEUE_BYTES;
		front->count -= chunk;
		reader->receive(reader->context,
				front->queue + (front->head - chunk) % QUEUE_BYTES, chunk);
	}
	if (!front->count)
		__atomic_store_n(&front->is_starved, false, __ATOMIC_SEQ_CST);
}

static void tell(const struct front *front, bool is_attached)
{
	if (front->stream.reader.attached)
		front->stream.reader.attached(front->stream.reader.context, is_attached);
}

static void move_focus(struct char_mux *mux)
{
	unsigned old = mux->focus;

	if (mux->front_count < 2) {
		log_warning("there is no monitor console here");
		return;
	}
	mux->focus = (old + 1) % mux->front_count;
	tell(mux->fronts[old], false);
	tell(mux->fronts[mux->focus], true);
}

void char_mux_send_break(struct char_mux *mux)
{
	const struct char_reader *reader = mux->front_count ? &mux->fronts[mux->focus]->stream.reader : NULL;

	if (reader && reader->receive_break)
		reader->receive_break(reader->context);
}

static void escape_command(struct char_mux *mux, uint8_t key)
{
	struct front *front = mux->fronts[mux->focus];

	if (key == mux->escape)
		enqueue(front, key);
	else if (key == 'x' && mux->commands.quit)
		mux->commands.quit(mux->commands.context);
	else if (key == 's' && mux->commands.save)
		mux->commands.save(mux->commands.context);
	else if (key == 'p' && mux->commands.power)
		mux->commands.power(mux->commands.context);
	else if (key == 'd' && mux->commands.picture)
		mux->commands.picture(mux->commands.context);
	else if (key == 'c')
		move_focus(mux);
	else if (key == 'b')
		char_mux_send_break(mux);
	else
		show_help(mux);
}

static size_t mux_room(void *context)
{
	const struct char_mux *mux = context;
	size_t room = mux->front_count ? QUEUE_BYTES - mux->fronts[mux->focus]->count : 0;

	return room ? room : 1; /* look for the escape key */
}

static void mux_receive(void *context, const uint8_t *data, size_t size)
{
	struct char_mux *mux = context;
	size_t i;

	for (i = 0; i < size && mux->front_count; i++) {
		if (mux->escape_pending) {
			mux->escape_pending = false;
			escape_command(mux, data[i]);
		} else if (data[i] == mux->escape) {
			mux->escape_pending = true;
		} else {
			enqueue(mux->fronts[mux->focus], data[i]);
		}
	}
	for (i = 0; i < mux->front_count; i++)
		deliver(mux->fronts[i]);
}

static void mux_attached(void *context, bool is_attached)
{
	struct char_mux *mux = context;

	mux->escape_pending = false;
	if (mux->front_count)
		tell(mux->fronts[mux->focus], is_attached);
}

static void resume_ready(void *context)
{
	struct char_mux *mux = context;
	unsigned i;

	for (i = 0; i < mux->front_count; i++)
		deliver(mux->fronts[i]);
}

static void front_resume_input(struct char_stream *stream)
{
	struct front *front = (struct front *)stream;

	if (__atomic_exchange_n(&front->is_starved, false, __ATOMIC_SEQ_CST))
		event_signal_raise(&front->mux->resume);
}

static bool front_is_attached(const struct char_stream *stream)
{
	const struct front *front = (const struct front *)stream;

	return front->mux->fronts[front->mux->focus] == front && char_is_attached(front->mux->below);
}

static void front_destroy(struct char_stream *stream)
{
	(void)stream; /* char_mux_destroy does it */
}

struct char_stream *char_mux_add(struct char_mux *mux, struct error *error)
{
	static const struct char_ops ops = {
		.resume_input = front_resume_input,
		.destroy = front_destroy,
		.is_attached = front_is_attached,
	};
	struct front *front;

	if (mux->front_count == CHAR_MUX_FRONTS_MAX) {
		error_set(error, ENOSPC, "at most %u can share one console", CHAR_MUX_FRONTS_MAX);
		return NULL;
	}
	front = calloc(1, sizeof(*front));
	if (!front) {
		error_set_errno(error, ENOMEM, "cannot share the console");
		return NULL;
	}
	front->stream.ops = &ops;
	front->stream.output = mux->below->output;
	front->mux = mux;
	mux->fronts[mux->front_count++] = front;
	return &front->stream;
}

struct char_mux *char_mux_create(struct event_loop *loop, struct char_stream *below, uint8_t escape,
				 const struct char_mux_commands *commands, struct error *error)
{
	struct char_mux *mux = calloc(1, sizeof(*mux));
	int code = ENOMEM;

	if (!mux)
		goto fail;
	code = -event_signal_init(&mux->resume, loop, resume_ready, mux);
	if (code)
		goto fail;
	mux->below = below;
	mux->escape = escape;
	mux->commands = *commands;
	char_set_reader(below, &(struct char_reader){.room = mux_room,
						     .receive = mux_receive,
						     .attached = mux_attached,
						     .context = mux});
	return mux;

fail:
	error_set_errno(error, code, "cannot share a console");
	free(mux);
	char_destroy(below);
	return NULL;
}

void char_mux_destroy(struct char_mux *mux)
{
	if (!mux)
		return;
	char_destroy(mux->below);
	event_signal_destroy(&mux->resume);
	while (mux->front_count)
		free(mux->fronts[--mux->front_count]);
	free(mux);
}
