/*
 * One peer: what it sent is kept until it is taken, what goes to it until it reads. It is on a socket that never blocks, or
 * on a stream (char.h), where nothing tells that a debugger has come but that it says something: the first byte opens the
 * connection. All on the I/O thread.
 */
#ifndef KVIK_MONITOR_GDB_CONNECTION_H
#define KVIK_MONITOR_GDB_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/char/char.h"
#include "util/event_loop.h"
#include "util/event_signal.h"

struct gdb_connection {
	void (*changed)(void *context); /* there is input, or room for output again; or it is lost */
	void (*begun)(void *context);	/* a stream's has opened; before `changed` */
	void *context;

	/* The connection's own: */
	bool is_open, is_lost;
	struct event_source input, output; /* of two descriptors of one socket */
	uint8_t bytes[4096]; /* those in [start, end) wait to be taken */
	size_t start, end;
	uint8_t *queue; /* owned; those in [sent, queued) wait to leave */
	size_t sent, queued, room;

	struct char_stream *stream; /* NULL: it is a socket */
	struct char_watch output_ready; /* another thread's, which raises: */
	struct event_signal woken;
};

/* Take over a socket that doesn't block. 0, or -errno: it is closed. */
int gdb_connection_open(struct gdb_connection *connection, struct event_loop *loop, int fd);
void gdb_connection_close(struct gdb_connection *connection); /* fine on a closed one */

/* Have whoever speaks on the stream, which outlives it, be the peer, one after another. 0 or -errno. */
int gdb_connection_await(struct gdb_connection *connection, struct event_loop *loop, struct char_stream *stream);
void gdb_connection_ignore(struct gdb_connection *connection); /* nobody any more; fine on a socket's */

/* The bytes that wait; *size of them. */
const uint8_t *gdb_connection_input(const struct gdb_connection *connection, size_t *size);
void gdb_connection_take(struct gdb_connection *connection, size_t size);

void gdb_connection_send(struct gdb_connection *connection, const uint8_t *bytes, size_t size);
/* The peer reads slower than it asks: answer no more until `changed`. */
bool gdb_connection_is_backed_up(const struct gdb_connection *connection);
bool gdb_connection_is_drained(const struct gdb_connection *connection);

#endif
