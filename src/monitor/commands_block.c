/* QMP's commands about disks that are in use: whoever knows the command line carries them out. */
#include <errno.h>

#include "monitor/transactions.h"
#include <qmp_commands.h>

static json_t *change(struct qmp_call *call, enum monitor_change what, const json_t *arguments)
{
	return qmp_change(call, what, arguments) == 0 ? qmp_done() : NULL;
}

json_t *qmp_block_resize(struct qmp_call *call)
{
	return change(call, MONITOR_BLOCK_RESIZE, call->arguments);
}

json_t *qmp_block_set_io_throttle(struct qmp_call *call)
{
	return change(call, MONITOR_SET_LIMITS, call->arguments);
}

/* Bitmaps change, and then a backup begins: what is written in between is in both. */
static json_t *back_up(struct qmp_call *call, const json_t *actions)
{
	size_t i, count = json_array_size(actions), begun = 0, backup = count;
	const json_t *action;
	int result = 0;

	for (i = 0; i < count && result == 0; i++) {
		action = json_array_get(actions, i);
		if (backup_action_is_one(action) && backup < count)
			result = error_set(&call->error, ENOTSUP, "a transaction has one backup: several would not begin at one moment");
		else if (backup_action_is_one(action))
			backup = i;
		else if (!bitmap_action_is_one(action))
			result = error_set(&call->error, ENOTSUP, "a transaction with bitmaps or a backup has no others");
	}
	if (result < 0)
		return NULL;
	for (; begun < count && result == 0; begun++)
		if (begun != backup)
			result = bitmap_action_begin(call, json_array_get(actions, begun));
	/* One that failed has begun nothing. */
	begun -= result < 0;
	if (result == 0 && backup < count)
		result = backup_action_begin(call, json_array_get(actions, backup));
	while (begun--)
		if (begun != backup)
			bitmap_action_end(call, json_array_get(actions, begun), result == 0);
	return result == 0 ? qmp_done() : NULL;
}

json_t *qmp_transaction(struct qmp_call *call)
{
	const json_t *actions = json_object_get(call->arguments, "actions");
	size_t i;

	for (i = 0; i < json_array_size(actions); i++)
		if (bitmap_action_is_one(json_array_get(actions, i)) || backup_action_is_one(json_array_get(actions, i)))
			return back_up(call, actions);
	return change(call, MONITOR_TRANSACTION, call->arguments);
}

/* A transaction of one. */
static json_t *change_by(struct qmp_call *call, const char *type)
{
	json_t *arguments = json_pack("{s:[{s:s,s:O}]}", "actions", "type", type, "data", call->arguments);
	json_t *answer = NULL;

	if (arguments)
		answer = change(call, MONITOR_TRANSACTION, arguments);
	else
		error_set_errno(&call->error, ENOMEM, "%s", type);
	json_decref(arguments);
	return answer;
}

json_t *qmp_blockdev_snapshot(struct qmp_call *call)
{
	return change_by(call, "blockdev-snapshot");
}

json_t *qmp_blockdev_snapshot_sync(struct qmp_call *call)
{
	return change_by(call, "blockdev-snapshot-sync");
}

json_t *qmp_query_blockstats(struct qmp_call *call)
{
	const struct monitor_facts *facts = &call->monitor->facts;

	if (!facts->read_block_counts)
		return json_array();
	return facts->read_block_counts(facts->disk_context,
					json_is_true(json_object_get(call->arguments, "query-nodes")));
}
