/*
 * Character streams: what stands behind a serial port or a debug console on the host's side.
 *
 * A device (the front end) writes to a stream at any time on any thread; the stream hands input to
 * one front end on the I/O thread, no more than that said it has room for. A stream may have any
 * number of writers but one reader.
 */
#ifndef KVIK_DEVICE_CHAR_CHAR_H
#define KVIK_DEVICE_CHAR_CHAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"
#include "util/event_loop.h"

struct char_stream;

/* The reader's side. All are called on the I/O thread without locks of the stream. */
struct char_reader {
	size_t (*room)(void *context); /* how many bytes may be handed over now */
	void (*receive)(void *context, const uint8_t *data, size_t size); /* size <= room */
	void (*receive_break)(void *context); /* the line's break condition; may be NULL */
	void *context;
};

struct char_ops {
	void (*write)(struct char_stream *stream, const uint8_t *data, size_t size);
	void (*resume_input)(struct char_stream *stream); /* the reader has room again */
	void (*cancel)(struct char_stream *stream);
	void (*destroy)(struct char_stream *stream);
};

/* The part that all kinds of streams begin with. */
struct char_stream {
	const struct char_ops *ops;
	struct char_reader reader;
};

/* Write all bytes; waits while the host's side is slow. Any thread. */
void char_write(struct char_stream *stream, const uint8_t *data, size_t size);
/* Connect the one reader. Before the machine runs. */
void char_set_reader(struct char_stream *stream, const struct char_reader *reader);
/* The reader has room again. Any thread; device locks may be held. */
void char_resume_input(struct char_stream *stream);
/* Let writers that wait for a slow host give up, now and in future: the run ends. Any thread. */
void char_cancel(struct char_stream *stream);
void char_destroy(struct char_stream *stream); /* NULL is fine */

/* A stream that drops output and never has input. */
struct char_stream *char_none_create(struct error *error);

/* Output to a file that is created or emptied; no input. */
struct char_stream *char_file_create(const char *path, struct error *error);

/* Output goes to a function, input comes from char_callback_input: for tests. */
struct char_stream *char_callback_create(void (*output)(void *context, const uint8_t *data,
							size_t size),
					 void *context, struct error *error);
/* Hand over as many of the bytes as there is room for; returns how many. */
size_t char_callback_input(struct char_stream *stream, const uint8_t *data, size_t size);

/*
 * Standard input and output. When standard input is a terminal, it is put into raw mode (see
 * terminal.h) and ^A begins a command to kvik; otherwise all input is the guest's, and its end
 * is just the end of input. There can be one.
 */
struct char_stdio_commands {
	void (*quit)(void *context); /* ^A x; I/O thread */
	void *context;
};
struct char_stream *char_stdio_create(struct event_loop *loop,
				      const struct char_stdio_commands *commands,
				      struct error *error);
/* Standard output alone, where a stream is wanted beside the console: shares its order. */
struct char_stream *char_stdout_create(struct error *error);

#endif
