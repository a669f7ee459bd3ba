/* QMP's dirty bitmaps, alone and in transactions with a backup. */
#include <errno.h>
#include <string.h>

#include "monitor/transactions.h"
#include <qmp_commands.h>

#define PREFIX "block-dirty-bitmap-"

static int run(struct qmp_call *call, const char *verb, const json_t *arguments)
{
	json_t *said = json_deep_copy(arguments);
	int result;

	if (!said)
		return error_set_errno(&call->error, ENOMEM, "a bitmap");
	json_object_set_new(said, "verb", json_string(verb));
	result = qmp_change(call, MONITOR_BITMAP, said);
	json_decref(said);
	return result;
}

static json_t *answer(struct qmp_call *call, const char *verb)
{
	return run(call, verb, call->arguments) == 0 ? qmp_done() : NULL;
}

json_t *qmp_block_dirty_bitmap_add(struct qmp_call *call)
{
	return answer(call, "add");
}

json_t *qmp_block_dirty_bitmap_remove(struct qmp_call *call)
{
	return answer(call, "remove");
}

json_t *qmp_block_dirty_bitmap_clear(struct qmp_call *call)
{
	return answer(call, "clear");
}

json_t *qmp_block_dirty_bitmap_enable(struct qmp_call *call)
{
	return answer(call, "enable");
}

json_t *qmp_block_dirty_bitmap_disable(struct qmp_call *call)
{
	return answer(call, "disable");
}

json_t *qmp_block_dirty_bitmap_merge(struct qmp_call *call)
{
	return answer(call, "merge");
}

/* -- transactions -- */

static const char *verb_of(const json_t *action)
{
	const char *type = json_string_value(json_object_get(action, "type"));

	return strncmp(type, PREFIX, strlen(PREFIX)) == 0 ? type + strlen(PREFIX) : NULL;
}

bool bitmap_action_is_one(const json_t *action)
{
	return verb_of(action) != NULL;
}

int bitmap_action_begin(struct qmp_call *call, const json_t *action)
{
	const char *verb = verb_of(action);
	json_t *arguments;
	int result;

	if (strcmp(verb, "clear") != 0)
		return run(call, verb, json_object_get(action, "data"));
	arguments = json_deep_copy(json_object_get(action, "data"));
	if (!arguments)
		return error_set_errno(&call->error, ENOMEM, "a bitmap");
	json_object_set_new(arguments, "is-kept", json_true());
	result = run(call, verb, arguments);
	json_decref(arguments);
	return result;
}

void bitmap_action_end(struct qmp_call *call, const json_t *action, bool is_done)
{
	static const struct {
		const char *verb, *undo, *end;
	} ways[] = {{"add", "remove", NULL}, {"clear", "restore", "forget"}, {"enable", "disable", NULL}, {"disable", "enable", NULL}};
	const char *verb = verb_of(action), *next;
	struct error seen = call->error;
	unsigned i;

	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		next = is_done ? ways[i].end : ways[i].undo;
		if (strcmp(ways[i].verb, verb) == 0 && next)
			run(call, next, json_object_get(action, "data"));
	}
	/* What went wrong first is what is told. */
	call->error = seen;
}
