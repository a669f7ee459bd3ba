/* QMP's commands about sets of descriptors, which are named where files are: whoever knows the command line keeps them. */
#include <qmp_commands.h>

static bool may_change(struct qmp_call *call)
{
	if (!call->monitor->facts.add_fd)
		error_set(&call->error, ENOTSUP, "no descriptors are kept here");
	return call->monitor->facts.add_fd;
}

json_t *qmp_add_fd(struct qmp_call *call)
{
	const struct monitor_facts *facts = &call->monitor->facts;

	return may_change(call) ? facts->add_fd(facts->change_context, call->arguments, &call->error) : NULL;
}

json_t *qmp_remove_fd(struct qmp_call *call)
{
	const struct monitor_facts *facts = &call->monitor->facts;

	if (!may_change(call) || facts->remove_fd(facts->change_context, call->arguments, &call->error) < 0)
		return NULL;
	return qmp_done();
}

json_t *qmp_query_fdsets(struct qmp_call *call)
{
	const struct monitor_facts *facts = &call->monitor->facts;

	return facts->read_fdsets ? facts->read_fdsets(facts->change_context) : json_array();
}
