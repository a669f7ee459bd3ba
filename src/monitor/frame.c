#include "monitor/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void frame_reset(struct frame *frame)
{
	char *text = frame->text;
	size_t room = frame->room;

	*frame = (struct frame){.text = text, .room = room};
}

void frame_free(struct frame *frame)
{
	free(frame->text);
	*frame = (struct frame){.text = NULL};
}

static int append(struct frame *frame, char byte)
{
	size_t room;
	char *text;

	if (frame->size == frame->room) {
		room = frame->room ? 2 * frame->room : 1024;
		text = room <= FRAME_BYTES_MAX ? realloc(frame->text, room) : NULL;
		if (!text)
			return -E2BIG;
		frame->text = text;
		frame->room = room;
	}
	frame->text[frame->size++] = byte;
	return 0;
}

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/* A value outside of any brackets: ends at a blank, or where another one begins. */
static bool is_bare_byte(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= '0' && byte <= '9') || byte == '+' || byte == '-' || byte == '.';
}

/* One more byte of a value. Whether it is the last. */
static bool step(struct frame *frame, char byte)
{
	if (frame->in_string) {
		if (frame->is_escaped)
			frame->is_escaped = false;
		else if (byte == '\\')
			frame->is_escaped = true;
		else if (byte == '"')
			frame->in_string = false;
		return !frame->in_string && !frame->depth;
	}
	switch (byte) {
	case '"': frame->in_string = true; return false;
	case '{':
	case '[': frame->depth++; return false;
	case '}':
	case ']':
		if (frame->depth)
			frame->depth--;
		return !frame->depth;
	default: return !frame->depth && !frame->is_bare;
	}
}

static json_t *parse(struct frame *frame, struct error *error)
{
	json_error_t problem;
	json_t *value = json_loadb(frame->text, frame->size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES,
				   &problem);

	if (!value)
		error_set(error, EINVAL, "JSON parse error, %s", problem.text);
	return value;
}

/* The value has ended, well or not. */
static void finish(struct frame *frame, json_t **value, struct error *error)
{
	*value = parse(frame, error);
	frame_reset(frame);
	frame->is_skipping = !*value;
}

size_t frame_take(struct frame *frame, const char *bytes, size_t size, json_t **value,
		  struct error *error)
{
	size_t i;

	*value = NULL;
	error->message[0] = 0;
	for (i = 0; i < size; i++) {
		char byte = bytes[i];

		if (frame->is_skipping) {
			frame->is_skipping = byte != '\n';
			continue;
		}
		if (!frame->is_inside) {
			if (is_blank(byte))
				continue;
			frame->is_inside = true;
			frame->is_bare = is_bare_byte(byte);
		} else if (frame->is_bare && !frame->depth && !is_bare_byte(byte)) {
			finish(frame, value, error);
			return i;
		}
		if (append(frame, byte) < 0 ||
		    (frame->depth == FRAME_DEPTH_MAX && (byte == '{' || byte == '['))) {
			frame_reset(frame);
			frame->is_skipping = byte != '\n';
			error_set(error, E2BIG,
				  "JSON parse error, more than %u bytes or %u levels", FRAME_BYTES_MAX,
				  FRAME_DEPTH_MAX);
			return i + 1;
		}
		if (step(frame, byte)) {
			finish(frame, value, error);
			return i + 1;
		}
	}
	return i;
}
