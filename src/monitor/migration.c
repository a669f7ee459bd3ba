#include "monitor/migration.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/qmp.h"
#include "util/log.h"

const char *const migration_status_names[] = {
	[MIGRATION_NONE] = "none",	     [MIGRATION_SETUP] = "setup",   [MIGRATION_ACTIVE] = "active",
	[MIGRATION_COMPLETED] = "completed", [MIGRATION_FAILED] = "failed",
	[MIGRATION_CANCELLING] = "cancelling", [MIGRATION_CANCELLED] = "cancelled",
};

static void set_status(struct monitor *monitor, enum migration_status status)
{
	monitor->migration.status = status;
	if (monitor->migration_events)
		qmp_send_event(monitor, "MIGRATION",
			       json_pack("{s:s}", "status", migration_status_names[status]));
}

static void close_fd(struct monitor *monitor)
{
	if (monitor->migration.source.loop)
		event_loop_remove(&monitor->migration.source);
	monitor->migration.source.loop = NULL;
	if (monitor->migration.fd >= 0)
		close(monitor->migration.fd);
	monitor->migration.fd = -1;
}

/* --- out --- */

static void sent(void *context, int result, const struct error *error)
{
	struct monitor *monitor = context;

	if (result == -ECANCELED) {
		set_status(monitor, MIGRATION_CANCELLED);
		return;
	}
	if (result < 0) {
		monitor->migration.problem = *error;
		log_error("migration: %s", error->message);
	}
	set_status(monitor, result < 0 ? MIGRATION_FAILED : MIGRATION_COMPLETED);
}

bool migration_is_active(const struct monitor *monitor)
{
	return monitor->migration.status == MIGRATION_SETUP || monitor->migration.status == MIGRATION_ACTIVE ||
	       monitor->migration.status == MIGRATION_CANCELLING;
}

int migration_send(struct monitor *monitor, int fd, struct error *error)
{
	const struct migration_user user = {.done = sent, .context = monitor};

	sending_end(monitor->migration.sending);
	monitor->migration.sending = NULL;
	monitor->migration.status = MIGRATION_NONE;
	monitor->migration.sending = machine_send(monitor->machine, fd, &monitor->migration.limits, &user, error);
	if (!monitor->migration.sending)
		return -EIO;
	set_status(monitor, MIGRATION_SETUP);
	set_status(monitor, MIGRATION_ACTIVE);
	return 0;
}

void migration_cancel(struct monitor *monitor)
{
	if (!migration_is_active(monitor) || !monitor->migration.sending)
		return;
	if (monitor->migration.status != MIGRATION_CANCELLING)
		set_status(monitor, MIGRATION_CANCELLING);
	sending_cancel(monitor->migration.sending);
}

void migration_set_limits(struct monitor *monitor, const struct migration_limits *limits)
{
	monitor->migration.limits = *limits;
	if (monitor->migration.sending)
		sending_limit(monitor->migration.sending, limits);
}

/* --- in --- */

static void received(void *context, int result, const struct error *error)
{
	struct monitor *monitor = context;

	receiving_end(monitor->migration.receiving);
	monitor->migration.receiving = NULL;
	if (result < 0) {
		log_error("-incoming: %s", error->message);
		monitor->migration.problem = *error;
		set_status(monitor, MIGRATION_FAILED);
		machine_quit(monitor->machine, MACHINE_STATUS_ERROR);
		return;
	}
	set_status(monitor, MIGRATION_COMPLETED);
	monitor->migration.status = MIGRATION_NONE; /* it can be sent on */
	monitor->has_run = true;
	machine_resume(monitor->machine, MACHINE_PAUSE_INCOMING);
}

static void receive(struct monitor *monitor, int fd)
{
	const struct migration_user user = {.done = received, .context = monitor};
	struct error error;

	set_status(monitor, MIGRATION_ACTIVE);
	monitor->migration.receiving = machine_receive(monitor->machine, fd, &user, &error);
	if (!monitor->migration.receiving)
		received(monitor, -EIO, &error);
}

static void incoming_ready(void *context);

/* Wait for what comes there, or until somebody connects. 0 or -errno: nothing is waited for. */
static int watch_incoming(struct monitor *monitor)
{
	struct event_source *source = &monitor->migration.source;
	int result;

	*source = (struct event_source){.fd = monitor->migration.fd, .ready = incoming_ready, .context = monitor};
	result = event_loop_add(machine_configuration(monitor->machine)->loop, source);
	if (result < 0)
		source->loop = NULL;
	return result;
}

/* Somebody connects, and may say nothing for long: monitors are answered until he does. */
static void accept_peer(struct monitor *monitor)
{
	int peer = accept4(monitor->migration.fd, NULL, NULL, SOCK_CLOEXEC), result;

	if (peer < 0)
		return;
	close_fd(monitor);
	monitor->migration.fd = peer;
	monitor->migration.listens = false;
	result = watch_incoming(monitor);
	if (result < 0) {
		log_error("-incoming: %s", strerror(-result));
		close_fd(monitor);
		machine_quit(monitor->machine, MACHINE_STATUS_ERROR);
	}
}

static void incoming_ready(void *context)
{
	struct monitor *monitor = context;
	int fd;

	/* All vCPUs stand still before anything is put into them. */
	if (!machine_has_paused(monitor->machine))
		return;
	if (monitor->migration.listens) {
		accept_peer(monitor);
		return;
	}
	event_loop_remove(&monitor->migration.source);
	monitor->migration.source.loop = NULL;
	fd = monitor->migration.fd;
	monitor->migration.fd = -1;
	receive(monitor, fd);
}

int migration_receive(struct monitor *monitor, int fd, bool listens, struct error *error)
{
	int result;

	monitor->migration.fd = fd;
	monitor->migration.listens = listens;
	result = watch_incoming(monitor);
	if (result == 0) {
		set_status(monitor, MIGRATION_SETUP);
		return 0;
	}
	close_fd(monitor);
	return error_set_errno(error, -result, "cannot wait for the machine");
}

/* --- both --- */

int migration_take_descriptor(struct monitor *monitor, const char *name)
{
	unsigned i;
	int fd;

	for (i = 0; i < monitor->descriptor_count; i++) {
		if (strcmp(monitor->descriptors[i].name, name) != 0)
			continue;
		fd = monitor->descriptors[i].fd;
		free(monitor->descriptors[i].name);
		monitor->descriptors[i] = monitor->descriptors[--monitor->descriptor_count];
		return fd;
	}
	return -1;
}

void migration_end(struct monitor *monitor)
{
	sending_end(monitor->migration.sending);
	receiving_end(monitor->migration.receiving);
	close_fd(monitor);
	while (monitor->descriptor_count) {
		monitor->descriptor_count--;
		free(monitor->descriptors[monitor->descriptor_count].name);
		close(monitor->descriptors[monitor->descriptor_count].fd);
	}
}
