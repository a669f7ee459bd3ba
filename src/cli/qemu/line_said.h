/* What a command line says of an option, for those that look at it (line.c and others). */
#ifndef KVIK_CLI_QEMU_LINE_SAID_H
#define KVIK_CLI_QEMU_LINE_SAID_H

#include "cli/qemu/line_state.h"

/* NULL: nothing. */
static inline const json_t *said(const struct line *line, const char *option)
{
	return json_object_get(line->said, option);
}

static inline bool has(const struct line *line, const char *option)
{
	return said(line, option) != NULL;
}

static inline const char *text(const struct line *line, const char *option)
{
	return json_string_value(said(line, option));
}

#endif
