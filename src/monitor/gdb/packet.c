#include "monitor/gdb/packet.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ESCAPE	    0x7d
#define ESCAPE_FLIP 0x20
#define INTERRUPT   0x03

static const char digits[] = "0123456789abcdef";

static int digit(uint8_t character)
{
	if (character >= '0' && character <= '9')
		return character - '0';
	if (character >= 'a' && character <= 'f')
		return character - 'a' + 10;
	if (character >= 'A' && character <= 'F')
		return character - 'A' + 10;
	return -1;
}

/* -- from the peer -- */

static void begin(struct gdb_parser *parser)
{
	parser->state = GDB_DATA;
	parser->size = 0;
	parser->sum = 0;
	parser->is_too_long = false;
}

static enum gdb_event between(struct gdb_parser *parser, uint8_t byte)
{
	switch (byte) {
	case '$': begin(parser); return GDB_NOTHING;
	case '-': return GDB_RESEND;
	case INTERRUPT: return GDB_INTERRUPT;
	default: return GDB_NOTHING; /* + and noise on the line */
	}
}

static void keep(struct gdb_parser *parser, uint8_t byte)
{
	if (parser->size == GDB_PACKET_MAX)
		parser->is_too_long = true;
	else
		parser->data[parser->size++] = byte;
}

static enum gdb_event end(struct gdb_parser *parser, uint8_t byte)
{
	int low = digit(byte);

	parser->state = GDB_BETWEEN;
	parser->data[parser->size] = '\0';
	if (parser->sum_high < 0 || low < 0 || parser->sum_high * 16 + low != parser->sum ||
	    parser->is_too_long)
		return GDB_BROKEN;
	return GDB_PACKET;
}

enum gdb_event gdb_parse(struct gdb_parser *parser, uint8_t byte)
{
	switch (parser->state) {
	case GDB_BETWEEN: return between(parser, byte);
	case GDB_SUM_HIGH:
		parser->sum_high = digit(byte);
		parser->state = GDB_SUM_LOW;
		return GDB_NOTHING;
	case GDB_SUM_LOW: return end(parser, byte);
	default: break;
	}
	/* $ and # stand for nothing else: a packet whose end was lost ends here. */
	if (byte == '#') {
		parser->state = GDB_SUM_HIGH;
	} else if (byte == '$') {
		begin(parser);
	} else {
		parser->sum += byte;
		if (parser->state == GDB_ESCAPED) {
			keep(parser, byte ^ ESCAPE_FLIP);
			parser->state = GDB_DATA;
		} else if (byte == ESCAPE) {
			parser->state = GDB_ESCAPED;
		} else {
			keep(parser, byte);
		}
	}
	return GDB_NOTHING;
}

/* -- to the peer -- */

static void put(struct gdb_reply *reply, uint8_t byte)
{
	/* The frame's end has its place. */
	if (reply->size + 3 >= sizeof(reply->bytes))
		reply->is_full = true;
	else
		reply->bytes[reply->size++] = byte;
}

void gdb_reply_begin(struct gdb_reply *reply)
{
	reply->is_full = false;
	reply->bytes[0] = '$';
	reply->size = 1;
}

void gdb_reply_binary(struct gdb_reply *reply, const void *bytes, size_t size)
{
	const uint8_t *byte = bytes;

	for (; size--; byte++) {
		/* An asterisk would begin a run length. */
		if (*byte == '$' || *byte == '#' || *byte == ESCAPE || *byte == '*') {
			put(reply, ESCAPE);
			put(reply, *byte ^ ESCAPE_FLIP);
		} else {
			put(reply, *byte);
		}
	}
}

void gdb_reply_text(struct gdb_reply *reply, const char *text)
{
	gdb_reply_binary(reply, text, strlen(text));
}

void gdb_reply_format(struct gdb_reply *reply, const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	gdb_reply_text(reply, text);
}

void gdb_reply_hex(struct gdb_reply *reply, const void *bytes, size_t size)
{
	const uint8_t *byte = bytes;

	for (; size--; byte++) {
		put(reply, digits[*byte >> 4]);
		put(reply, digits[*byte & 15]);
	}
}

void gdb_reply_end(struct gdb_reply *reply)
{
	uint8_t sum = 0;
	size_t i;

	if (reply->is_full) {
		gdb_reply_begin(reply);
		gdb_reply_text(reply, "E07"); /* E2BIG */
	}
	for (i = 1; i < reply->size; i++)
		sum += reply->bytes[i];
	reply->bytes[reply->size++] = '#';
	reply->bytes[reply->size++] = digits[sum >> 4];
	reply->bytes[reply->size++] = digits[sum & 15];
}

/* -- what packets are made of -- */

bool gdb_take_number(const char **text, uint64_t *number)
{
	const char *at = *text;

	*number = 0;
	for (; digit(*at) >= 0; at++) {
		if (*number >> 60)
			return false;
		*number = *number << 4 | (unsigned)digit(*at);
	}
	if (at == *text)
		return false;
	*text = at;
	return true;
}

bool gdb_take(const char **text, char wanted)
{
	if (**text != wanted)
		return false;
	++*text;
	return true;
}

bool gdb_take_hex(const char **text, void *bytes, size_t size)
{
	uint8_t *byte = bytes;
	const char *at = *text;

	for (; size--; byte++, at += 2) {
		int high = digit(at[0]);
		int low = high < 0 ? -1 : digit(at[1]);

		if (low < 0)
			return false;
		*byte = high << 4 | low;
	}
	*text = at;
	return true;
}
