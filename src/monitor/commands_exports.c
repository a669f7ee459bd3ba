/* QMP's commands that give disks to others by NBD: whoever knows the command line carries them out. */
#include <errno.h>
#include <string.h>

#include <qmp_commands.h>

static json_t *change(struct qmp_call *call, enum monitor_change what, const json_t *arguments)
{
	return qmp_change(call, what, arguments) == 0 ? qmp_done() : NULL;
}

/* The same by other arguments, which it takes over. */
static json_t *change_by(struct qmp_call *call, enum monitor_change what, json_t *arguments)
{
	json_t *answer = NULL;

	if (arguments)
		answer = change(call, what, arguments);
	else
		error_set_errno(&call->error, ENOMEM, "an export");
	json_decref(arguments);
	return answer;
}

json_t *qmp_nbd_server_start(struct qmp_call *call)
{
	return change(call, MONITOR_NBD_START, call->arguments);
}

json_t *qmp_nbd_server_stop(struct qmp_call *call)
{
	return change(call, MONITOR_NBD_STOP, call->arguments);
}

json_t *qmp_block_export_add(struct qmp_call *call)
{
	return change(call, MONITOR_EXPORT_ADD, call->arguments);
}

json_t *qmp_block_export_del(struct qmp_call *call)
{
	return change(call, MONITOR_EXPORT_DEL, call->arguments);
}

/* The older form: an export's id is its name, which is its device's unless it is said. */
json_t *qmp_nbd_server_add(struct qmp_call *call)
{
	static const char *const same[] = {"description", "writable"};
	const char *device = json_string_value(json_object_get(call->arguments, "device"));
	const char *name = json_string_value(json_object_get(call->arguments, "name"));
	json_t *arguments = json_pack("{s:s,s:s,s:s,s:s}", "type", "nbd", "id", name ? name : device, "node-name", device,
				      "name", name ? name : device);
	unsigned i;

	for (i = 0; arguments && i < sizeof(same) / sizeof(same[0]); i++)
		if (json_object_get(call->arguments, same[i]))
			json_object_set(arguments, same[i], json_object_get(call->arguments, same[i]));
	if (json_object_get(call->arguments, "bitmap"))
		json_object_set_new(arguments, "bitmaps",
				    json_pack("[O]", json_object_get(call->arguments, "bitmap")));
	return change_by(call, MONITOR_EXPORT_ADD, arguments);
}

json_t *qmp_nbd_server_remove(struct qmp_call *call)
{
	const char *mode = json_string_value(json_object_get(call->arguments, "mode"));

	return change_by(call, MONITOR_EXPORT_DEL,
			 json_pack("{s:O,s:s}", "id", json_object_get(call->arguments, "name"), "mode", mode ? mode : "safe"));
}

json_t *qmp_query_block_exports(struct qmp_call *call)
{
	const struct monitor_facts *facts = &call->monitor->facts;

	return facts->read_exports ? facts->read_exports(facts->change_context) : json_array();
}
