/*
 * A multiplexer: several front ends (a serial port, a monitor) on one stream. Output of all of them goes
 * there; input goes to the one that has the keys. An escape key, ^A as in QEMU and many serial
 * programs, begins a command: x quits, s saves, p presses the power button, d takes a picture, b sends a break, c gives the keys to the next front
 * end, the escape key again sends itself.
 *
 * What is typed waits in a queue for each front end, so that a paste survives a guest that reads slowly,
 * and the escape key works while it doesn't read at all.
 */
#ifndef KVIK_DEVICE_CHAR_MUX_H
#define KVIK_DEVICE_CHAR_MUX_H

#include "device/char/char.h"

#define CHAR_MUX_FRONTS_MAX 4
#define CHAR_MUX_ESCAPE	    0x01 /* ^A */

struct char_mux;

/* All on the I/O thread; NULL: there is no such command. */
struct char_mux_commands {
	void (*quit)(void *context);
	void (*save)(void *context);
	void (*power)(void *context);
	void (*picture)(void *context);
	void *context;
};

/*
 * On a stream that is the multiplexer's from now on, also when this fails. `escape` is the byte of the
 * escape key. NULL, and `error`, on failure.
 */
struct char_mux *char_mux_create(struct event_loop *loop, struct char_stream *below, uint8_t escape,
				 const struct char_mux_commands *commands, struct error *error);
void char_mux_destroy(struct char_mux *mux); /* with its front ends, and the stream; NULL is fine */

/* A break on the line of the front end that has the keys. I/O thread. */
void char_mux_send_break(struct char_mux *mux);

/* One more front end, the multiplexer's own: char_destroy does nothing to it. The first has the keys. NULL,
 * and `error`: there are too many. */
struct char_stream *char_mux_add(struct char_mux *mux, struct error *error);

#endif
