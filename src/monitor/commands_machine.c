/* QMP's commands about the machine and its life. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "monitor/hmp_commands.h"
#include "monitor/monitor.h"
#include "monitor/version.h"
#include <qmp_commands.h>

json_t *qmp_qmp_capabilities(struct qmp_call *call)
{
	if (json_array_size(json_object_get(call->arguments, "enable"))) {
		error_set(&call->error, EINVAL, "capability oob is not offered");
		return NULL;
	}
	return qmp_done();
}

json_t *qmp_query_version(struct qmp_call *call)
{
	(void)call;
	return version_describe();
}

static const char *status_name(const struct monitor *monitor, unsigned pauses)
{
	if (!monitor->machine)
		return "prelaunch";
	if (pauses & MACHINE_PAUSE_OFF)
		return "shutdown";
	if (pauses & MACHINE_PAUSE_INCOMING)
		return "inmigrate";
	if (pauses & MACHINE_PAUSE_SENT)
		return monitor->migration.status == MIGRATION_COMPLETED ? "postmigrate" : "finish-migrate";
	if (pauses & MACHINE_PAUSE_PANICKED)
		return "guest-panicked";
	if (pauses & MACHINE_PAUSE_IO_ERROR)
		return "io-error";
	if (pauses & MACHINE_PAUSE_ASLEEP)
		return "suspended";
	if (pauses & MACHINE_PAUSE_DEBUGGER)
		return "debug";
	return !pauses ? "running" : monitor->has_run ? "paused" : "prelaunch";
}

json_t *qmp_query_status(struct qmp_call *call)
{
	const struct machine *machine = call->monitor->machine;
	unsigned pauses = machine ? machine_pauses(machine) : 0;

	return json_pack("{s:s,s:b,s:b}", "status", status_name(call->monitor, pauses), "singlestep", 0,
			 "running", machine && !pauses);
}

json_t *qmp_stop(struct qmp_call *call)
{
	if (!qmp_need_machine(call))
		return NULL;
	/* Who asks is answered when the machine has stopped. */
	call->is_deferred = !machine_pauses(call->monitor->machine);
	machine_pause(call->monitor->machine, MACHINE_PAUSE_USER);
	return qmp_done();
}

json_t *qmp_cont(struct qmp_call *call)
{
	if (!qmp_need_machine(call))
		return NULL;
	if (machine_pauses(call->monitor->machine) & MACHINE_PAUSE_OFF) {
		error_set(&call->error, EINVAL, "Resetting the Virtual Machine is required");
		return NULL;
	}
	if (call->monitor->migration.status == MIGRATION_COMPLETED) {
		machine_keep(call->monitor->machine);
		machine_resume(call->monitor->machine, MACHINE_PAUSE_SENT);
	}
	machine_resume(call->monitor->machine, MACHINE_PAUSE_PANICKED);
	machine_resume(call->monitor->machine, MACHINE_PAUSE_IO_ERROR);
	machine_resume(call->monitor->machine, MACHINE_PAUSE_USER);
	return qmp_done();
}

json_t *qmp_system_reset(struct qmp_call *call)
{
	if (!qmp_need_machine(call))
		return NULL;
	machine_ask_reset(call->monitor->machine);
	return qmp_done();
}

json_t *qmp_system_powerdown(struct qmp_call *call)
{
	if (!qmp_need_machine(call) ||
	    machine_press_power_button(call->monitor->machine, &call->error) < 0)
		return NULL;
	return qmp_done();
}

json_t *qmp_system_wakeup(struct qmp_call *call)
{
	if (!qmp_need_machine(call) || machine_wake_up(call->monitor->machine, &call->error) < 0)
		return NULL;
	return qmp_done();
}

json_t *qmp_query_current_machine(struct qmp_call *call)
{
	const struct machine *machine = call->monitor->machine;

	return json_pack("{s:b}", "wakeup-suspend-support", machine && machine_can_sleep(machine));
}

json_t *qmp_quit(struct qmp_call *call)
{
	struct monitor *monitor = call->monitor;

	monitor_shutting_down(monitor, "host-qmp-quit");
	if (monitor->machine)
		machine_quit(monitor->machine, MACHINE_STATUS_OFF);
	else
		monitor->facts.quit(monitor->facts.context);
	return qmp_done();
}

json_t *qmp_human_monitor_command(struct qmp_call *call)
{
	const char *line = json_string_value(json_object_get(call->arguments, "command-line"));
	unsigned cpu = json_integer_value(json_object_get(call->arguments, "cpu-index"));
	struct hmp_text text = {NULL};
	json_t *answer;

	if (cpu && (!call->monitor->machine || cpu >= machine_cpus(call->monitor->machine) ||
		    !machine_has_cpu(call->monitor->machine, cpu))) {
		error_set(&call->error, EINVAL, "Invalid parameter value for 'cpu-index', expected a CPU number");
		return NULL;
	}
	hmp_run(call->monitor, line, &cpu, &text);
	answer = json_stringn_nocheck(text.bytes ? text.bytes : "", text.size);
	hmp_text_free(&text);
	if (!answer)
		error_set_errno(&call->error, ENOMEM, "the answer");
	return answer;
}

json_t *qmp_query_name(struct qmp_call *call)
{
	const char *name = call->monitor->facts.name;

	return name ? json_pack("{s:s}", "name", name) : json_object();
}

json_t *qmp_query_uuid(struct qmp_call *call)
{
	const char *uuid = call->monitor->facts.uuid;

	return json_pack("{s:s}", "UUID", uuid ? uuid : "00000000-0000-0000-0000-000000000000");
}

