/* QMP's commands that add and remove devices and what they stand on: whoever knows the command line does it. */
#include <errno.h>

#include "monitor/migration.h"
#include <qmp_commands.h>

int qmp_change(struct qmp_call *call, enum monitor_change what, const json_t *arguments)
{
	const struct monitor_facts *facts = &call->monitor->facts;

	/* -ENODEV is a device's. */
	if (!facts->change || !call->monitor->machine)
		return error_set(&call->error, ENXIO, "there is no machine (-machine none)");
	if (migration_is_active(call->monitor))
		return error_set(&call->error, EBUSY, "devices and disks do not change while the machine is migrated");
	return facts->change(facts->change_context, what, arguments, &call->error);
}

static json_t *change(struct qmp_call *call, enum monitor_change what)
{
	switch (qmp_change(call, what, call->arguments)) {
	case 0: return qmp_done();
	case -ENODEV:
		/* A device that is not there is another class than one that cannot be made. */
		if (what == MONITOR_DEVICE_DEL || what >= MONITOR_EJECT)
			call->error_class = "DeviceNotFound";
		return NULL;
	default: return NULL;
	}
}

json_t *qmp_device_add(struct qmp_call *call)
{
	return change(call, MONITOR_DEVICE_ADD);
}

json_t *qmp_device_del(struct qmp_call *call)
{
	return change(call, MONITOR_DEVICE_DEL);
}

json_t *qmp_blockdev_add(struct qmp_call *call)
{
	return change(call, MONITOR_BLOCKDEV_ADD);
}

json_t *qmp_blockdev_del(struct qmp_call *call)
{
	return change(call, MONITOR_BLOCKDEV_DEL);
}

json_t *qmp_netdev_add(struct qmp_call *call)
{
	return change(call, MONITOR_NETDEV_ADD);
}

json_t *qmp_netdev_del(struct qmp_call *call)
{
	return change(call, MONITOR_NETDEV_DEL);
}

json_t *qmp_set_link(struct qmp_call *call)
{
	return change(call, MONITOR_SET_LINK);
}

json_t *qmp_object_add(struct qmp_call *call)
{
	return change(call, MONITOR_OBJECT_ADD);
}

json_t *qmp_object_del(struct qmp_call *call)
{
	return change(call, MONITOR_OBJECT_DEL);
}

json_t *qmp_eject(struct qmp_call *call)
{
	return change(call, MONITOR_EJECT);
}

json_t *qmp_blockdev_open_tray(struct qmp_call *call)
{
	return change(call, MONITOR_OPEN_TRAY);
}

json_t *qmp_blockdev_close_tray(struct qmp_call *call)
{
	return change(call, MONITOR_CLOSE_TRAY);
}

json_t *qmp_blockdev_remove_medium(struct qmp_call *call)
{
	return change(call, MONITOR_REMOVE_MEDIUM);
}

json_t *qmp_blockdev_insert_medium(struct qmp_call *call)
{
	return change(call, MONITOR_INSERT_MEDIUM);
}

json_t *qmp_blockdev_change_medium(struct qmp_call *call)
{
	return change(call, MONITOR_CHANGE_MEDIUM);
}
