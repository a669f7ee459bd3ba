/*
 * The standard streams of a command that runs in a guest (kvik run -- COMMAND): one character stream for a virtio
 * port, which speaks with kvik's init in the guest (guest/protocol.h). Input and its end, sizes of the
 * terminal, output and errors go through it as they would between a terminal or pipes and a command here.
 */
#ifndef KVIK_CLI_COMMAND_STREAM_H
#define KVIK_CLI_COMMAND_STREAM_H

#include "device/char/char.h"

struct command_end {
	/* The command has ended with that status, as a shell says it. On the loop's thread, with locks of a device
	 * held. */
	void (*ended)(void *context, int status);
	/* The user has typed the keys that end the run. On the loop's thread. */
	void (*quit)(void *context);
	void *context;
};

/* Which of the standard streams are terminals, and how large those are (0: none is). */
struct command_terminals {
	bool is_terminal[3];
	bool will_be_raw; /* while the command runs */
	unsigned rows, columns;
};
struct command_terminals command_terminals(void);

/* `standard_output` is the process's, and outlives it. Takes standard input and a terminal's raw mode. NULL, and
 * `error`, on failure. */
struct char_stream *command_stream_create(struct event_loop *loop,
					  struct char_stream *standard_output,
					  const struct command_end *end, struct error *error);
/* The terminal has another size. On the loop's thread. */
void command_stream_resized(struct char_stream *stream);
/* What the command wrote to standard error: for char_drain. */
struct char_stream *command_stream_errors(struct char_stream *stream);

#endif
