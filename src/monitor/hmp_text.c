#include "monitor/hmp_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append(struct hmp_text *text, const char *piece, size_t length)
{
	size_t room;
	char *bytes;

	if (text->size + length + 1 > text->room) {
		room = 2 * (text->size + length + 1);
		bytes = realloc(text->bytes, room);
		if (!bytes)
			return;
		text->bytes = bytes;
		text->room = room;
	}
	memcpy(text->bytes + text->size, piece, length + 1);
	text->size += length;
}

void hmp_print(struct hmp_text *text, const char *format, ...)
{
	static const char rest[] = "\n(what follows is left out: it is too much)\n";
	va_list list;
	char *piece;
	int length;

	if (text->is_full)
		return;
	va_start(list, format);
	length = vasprintf(&piece, format, list);
	va_end(list);
	if (length < 0)
		return;
	text->is_full = text->size + length > HMP_TEXT_MAX;
	if (text->is_full)
		append(text, rest, sizeof(rest) - 1);
	else
		append(text, piece, length);
	free(piece);
}

void hmp_text_free(struct hmp_text *text)
{
	free(text->bytes);
	*text = (struct hmp_text){NULL};
}
