/*
 * Sessions of people: a prompt, a line that can be typed and mended, what it prints. What comes in is
 * shown again, since a terminal that leads here is in raw mode.
 */
#include "monitor/hmp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/hmp_commands.h"
#include "monitor/listener.h"

#define LINE_MAX_BYTES 4096
#define PROMPT	       "(qemu) " /* what programs that drive this monitor wait for */
#define ERASE	       "\b \b"

struct hmp_session {
	struct hmp_session *next;
	struct monitor *monitor;
	struct listener listener;
	bool was_greeted;
	bool is_after_return; /* a line feed that follows belongs to it */
	enum { PLAIN, ESCAPE, SEQUENCE } keys; /* inside of what a function key sends */
	char line[LINE_MAX_BYTES];
	size_t length;
	unsigned cpu; /* that is looked at */
};

/* With the line ends that a terminal wants. */
static void put(struct hmp_session *session, const char *text, size_t size)
{
	const char *end;
	size_t part;

	if (char_output_room(session->listener.stream) < 2 * size)
		return; /* nobody reads */
	while (size) {
		end = memchr(text, '\n', size);
		part = end ? (size_t)(end - text) : size;
		char_write(session->listener.stream, (const uint8_t *)text, part);
		if (end)
			char_write(session->listener.stream, (const uint8_t *)"\r\n", 2);
		part += end != NULL;
		text += part;
		size -= part;
	}
}

static void put_text(struct hmp_session *session, const char *text)
{
	put(session, text, strlen(text));
}

static void prompt(struct hmp_session *session)
{
	put_text(session, PROMPT);
	put(session, session->line, session->length);
}

static void run_line(struct hmp_session *session)
{
	struct hmp_text text = {NULL};

	session->line[session->length] = 0;
	session->length = 0;
	put_text(session, "\n");
	hmp_run(session->monitor, session->line, &session->cpu, &text);
	if (text.size)
		put(session, text.bytes, text.size);
	hmp_text_free(&text);
	prompt(session);
}

static void erase(struct hmp_session *session)
{
	if (!session->length)
		return;
	session->length--;
	put_text(session, ERASE);
}

static void erase_word(struct hmp_session *session)
{
	while (session->length && session->line[session->length - 1] == ' ')
		erase(session);
	while (session->length && session->line[session->length - 1] != ' ')
		erase(session);
}

static void take_key(struct hmp_session *session, uint8_t key)
{
	bool is_after_return = session->is_after_return;

	session->is_after_return = key == '\r';
	if (session->keys == ESCAPE) {
		session->keys = key == '[' || key == 'O' ? SEQUENCE : PLAIN;
		return;
	}
	if (session->keys == SEQUENCE) {
		session->keys = key >= '@' && key <= '~' ? PLAIN : SEQUENCE;
		return;
	}
	switch (key) {
	case '\n':
		if (!is_after_return)
			run_line(session);
		break;
	case '\r': run_line(session); break;
	case '\b':
	case 0x7f: erase(session); break;
	case 0x15: /* ^U */
		while (session->length)
			erase(session);
		break;
	case 0x17: erase_word(session); break; /* ^W */
	case 0x1b: session->keys = ESCAPE; break;
	default:
		if (key < ' ' || session->length == LINE_MAX_BYTES - 1)
			break;
		session->line[session->length++] = key;
		put(session, (const char *)&key, 1);
		break;
	}
}

static size_t room(void *context)
{
	const struct hmp_session *session = context;

	return char_is_ready(session->listener.stream) ? 256 : 0;
}

static void receive(void *context, const uint8_t *data, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++)
		take_key(context, data[i]);
}

static void greet(struct hmp_session *session)
{
	if (!session->was_greeted)
		put_text(session, "kvik " KVIK_VERSION " monitor - type 'help' for more information\n");
	else
		put_text(session, "\n");
	session->was_greeted = true;
	prompt(session);
}

static void attached(void *context, bool is_attached)
{
	struct hmp_session *session = context;

	session->keys = PLAIN;
	if (is_attached)
		greet(session);
}

int hmp_add_session(struct monitor *monitor, struct char_stream *stream, struct error *error)
{
	struct hmp_session *session = calloc(1, sizeof(*session));
	const struct char_reader reader = {
		.room = room,
		.receive = receive,
		.attached = attached,
		.context = session,
	};

	if (!session)
		return error_set_errno(error, ENOMEM, "cannot serve a monitor");
	session->monitor = monitor;
	session->next = monitor->hmp;
	monitor->hmp = session;
	listener_begin(&session->listener, stream, &reader);
	return 0;
}

void hmp_end(struct monitor *monitor)
{
	struct hmp_session *session;

	while ((session = monitor->hmp)) {
		monitor->hmp = session->next;
		listener_end(&session->listener);
		free(session);
	}
}
