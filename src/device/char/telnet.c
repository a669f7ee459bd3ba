#include "device/char/telnet.h"

#include <errno.h>
#include <stdlib.h>

/* RFC 854: commands, which follow an IAC; from SB to SE is a subnegotiation. */
enum {
	TELNET_SE = 240,
	TELNET_BREAK = 243,
	TELNET_SB = 250,
	TELNET_WILL = 251,
	TELNET_DO = 253,
	TELNET_DONT = 254,
	TELNET_IAC = 255,
};

/* Options: RFC 856, 857, 858. */
enum { OPTION_BINARY = 0, OPTION_ECHO = 1, OPTION_SUPPRESS_GO_AHEAD = 3 };

enum telnet_state {
	IN_DATA,
	BEHIND_IAC,
	BEHIND_VERB,		   /* WILL, WON'T, DO or DON'T: an option follows */
	IN_SUBNEGOTIATION,
	IN_SUBNEGOTIATION_AT_IAC,
};

struct char_telnet {
	struct char_stream stream;
	struct char_stream *below;
	enum telnet_state state; /* the I/O thread's */
};

static void say_hello(struct char_telnet *telnet)
{
	static const uint8_t hello[] = {
		TELNET_IAC, TELNET_WILL, OPTION_ECHO,	TELNET_IAC, TELNET_WILL, OPTION_SUPPRESS_GO_AHEAD,
		TELNET_IAC, TELNET_WILL, OPTION_BINARY, TELNET_IAC, TELNET_DO,	 OPTION_BINARY,
	};

	telnet->state = IN_DATA;
	char_write(telnet->below, hello, sizeof(hello));
}

static size_t telnet_room(void *context)
{
	const struct char_reader *reader = &((const struct char_telnet *)context)->stream.reader;

	return reader->room ? reader->room(reader->context) : 0;
}

static void receive_break(const struct char_reader *reader)
{
	if (reader->receive_break)
		reader->receive_break(reader->context);
}

/* Whether the byte behind an IAC is one of data: the IAC itself. */
static bool take_command(struct char_telnet *telnet, uint8_t byte)
{
	telnet->state = byte >= TELNET_WILL && byte <= TELNET_DONT ? BEHIND_VERB
			: byte == TELNET_SB			   ? IN_SUBNEGOTIATION
								   : IN_DATA;
	if (byte == TELNET_BREAK)
		receive_break(&telnet->stream.reader);
	return byte == TELNET_IAC;
}

static bool is_data(struct char_telnet *telnet, uint8_t byte)
{
	switch (telnet->state) {
	case IN_DATA:
		if (byte == TELNET_IAC)
			telnet->state = BEHIND_IAC;
		return byte != TELNET_IAC;
	case BEHIND_IAC: return take_command(telnet, byte);
	case BEHIND_VERB: telnet->state = IN_DATA; return false;
	case IN_SUBNEGOTIATION:
		if (byte == TELNET_IAC)
			telnet->state = IN_SUBNEGOTIATION_AT_IAC;
		return false;
	default: telnet->state = byte == TELNET_SE ? IN_DATA : IN_SUBNEGOTIATION; return false;
	}
}

/* Runs of data are handed over as they lie: never more than what came, for which there is room. */
static void telnet_receive(void *context, const uint8_t *data, size_t size)
{
	struct char_telnet *telnet = context;
	const struct char_reader *reader = &telnet->stream.reader;
	size_t i, begin = 0;

	for (i = 0; i < size; i++) {
		if (is_data(telnet, data[i]))
			continue;
		if (i > begin)
			reader->receive(reader->context, data + begin, i - begin);
		begin = i + 1;
	}
	if (size > begin)
		reader->receive(reader->context, data + begin, size - begin);
}

static void telnet_receive_break(void *context)
{
	receive_break(&((const struct char_telnet *)context)->stream.reader);
}

static void telnet_attached(void *context, bool is_attached)
{
	struct char_telnet *telnet = context;
	const struct char_reader *reader = &telnet->stream.reader;

	if (is_attached)
		say_hello(telnet);
	if (reader->attached)
		reader->attached(reader->context, is_attached);
}

static void resume_input(struct char_stream *stream)
{
	char_resume_input(((struct char_telnet *)stream)->below);
}

static bool is_attached(const struct char_stream *stream)
{
	return char_is_attached(((const struct char_telnet *)stream)->below);
}

static void destroy(struct char_stream *stream)
{
	char_destroy(((struct char_telnet *)stream)->below);
	free(stream);
}

struct char_stream *char_telnet_create(struct char_stream *below, struct error *error)
{
	static const struct char_ops ops = {
		.resume_input = resume_input, .destroy = destroy, .is_attached = is_attached};
	struct char_telnet *telnet = calloc(1, sizeof(*telnet));

	if (!telnet) {
		error_set_errno(error, ENOMEM, "cannot create a console");
		char_destroy(below);
		return NULL;
	}
	telnet->stream.ops = &ops;
	telnet->stream.output = below->output;
	telnet->below = below;
	char_set_reader(below, &(struct char_reader){.room = telnet_room,
						     .receive = telnet_receive,
						     .receive_break = telnet_receive_break,
						     .attached = telnet_attached,
						     .context = telnet});
	if (char_is_attached(below))
		say_hello(telnet);
	return &telnet->stream;
}
