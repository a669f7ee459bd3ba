/* What schema.json says, as it is used: which commands there are, and what values may look like. */
#ifndef KVIK_MONITOR_SCHEMA_H
#define KVIK_MONITOR_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>

#include "util/error.h"

struct qmp_call;

struct qmp_command {
	const char *name;
	json_t *(*run)(struct qmp_call *call);
};

/* Made of schema.json. */
extern const char qmp_schema_text[];
extern const struct qmp_command qmp_commands[];
extern const unsigned qmp_command_count;
extern const char *const qmp_open_types[]; /* of arguments with members that they do not name; ends with NULL */
extern const char *const qmp_events[];
extern const unsigned qmp_event_count;

struct schema;

struct schema *schema_create(struct error *error); /* NULL, and `error`, on failure */
void schema_destroy(struct schema *schema);	   /* NULL is fine */
json_t *schema_description(const struct schema *schema); /* a list; borrowed */

/* Whether `arguments` (an object, or NULL: none) are such as `command` takes. 0, or -EINVAL and `error`. */
int schema_check(const struct schema *schema, const char *command, const json_t *arguments,
		 struct error *error);

#endif
