/*
 * One peer on a socket that never blocks: what it sent is kept until it is taken, what goes to it until it
 * reads. All on the I/O thread.
 */
#ifndef KVIK_MONITOR_GDB_CONNECTION_H
#define KVIK_MONITOR_GDB_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/event_loop.h"

struct gdb_connection {
	void (*changed)(void *context); /* there is input, or room for output again; or it is lost */
	void *context;

	/* The connection's own: */
	bool is_open, is_lost;
	struct event_source input, output; /* of two descriptors of one socket */
	uint8_t bytes[4096]; /* those in [start, end) wait to be taken */
	size_t start, end;
	uint8_t *queue; /* owned; those in [sent, queued) wait to leave */
	size_t sent, queued, room;
};

/* Take over a socket that doesn't block. 0, or -errno: it is closed. */
int gdb_connection_open(struct gdb_connection *connection, struct event_loop *loop, int fd);
void gdb_connection_close(struct gdb_connection *connection); /* fine on a closed one */

/* The bytes that wait; *size of them. */
const uint8_t *gdb_connection_input(const struct gdb_connection *connection, size_t *size);
void gdb_connection_take(struct gdb_connection *connection, size_t size);

void gdb_connection_send(struct gdb_connection *connection, const uint8_t *bytes, size_t size);
/* The peer reads slower than it asks: answer no more until `changed`. */
bool gdb_connection_is_backed_up(const struct gdb_connection *connection);
bool gdb_connection_is_drained(const struct gdb_connection *connection);

#endif
