/*
 * The console on standard input and output.
 *
 * With a terminal, ^A is the escape key, as in QEMU's and many serial programs' habit:
 * ^A x quits, ^A h shows help, ^A b sends a break, ^A ^A sends one ^A. Without one (a pipe, a file,
 * /dev/null) every byte is the guest's, so scripts can feed any data.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "device/char/char.h"
#include "device/char/terminal.h"
#include "util/log.h"

#define ESCAPE_KEY	   0x01 /* ^A */
#define QUEUE_BYTES 4096 /* a power of two */

struct char_stdio {
	struct char_stream stream;
	struct event_source input;  /* standard input; enabled while there is room in the queue */
	struct event_source resume; /* an eventfd: the reader has room again */
	struct char_stdio_commands commands;
	bool has_input;	     /* `input` is in the loop */
	bool has_escapes;    /* input is a terminal */
	bool escape_pending; /* ^A was the last key */
	bool is_starved;     /* atomic: bytes wait in the queue for the reader's room */
	/* Between terminal and reader, so that a paste survives a guest that reads slowly, and the
	 * escape key works while it doesn't read at all. I/O thread. */
	uint8_t queue[QUEUE_BYTES];
	unsigned queue_head, queue_count;
};

static void show_help(void)
{
	log_print(LOG_ERROR, "^A x   quit kvik");
	log_print(LOG_ERROR, "^A s   save the machine (--save)");
	log_print(LOG_ERROR, "^A p   press the power button");
	log_print(LOG_ERROR, "^A b   send a break to the serial console");
	log_print(LOG_ERROR, "^A ^A  send ^A itself");
	log_print(LOG_ERROR, "^A h   show this help");
}

static void enqueue(struct char_stdio *stdio, uint8_t byte)
{
	/* A full queue loses typed characters, as a full line does; pipes wait instead. */
	if (stdio->queue_count < QUEUE_BYTES)
		stdio->queue[(stdio->queue_head + stdio->queue_count++) % QUEUE_BYTES] = byte;
}

static void escape_command(struct char_stdio *stdio, uint8_t key)
{
	const struct char_reader *reader = &stdio->stream.reader;

	switch (key) {
	case 'x': stdio->commands.quit(stdio->commands.context); break;
	case 's': stdio->commands.save(stdio->commands.context); break;
	case 'p': stdio->commands.power(stdio->commands.context); break;
	case 'b':
		if (reader->receive_break)
			reader->receive_break(reader->context);
		break;
	case 'c': log_warning("^A c: there is no monitor console; ^A h shows the keys"); break;
	case ESCAPE_KEY: enqueue(stdio, ESCAPE_KEY); break;
	default: show_help(); break;
	}
}

/* Move what fits from the queue to the reader. */
static void deliver(struct char_stdio *stdio)
{
	const struct char_reader *reader = &stdio->stream.reader;
	size_t room, chunk;

	while (stdio->queue_count && reader->room) {
		/* Set before asking, so that room made right after the answer resumes us. */
		__atomic_store_n(&stdio->is_starved, true, __ATOMIC_SEQ_CST);
		room = reader->room(reader->context);
		if (room == 0)
			break;
		chunk = QUEUE_BYTES - stdio->queue_head;
		if (chunk > stdio->queue_count)
			chunk = stdio->queue_count;
		if (chunk > room)
			chunk = room;
		reader->receive(reader->context, stdio->queue + stdio->queue_head, chunk);
		stdio->queue_head = (stdio->queue_head + chunk) % QUEUE_BYTES;
		stdio->queue_count -= chunk;
	}
	if (!stdio->queue_count)
		__atomic_store_n(&stdio->is_starved, false, __ATOMIC_SEQ_CST);
	if (stdio->has_input && !stdio->has_escapes)
		event_source_enable(&stdio->input, stdio->queue_count < QUEUE_BYTES);
}

static void input_ready(void *context)
{
	struct char_stdio *stdio = context;
	uint8_t buffer[QUEUE_BYTES];
	size_t room = QUEUE_BYTES - stdio->queue_count;
	ssize_t count, i;

	if (room == 0)
		room = 1; /* look for the escape key */
	count = read(STDIN_FILENO, buffer, room);
	if (count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN)) {
		event_loop_remove(&stdio->input);
		stdio->has_input = false;
	}
	for (i = 0; i < count; i++) {
		if (stdio->escape_pending) {
			stdio->escape_pending = false;
			escape_command(stdio, buffer[i]);
		} else if (stdio->has_escapes && buffer[i] == ESCAPE_KEY) {
			stdio->escape_pending = true;
		} else {
			enqueue(stdio, buffer[i]);
		}
	}
	deliver(stdio);
}

static void resume_ready(void *context)
{
	struct char_stdio *stdio = context;
	uint64_t count;

	if (read(stdio->resume.fd, &count, sizeof(count)) == sizeof(count))
		deliver(stdio);
}

static void stdio_resume_input(struct char_stream *stream)
{
	struct char_stdio *stdio = (struct char_stdio *)stream;
	uint64_t one = 1;

	/* A failed write means that the counter is full: the loop comes anyhow. */
	if (__atomic_exchange_n(&stdio->is_starved, false, __ATOMIC_SEQ_CST) &&
	    write(stdio->resume.fd, &one, sizeof(one)) < 0)
		return;
}

static void stdio_destroy(struct char_stream *stream)
{
	struct char_stdio *stdio = (struct char_stdio *)stream;

	if (stdio->has_input)
		event_loop_remove(&stdio->input);
	event_loop_remove(&stdio->resume);
	close(stdio->resume.fd);
	terminal_restore();
	free(stdio);
}

struct char_stream *char_stdio_create(struct event_loop *loop, struct char_stream *standard_output,
				      const struct char_stdio_commands *commands,
				      struct error *error)
{
	static const struct char_ops ops = {
		.resume_input = stdio_resume_input,
		.destroy = stdio_destroy,
	};
	struct char_stdio *stdio = calloc(1, sizeof(*stdio));
	int code;

	if (!stdio) {
		code = ENOMEM;
		goto fail;
	}
	stdio->stream.ops = &ops;
	stdio->stream.output = standard_output->output;
	stdio->commands = *commands;
	stdio->has_escapes = isatty(STDIN_FILENO);
	stdio->resume = (struct event_source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
					      .ready = resume_ready,
					      .context = stdio};
	if (stdio->resume.fd < 0) {
		code = errno;
		goto fail_free;
	}
	code = -event_loop_add(loop, &stdio->resume);
	if (code)
		goto fail_resume;
	stdio->input = (struct event_source){
		.fd = STDIN_FILENO, .ready = input_ready, .context = stdio};
	/* A terminal of which this is a background job would stop the process when read. */
	if (!stdio->has_escapes || terminal_enter_raw()) {
		code = -event_loop_add(loop, &stdio->input);
		stdio->has_input = code == 0;
		/* EBADF: standard input is closed, which is the same as empty. */
		if (code && code != EBADF)
			goto fail_terminal;
	}
	return &stdio->stream;

fail_terminal:
	terminal_restore();
	event_loop_remove(&stdio->resume);
fail_resume:
	close(stdio->resume.fd);
fail_free:
	free(stdio);
fail:
	error_set_errno(error, code, "cannot set up the console on standard input and output");
	return NULL;
}
