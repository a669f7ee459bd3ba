/*
 * Character streams: what stands behind a serial port or a debug console on the host's side.
 *
 * A device (the front end) writes to a stream at any time on any thread, and never waits there: a
 * queue takes the bytes, and a thread behind it writes them to the host (output.h). The stream
 * hands input to one front end on the I/O thread, no more than that said it has room for. A stream
 * may have any number of writers but one reader.
 */
#ifndef KVIK_DEVICE_CHAR_CHAR_H
#define KVIK_DEVICE_CHAR_CHAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/char/output.h"
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
	void (*resume_input)(struct char_stream *stream); /* the reader has room again */
	void (*destroy)(struct char_stream *stream);
};

/* The part that all kinds of streams begin with. */
struct char_stream {
	const struct char_ops *ops;
	struct char_reader reader;
	struct char_output *output; /* streams may share one; NULL: bytes are dropped */
};

/* Queue all bytes. Never waits; device locks may be held. Any thread. */
void char_write(struct char_stream *stream, const uint8_t *data, size_t size);
/*
 * Whether the line takes more, as a modem's CTS says: false from some KiB of queued bytes until
 * half of them have left, when the watches are called. A device that has a way to tell its guest
 * does; char_write takes bytes all the same. Any thread, device locks may be held.
 */
bool char_is_ready(struct char_stream *stream);
/*
 * Whether the guest wrote on though the line was not ready. What it wrote is kept, but its vCPU
 * must not write more until the line is ready. Any thread.
 */
bool char_is_overfull(struct char_stream *stream);
/* Without device locks. After char_unwatch the watch isn't called any more. */
void char_watch(struct char_stream *stream, struct char_watch *watch);
void char_unwatch(struct char_stream *stream, struct char_watch *watch);
/*
 * Whether all bytes have left. If not, `drained` is called once they have, on any thread, or when
 * they are given up.
 */
bool char_drain(struct char_stream *stream, void (*drained)(void *context), void *context);
/* Connect the one reader. Before the machine runs. */
void char_set_reader(struct char_stream *stream, const struct char_reader *reader);
/* The reader has room again. Any thread; device locks may be held. */
void char_resume_input(struct char_stream *stream);
/* The run ends: drop new output, and what a slow host doesn't take at once. Any thread. */
void char_cancel(struct char_stream *stream);
void char_destroy(struct char_stream *stream); /* NULL is fine; cancels */

/* A stream that drops output and never has input. */
struct char_stream *char_none_create(struct error *error);

/* Output to a file that is created or emptied; no input. Waits for a FIFO's reader. */
struct char_stream *char_file_create(const char *path, struct error *error);

/* The Unix socket of that path, on which another program listens. */
struct char_stream *char_socket_create(struct event_loop *loop, const char *path,
				       struct error *error);

/* Output goes to a function, input comes from char_callback_input: for tests. */
struct char_stream *char_callback_create(void (*output)(void *context, const uint8_t *data,
							size_t size),
					 void *context, struct error *error);
/* Play a host that has stalled, or goes on. */
void char_callback_stall(struct char_stream *stream, bool is_stalled);
/* Hand over as many of the bytes as there is room for; returns how many. */
size_t char_callback_input(struct char_stream *stream, const uint8_t *data, size_t size);

/*
 * Standard input and output. When standard input is a terminal, it is put into raw mode (see
 * terminal.h) and ^A begins a command to kvik; otherwise all input is the guest's, and its end
 * is just the end of input. There can be one.
 */
struct char_stdio_commands {
	void (*quit)(void *context); /* ^A x; I/O thread */
	void (*save)(void *context); /* ^A s; likewise */
	void (*power)(void *context); /* ^A p; likewise */
	void *context;
};
/* Input goes to this stream's reader, output into the queue of `standard_output`, which must outlive
 * it. */
struct char_stream *char_stdio_create(struct event_loop *loop, struct char_stream *standard_output,
				      const struct char_stdio_commands *commands,
				      struct error *error);
/* Standard output alone. One for the process, so that all that is written there keeps its order. */
struct char_stream *char_stdout_create(struct error *error);

#endif
