/* QMP's commands about consoles: whoever knows the command line has them. */
#include <errno.h>
#include <string.h>

#include <qmp_commands.h>

json_t *qmp_query_chardev(struct qmp_call *call)
{
	const struct monitor_facts *facts = &call->monitor->facts;

	return facts->read_chardevs ? facts->read_chardevs(facts->change_context) : json_array();
}

json_t *qmp_query_chardev_backends(struct qmp_call *call)
{
	return json_incref(call->monitor->facts.chardev_backends);
}

static json_t *change(struct qmp_call *call, const char *command)
{
	const struct monitor_facts *facts = &call->monitor->facts;

	if (facts->change_chardev)
		return facts->change_chardev(facts->change_context, command, call->arguments, &call->error);
	error_set(&call->error, ENOTSUP, "consoles do not change here");
	return NULL;
}

json_t *qmp_chardev_add(struct qmp_call *call)
{
	return change(call, "chardev-add");
}

json_t *qmp_chardev_change(struct qmp_call *call)
{
	return change(call, "chardev-change");
}

json_t *qmp_chardev_remove(struct qmp_call *call)
{
	return change(call, "chardev-remove");
}

json_t *qmp_chardev_send_break(struct qmp_call *call)
{
	return change(call, "chardev-send-break");
}
