/* QMP's commands about disks that are in use: whoever knows the command line carries them out. */
#include <errno.h>

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

json_t *qmp_transaction(struct qmp_call *call)
{
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
