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
	/* A peer has come, or has gone: of streams that peers connect to, and of a mux's front ends, which
	 * have a peer while the keys are theirs. May be NULL. */
	void (*attached)(void *context, bool is_attached);
	/* Input has ended for good, though somebody may still take output: of standard input and what it is shared by no
	 * mux. May be NULL. */
	void (*ended)(void *context);
	void *context;
};

struct char_ops {
	void (*resume_input)(struct char_stream *stream); /* the reader has room again */
	void (*destroy)(struct char_stream *stream);
	bool (*is_attached)(const struct char_stream *stream); /* NULL: always */
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
/* How many bytes char_write can queue now; what goes beyond is lost. Any thread. */
size_t char_output_room(struct char_stream *stream);
/* Whether there is a peer now (char_reader.attached tells of changes). I/O thread. */
bool char_is_attached(const struct char_stream *stream);
/*
 * Whether all bytes have left. If not, `drained` is called once they have, on any thread, or when
 * they are given up.
 */
bool char_drain(struct char_stream *stream, void (*drained)(void *context), void *context);
/* Connect the one reader. Before the machine runs. */
void char_set_reader(struct char_stream *stream, const struct char_reader *reader);
/* The reader has room again. Any thread; device locks may be held. */
void char_resume_input(struct char_stream *stream);
void char_destroy(struct char_stream *stream); /* NULL is fine; cancels */

/* A stream that drops output and never has input. */
struct char_stream *char_none_create(struct error *error);

/* Output to a file that is created or emptied; no input. Waits for a FIFO's reader. */
struct char_stream *char_file_create(const char *path, struct error *error);

/* The file that is open as `fd`, which is the stream's; no input. Of a FIFO this is its writing end. */
struct char_stream *char_fd_create(int fd, struct error *error);

/* Both ways on descriptors, which are the stream's from now on, also when this fails; they may be the
 * same. When `input_fd` ends, so does input. */
struct char_stream *char_pair_create(struct event_loop *loop, int input_fd, int output_fd,
				     struct error *error);

/*
 * One peer at a time on a listening socket, which is the stream's from now on, also when this fails. What
 * is written while there is no peer is dropped. `peer` is the first one, -1: none yet. A socket that does not
 * listen is one on which somebody passes peers, each with a message of one byte.
 */
struct char_stream *char_server_create(struct event_loop *loop, int listening_fd, int peer,
				       struct error *error);

/*
 * One peer at a time whom somebody connects to when he is asked by a message of one byte on `dialer`, and passes
 * likewise: at the start, and when that one has gone. The descriptor is the stream's, also when this fails.
 */
struct char_stream *char_client_create(struct event_loop *loop, int dialer, struct error *error);

/*
 * A new pseudo-terminal in raw mode; its name goes to `name`. What is written while nobody has it open is
 * dropped.
 */
struct char_stream *char_pty_create(struct event_loop *loop, char *name, size_t name_size,
				    struct error *error);

/* A terminal or serial line of the host's, in raw mode at 115200 Bd, or another device that is read and written so;
 * /dev/null is nobody. */
struct char_stream *char_tty_create(struct event_loop *loop, const char *path, struct error *error);

/* Keeps the last `size` bytes that were written, a power of 2; no input. */
struct char_stream *char_ring_create(size_t size, struct error *error);
/* Take up to `size` of the oldest bytes out of it; returns how many. Any thread. */
size_t char_ring_read(struct char_stream *stream, uint8_t *data, size_t size);

/* Output goes to a function, input comes from char_callback_input: for tests. */
struct char_stream *char_callback_create(void (*output)(void *context, const uint8_t *data,
							size_t size),
					 void *context, struct error *error);
/* Play a host that has stalled, or goes on. */
void char_callback_stall(struct char_stream *stream, bool is_stalled);
/* Hand over as many of the bytes as there is room for; returns how many. */
size_t char_callback_input(struct char_stream *stream, const uint8_t *data, size_t size);

/*
 * Standard input and output; there can be one. A terminal is put into raw mode (terminal.h). Input goes to
 * this stream's reader, and its end is just the end of input; output goes into the queue of
 * `standard_output`, which must outlive it.
 */
struct char_stream *char_stdio_create(struct event_loop *loop, struct char_stream *standard_output,
				      bool keeps_signals, struct error *error);
/* Standard output alone. One for the process, so that all that is written there keeps its order. */
struct char_stream *char_stdout_create(struct error *error);

#endif
