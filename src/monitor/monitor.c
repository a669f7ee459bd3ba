#include "monitor/monitor.h"

#include <stdlib.h>
#include <string.h>

#include "monitor/hmp.h"
#include "monitor/jobs.h"
#include "monitor/migration.h"
#include "monitor/ospm.h"
#include "monitor/qmp.h"

struct monitor *monitor_create(const struct monitor_facts *facts, struct error *error)
{
	struct monitor *monitor = calloc(1, sizeof(*monitor));

	if (!monitor) {
		error_set(error, 0, "no memory for a monitor");
		return NULL;
	}
	monitor->facts = *facts;
	monitor->migration.fd = -1;
	monitor->migration.limits = (struct migration_limits){MIGRATION_BYTES_PER_S, MIGRATION_DOWNTIME_MS};
	monitor->schema = schema_create(error);
	if (monitor->schema)
		return monitor;
	free(monitor);
	return NULL;
}

void monitor_destroy(struct monitor *monitor)
{
	if (!monitor)
		return;
	if (monitor->machine)
		machine_unobserve(monitor->machine, &monitor->observer);
	typist_end(&monitor->typist);
	dirty_rate_end(&monitor->dirty_rate);
	migration_end(monitor);
	jobs_end(monitor);
	qmp_end(monitor);
	hmp_end(monitor);
	schema_destroy(monitor->schema);
	free(monitor);
}

int monitor_add_qmp(struct monitor *monitor, struct char_stream *stream, bool is_pretty,
		    struct error *error)
{
	return qmp_add_session(monitor, stream, is_pretty, error);
}

int monitor_add_hmp(struct monitor *monitor, struct char_stream *stream, struct error *error)
{
	return hmp_add_session(monitor, stream, error);
}

static void send_end(struct monitor *monitor, const char *event, bool is_guest, const char *reason)
{
	qmp_send_event(monitor, event, json_pack("{s:b,s:s}", "guest", is_guest, "reason", reason));
}

static const char *cause_name(enum machine_cause cause)
{
	switch (cause) {
	case MACHINE_GUEST_SHUTDOWN: return "guest-shutdown";
	case MACHINE_GUEST_RESET: return "guest-reset";
	case MACHINE_GUEST_CRASH: return "guest-panic";
	default: return "host-qmp-system-reset"; /* users have no other way */
	}
}

static void paused(void *context)
{
	struct monitor *monitor = context;

	/* One that has not run yet has not stopped; of one that sleeps SUSPEND tells. */
	monitor->was_asleep = machine_pauses(monitor->machine) & MACHINE_PAUSE_ASLEEP;
	if (monitor->has_run && !monitor->was_asleep)
		qmp_send_event(monitor, "STOP", NULL);
	qmp_answer_deferred(monitor);
}

static void resumed(void *context)
{
	struct monitor *monitor = context;

	monitor->has_run = true;
	if (!monitor->was_asleep)
		qmp_send_event(monitor, "RESUME", NULL);
	monitor->was_asleep = false;
}

static void was_reset(void *context)
{
	struct monitor *monitor = context;
	enum machine_cause cause = machine_last_cause(monitor->machine);

	monitor->has_run = !machine_pauses(monitor->machine);
	send_end(monitor, "RESET", cause != MACHINE_BY_USER, cause_name(cause));
}

static void power_button(void *context)
{
	qmp_send_event(context, "POWERDOWN", NULL);
}

static void fell_asleep(void *context)
{
	qmp_send_event(context, "SUSPEND", NULL);
}

static void woke_up(void *context)
{
	qmp_send_event(context, "WAKEUP", NULL);
}

static void watchdog(void *context)
{
	struct monitor *monitor = context;
	enum machine_watchdog action = machine_watchdog_action(monitor->machine);

	qmp_send_event(monitor, "WATCHDOG", json_pack("{s:s}", "action", machine_watchdog_name(action)));
}

static void balloon_changed(void *context)
{
	struct monitor *monitor = context;
	uint64_t bytes;

	if (machine_read_balloon(monitor->machine, &bytes) == 0)
		qmp_send_event(monitor, "BALLOON_CHANGE", json_pack("{s:I}", "actual", (json_int_t)bytes));
}

/* With the device's name, where it has one, and QEMU's path to it. */
static void filter_changed(void *context, const char *network)
{
	struct monitor *monitor = context;
	const char *id, *name;
	json_t *device;
	size_t i;

	json_array_foreach(monitor->facts.networks, i, device) {
		name = json_string_value(json_object_get(device, "link"));
		id = json_string_value(json_object_get(device, "id"));
		if (name && strcmp(name, network) == 0)
			qmp_send_event(monitor, "NIC_RX_FILTER_CHANGED",
				       json_pack("{s:s*,s:o}", "name", id, "path",
						 id ? json_sprintf("/machine/peripheral/%s/virtio-backend", id)
						    : json_sprintf("/machine/peripheral-anon/device[%zu]/virtio-backend", i)));
	}
}

