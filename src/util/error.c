#include "util/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *error, int code, const char *format, ...)
{
	va_list args;

	if (error) {
		va_start(args, format);
		vsnprintf(error->message, sizeof(error->message), format, args);
		va_end(args);
	}
	return -code;
}

int error_set_errno(struct error *error, int code, const char *format, ...)
{
	va_list args;
	size_t used;

	if (error) {
		va_start(args, format);
		vsnprintf(error->message, sizeof(error->message), format, args);
		va_end(args);
		used = strlen(error->message);
		snprintf(error->message + used, sizeof(error->message) - used, ": %s", strerror(code));
	}
	return -code;
}

void error_prefix(struct error *error, const char *format, ...)
{
	char rest[sizeof(error->message)];
	va_list args;
	size_t used;

	if (!error)
		return;
	memcpy(rest, error->message, sizeof(rest));
	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	used = strlen(error->message);
	snprintf(error->message + used, sizeof(error->message) - used, ": %s", rest);
}
