#include "monitor/hmp_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hmp_print(struct hmp_text *text, const char *format, ...)
{
	va_list list;
	size_t room;
	char *piece, *bytes;
	int length;

	va_start(list, format);
	length = vasprintf(&piece, format, list);
	va_end(list);
	if (length < 0)
		return;
	if (text->size + length + 1 > text->room) {
		room = 2 * (text->size + length + 1);
		bytes = realloc(text->bytes, room);
		if (!bytes) {
			free(piece);
			return;
		}
		text->bytes = bytes;
		text->room = room;
	}
	memcpy(text->bytes + text->size, piece, length + 1);
	text->size += length;
	free(piece);
}

void hmp_text_free(struct hmp_text *text)
{
	free(text->bytes);
	*text = (struct hmp_text){NULL};
}