static void port_changed(void *context, unsigned port, bool is_open)
{
	struct monitor *monitor = context;
	const struct monitor_facts *facts = &monitor->facts;
	const char *id = facts->port_changed ? facts->port_changed(facts->change_context, port, is_open) : NULL;

	if (id)
		qmp_send_event(monitor, "VSERPORT_CHANGE", json_pack("{s:s,s:b}", "id", id, "open", is_open));
}

static void panicked(void *context)
{
	struct monitor *monitor = context;

	qmp_send_event(monitor, "GUEST_PANICKED",
		       json_pack("{s:s}", "action",
				 machine_panic_pauses(monitor->machine) ? "pause"
				 : machine_panic_ends(monitor->machine) ? "poweroff"
									: "run"));
}

static void crash_loaded(void *context)
{
	qmp_send_event(context, "GUEST_CRASHLOADED", json_pack("{s:s}", "action", "run"));
}

static void ending(void *context)
{
	struct monitor *monitor = context;
	enum machine_cause cause = machine_last_cause(monitor->machine);

	send_end(monitor, "SHUTDOWN", cause != MACHINE_BY_USER, cause_name(cause));
	qmp_answer_deferred(monitor);
}

int monitor_set_machine(struct monitor *monitor, struct machine *machine, struct error *error)
{
	int result = typist_begin(&monitor->typist, machine);

	if (result == 0)
		result = event_timer_init(&monitor->job_timer, machine_configuration(machine)->loop, jobs_carry_out,
					  monitor);
	if (result == 0)
		result = dirty_rate_init(&monitor->dirty_rate, machine);
	if (result < 0)
		return error_set_errno(error, -result, "cannot set up a monitor");
	monitor->machine = machine;
	monitor->has_run = !machine_pauses(machine);
	monitor->observer = (struct machine_observer){
		.paused = paused,
		.resumed = resumed,
		.was_reset = was_reset,
		.power_button = power_button,
		.fell_asleep = fell_asleep,
		.woke_up = woke_up,
		.balloon_changed = balloon_changed,
		.filter_changed = filter_changed,
		.port_changed = port_changed,
		.watchdog = watchdog,
		.panicked = panicked,
		.crash_loaded = crash_loaded,
		.ending = ending,
		.context = monitor,
	};
	machine_observe(machine, &monitor->observer);
	return 0;
}

int monitor_receive(struct monitor *monitor, int fd, bool listens, struct error *error)
{
	return migration_receive(monitor, fd, listens, error);
}

void monitor_shutting_down(struct monitor *monitor, const char *reason)
{
	send_end(monitor, "SHUTDOWN", false, reason);
}

void monitor_device_deleted(struct monitor *monitor, const char *id)
{
	json_t *data = json_object();

	if (id)
		json_object_set_new(data, "device", json_string(id));
	json_object_set_new(data, "path", id ? json_sprintf("/machine/peripheral/%s", id)
					     : json_string("/machine/peripheral-anon"));
	qmp_send_event(monitor, "DEVICE_DELETED", data);
}

void monitor_export_deleted(struct monitor *monitor, const char *id)
{
	qmp_send_event(monitor, "BLOCK_EXPORT_DELETED", json_pack("{s:s}", "id", id));
}

void monitor_acpi_reported(struct monitor *monitor, const char *slot_type, unsigned slot, const char *id,
			   uint32_t source, uint32_t status)
{
	qmp_send_event(monitor, "ACPI_DEVICE_OST",
		       json_pack("{s:o}", "info", ospm_describe(slot_type, slot, id, source, status)));
}

void monitor_unplug_failed(struct monitor *monitor, const char *id)
{
	json_t *data = json_object();

	if (id) {
		json_object_set_new(data, "device", json_string(id));
		qmp_send_event(monitor, "MEM_UNPLUG_ERROR",
			       json_pack("{s:s,s:s}", "device", id, "msg", "Guest failed to eject the memory"));
	}
	json_object_set_new(data, "path", id ? json_sprintf("/machine/peripheral/%s", id)
					     : json_string("/machine/peripheral-anon"));
	qmp_send_event(monitor, "DEVICE_UNPLUG_GUEST_ERROR", data);
}

void monitor_tray_moved(struct monitor *monitor, const char *name, const char *id, bool is_open)
{
	qmp_send_event(monitor, "DEVICE_TRAY_MOVED",
		       json_pack("{s:s,s:s,s:b}", "device", name, "id", id, "tray-open", is_open));
}

void monitor_disk_failed(struct monitor *monitor, const char *name, const char *node, bool is_read, const char *action,
			 bool is_full, const char *why)
{
	qmp_send_event(monitor, "BLOCK_IO_ERROR",
		       json_pack("{s:s,s:s,s:s,s:s,s:b,s:s}", "device", name, "node-name", node, "operation",
				 is_read ? "read" : "write", "action", action, "nospace", is_full, "reason", why));
}
