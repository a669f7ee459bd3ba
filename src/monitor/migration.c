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

void migration_paused(struct monitor *monitor)
{
	struct machine *machine = monitor->machine;
	struct error error;
	int result;

	if (monitor->migration.status != MIGRATION_ACTIVE || monitor->migration.fd < 0 ||
	    !(machine_pauses(machine) & MACHINE_PAUSE_SENT))
		return;
	result = machine_send(machine, monitor->migration.fd, &error);
	/* What did not arrive is told by the last one to know. */
	if (close(monitor->migration.fd) < 0 && result == 0)
		result = error_set_errno(&error, errno, "cannot end the migration");
	monitor->migration.fd = -1;
	monitor->migration.took_ns = monotonic_ns() - monitor->migration.began_ns;
	if (result < 0) {
		monitor->migration.problem = error;
		log_error("migration: %s", error.message);
		machine_keep(machine);
		machine_resume(machine, MACHINE_PAUSE_SENT);
	}
	set_status(monitor, result < 0 ? MIGRATION_FAILED : MIGRATION_COMPLETED);
}

void migration_send(struct monitor *monitor, int fd)
{
	monitor->migration.fd = fd;
	monitor->migration.began_ns = monotonic_ns();
	set_status(monitor, MIGRATION_SETUP);
	set_status(monitor, MIGRATION_ACTIVE);
	machine_pause(monitor->machine, MACHINE_PAUSE_SENT);
	if (machine_has_paused(monitor->machine))
		migration_paused(monitor);
}

/* --- in --- */

static void receive(struct monitor *monitor, int fd)
{
	struct error error;
	int result;

	set_status(monitor, MIGRATION_ACTIVE);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	result = machine_receive(monitor->machine, fd, &error);
	monitor->migration.took_ns = monotonic_ns() - monitor->migration.began_ns;
	if (result < 0) {
		log_error("-incoming: %s", error.message);
		set_status(monitor, MIGRATION_FAILED);
		machine_quit(monitor->machine, MACHINE_STATUS_ERROR);
		return;
	}
	set_status(monitor, MIGRATION_COMPLETED);
	monitor->migration.status = MIGRATION_NONE; /* it can be sent on */
	machine_resume(monitor->machine, MACHINE_PAUSE_INCOMING);
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

	/* All vCPUs stand still before anything is put into them. */
	if (!machine_has_paused(monitor->machine))
		return;
	if (monitor->migration.listens) {
		accept_peer(monitor);
		return;
	}
	monitor->migration.began_ns = monotonic_ns();
	event_loop_remove(&monitor->migration.source);
	monitor->migration.source.loop = NULL;
	receive(monitor, monitor->migration.fd);
	close_fd(monitor);
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
	close_fd(monitor);
	while (monitor->descriptor_count) {
		monitor->descriptor_count--;
		free(monitor->descriptors[monitor->descriptor_count].name);
		close(monitor->descriptors[monitor->descriptor_count].fd);
	}
}
