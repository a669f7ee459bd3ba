#include "monitor/hmp_line.h"

#include <string.h>

#include "monitor/qmp.h"

const struct hmp_command *hmp_find(const struct hmp_command *list, unsigned count, const char *name, size_t length)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if ((strlen(list[i].name) == length && strncmp(list[i].name, name, length) == 0) ||
		    (list[i].other_name && strlen(list[i].other_name) == length &&
		     strncmp(list[i].other_name, name, length) == 0))
			return &list[i];
	return NULL;
}

json_t *hmp_ask(struct hmp_line *line, const char *command)
{
	struct qmp_call call = {.monitor = line->monitor};
	json_t *answer = qmp_run(&call, command);

	if (!answer)
		hmp_print(line->text, "Error: %s\n", call.error.message);
	return answer;
}

void hmp_tell(struct hmp_line *line, const char *command, json_t *arguments)
{
	struct qmp_call call = {.monitor = line->monitor, .arguments = arguments};
	json_t *answer = NULL;

	if (schema_check(line->monitor->schema, command, arguments, &call.error) == 0)
		answer = qmp_run(&call, command);
	if (!answer)
		hmp_print(line->text, "Error: %s\n", call.error.message);
	json_decref(answer);
	json_decref(arguments);
}

const char *hmp_string(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "";
}