json_t *qmp_query_kvm(struct qmp_call *call)
{
	return json_pack("{s:b,s:b}", "enabled", call->monitor->facts.uses_kvm, "present",
			 call->monitor->facts.has_kvm);
}

json_t *qmp_query_target(struct qmp_call *call)
{
	(void)call;
	return json_pack("{s:s}", "arch", "x86_64");
}

json_t *qmp_query_machines(struct qmp_call *call)
{
	return json_incref(call->monitor->facts.machines);
}

json_t *qmp_query_stats(struct qmp_call *call)
{
	(void)call;
	return json_array();
}

json_t *qmp_query_stats_schemas(struct qmp_call *call)
{
	(void)call;
	return json_array();
}

json_t *qmp_query_vnc(struct qmp_call *call)
{
	(void)call;
	return json_pack("{s:b}", "enabled", 0);
}

json_t *qmp_query_vnc_servers(struct qmp_call *call)
{
	(void)call;
	return json_array();
}

json_t *qmp_query_iothreads(struct qmp_call *call)
{
	static const char folder[] = "/objects/";
	json_t *answer = json_array(), *object;
	const struct monitor_facts *facts = &call->monitor->facts;
	const char *path, *type;
	pid_t thread;

	/* They wait for what comes, and never poll. */
	json_object_foreach(facts->objects, path, object) {
		type = json_string_value(json_object_get(json_object_get(object, "type"), "value"));
		if (!type || strcmp(type, "iothread") != 0 || strncmp(path, folder, strlen(folder)) != 0)
			continue;
		thread = facts->find_iothread ? facts->find_iothread(facts->disk_context, path + strlen(folder)) : 0;
		json_array_append_new(answer, json_pack("{s:s,s:i,s:i,s:i,s:i,s:i}", "id", path + strlen(folder), "thread-id",
							(int)(thread ? thread : gettid()), "poll-max-ns", 0, "poll-grow", 0,
							"poll-shrink", 0, "aio-max-batch", 0));
	}
	return answer;
}

static json_t *no_balloon(struct qmp_call *call)
{
	call->error_class = "DeviceNotActive";
	error_set(&call->error, ENODEV, "No balloon device has been activated");
	return NULL;
}

json_t *qmp_query_balloon(struct qmp_call *call)
{
	uint64_t bytes;

	if (!call->monitor->machine || machine_read_balloon(call->monitor->machine, &bytes) < 0)
		return no_balloon(call);
	return json_pack("{s:I}", "actual", (json_int_t)bytes);
}

json_t *qmp_balloon(struct qmp_call *call)
{
	json_int_t bytes = json_integer_value(json_object_get(call->arguments, "value"));

	if (bytes <= 0) {
		error_set(&call->error, EINVAL, "Parameter 'value' expects a size");
		return NULL;
	}
	if (!call->monitor->machine || machine_set_balloon(call->monitor->machine, bytes) < 0)
		return no_balloon(call);
	return qmp_done();
}

json_t *qmp_query_tpm_models(struct qmp_call *call)
{
	(void)call;
	return json_pack("[s,s]", "tpm-tis", "tpm-crb");
}

json_t *qmp_query_tpm_types(struct qmp_call *call)
{
	(void)call;
	return json_pack("[s]", "emulator");
}

json_t *qmp_query_tpm(struct qmp_call *call)
{
	return json_incref(call->monitor->facts.tpms);
}

json_t *qmp_query_migrate_capabilities(struct qmp_call *call)
{
	return json_pack("[{s:s,s:b}]", "capability", "events", "state",
			 call->monitor->migration_events);
}

json_t *qmp_migrate_set_capabilities(struct qmp_call *call)
{
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(call->arguments, "capabilities"), i, one)
		call->monitor->migration_events = json_is_true(json_object_get(one, "state"));
	return qmp_done();
}

json_t *qmp_watchdog_set_action(struct qmp_call *call)
{
	enum machine_watchdog action;

	if (!qmp_need_machine(call))
		return NULL;
	/* The schema has checked the word. */
	if (machine_watchdog_parse(json_string_value(json_object_get(call->arguments, "action")), &action) < 0) {
		error_set(&call->error, EINVAL, "there is no such action");
		return NULL;
	}
	machine_set_watchdog_action(call->monitor->machine, action);
	return qmp_done();
}

/* The schema knows all of their words. */
json_t *qmp_set_action(struct qmp_call *call)
{
	struct machine *machine = call->monitor->machine;
	const char *reboot = json_string_value(json_object_get(call->arguments, "reboot"));
	const char *shutdown = json_string_value(json_object_get(call->arguments, "shutdown"));
	const char *panic = json_string_value(json_object_get(call->arguments, "panic"));
	const char *watchdog = json_string_value(json_object_get(call->arguments, "watchdog"));
	enum machine_watchdog watchdog_action;
	enum machine_panic panic_action;

	if (!qmp_need_machine(call))
		return NULL;
	if ((panic && machine_panic_parse(panic, &panic_action) < 0) ||
	    (watchdog && machine_watchdog_parse(watchdog, &watchdog_action) < 0)) {
		error_set(&call->error, EINVAL, "there is no such action");
		return NULL;
	}
	if (reboot)
		machine_set_end_at_reset(machine, strcmp(reboot, "shutdown") == 0);
	if (shutdown)
		machine_set_stay_when_off(machine, strcmp(shutdown, "pause") == 0);
	if (panic)
		machine_set_panic_action(machine, panic_action);
	if (watchdog)
		machine_set_watchdog_action(machine, watchdog_action);
	return qmp_done();
}
