#include "guest/init.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char words[512];

int fail(const char *format, ...)
{
	va_list arguments;
	size_t length;
	int code = errno;

	if (words[0])
		return -1;
	va_start(arguments, format);
	vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	length = strlen(words);
	if (code)
		snprintf(words + length, sizeof(words) - length, ": %s", strerror(code));
	return -1;
}

const char *failure(void)
{
	return words;
}
