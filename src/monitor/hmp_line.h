/* A human's line, as those see it who carry it out. */
#ifndef KVIK_MONITOR_HMP_LINE_H
#define KVIK_MONITOR_HMP_LINE_H

#include <jansson.h>

#include "monitor/hmp_text.h"
#include "monitor/hmp_words.h"
#include "monitor/monitor_state.h"

struct hmp_line {
	struct monitor *monitor;
	struct hmp_text *text;
	char *rest; /* behind the command's name; a copy that may be cut up (hmp_words.h) */
	unsigned *cpu;	   /* which one the session means */
};

struct hmp_command {
	const char *name, *other_name;
	void (*run)(struct hmp_line *line);
	const char *help;
};

/* The one of that name in a list, or NULL. */
const struct hmp_command *hmp_find(const struct hmp_command *list, unsigned count, const char *name, size_t length);

/* What a QMP command answers, the caller's; NULL: it has failed, which was printed. */
json_t *hmp_ask(struct hmp_line *line, const char *command);
/* The same with arguments, which are checked as a program's are, and given back; its answer is nobody's. */
void hmp_tell(struct hmp_line *line, const char *command, json_t *arguments);

/* A member's text, or "". */
const char *hmp_string(const json_t *object, const char *key);

#endif
