/* kvik-system-x86_64: a run by QEMU's command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/accel.h"
#include "cli/commands.h"
#include "cli/qemu/chardev_changes.h"
#include "cli/qemu/daemon.h"
#include "cli/qemu/disk_copies.h"
#include "cli/qemu/door.h"
#include "cli/qemu/door_request.h"
#include "cli/qemu/facts.h"
#include "cli/qemu/help.h"
#include "cli/qemu/hotplug.h"
#include "cli/qemu/hotplug_cpus.h"
#include "cli/qemu/hotplug_memory.h"
#include "cli/qemu/line.h"
#include "cli/qemu/line_devices.h"
#include "cli/qemu/line_memory.h"
#include "cli/qemu/named_file.h"
#include "cli/qemu/options.h"
#include "cli/qemu/served.h"
#include "cli/qemu/system.h"
#include "cli/run_signals.h"
#include "device/tpm/tpm_emulator.h"
#include "device/char/terminal.h"
#include "monitor/gdb/gdb.h"
#include "monitor/monitor.h"
#include "monitor/version.h"
#include "util/log.h"

struct qemu_system {
	struct line line;
	struct event_loop *loop;
	struct run_signals signals;
	struct daemon daemon;
	struct monitor_facts facts;
	struct hotplug hotplug;
	struct monitor *monitor;
	struct machine *machine;
	struct gdb_stub *gdb; /* NULL: none */
	struct char_stream *gdb_stream; /* that it is on; NULL: it listens */
	struct door *door;    /* NULL: it is not confined */
	struct char_stream *no_serial; /* when there is no other */
	struct sandbox_report sandbox; /* without a machine, which has its own */
	bool is_quitting, is_draining;
};

/* -- the run -- */

static void end(struct qemu_system *system, const char *reason)
{
	system->is_quitting = true;
	if (system->monitor)
		monitor_shutting_down(system->monitor, reason);
	if (system->machine && !system->is_draining)
		machine_quit(system->machine, EXIT_OK);
	else
		event_loop_stop(system->loop);
}

static void quit_key(void *context)
{
	end(context, "host-ui");
}

static void ended_by_signal(void *context, int number)
{
	log_print(LOG_ERROR, "terminating on signal %d", number);
	end(context, "host-signal");
}

/* SIGUSR1, SIGUSR2 and SIGPWR are nothing here. */
static void ignore(void *context)
{
	(void)context;
}

/* A monitor's, without a machine. */
static void quit_without_machine(void *context)
{
	event_loop_stop(context);
}

static int open_file(void *context, enum monitor_file kind, const char *name, struct error *error)
{
	const struct qemu_system *system = context;
	int fd = fdsets_open_named(&system->line.fdsets, kind, name, error);

	if (fd != -ENOENT)
		return fd;
	return system->door ? door_open(system->door, kind, name, error)
			    : named_file_open(kind, name, error);
}

static int write_pid(const struct line *line, struct error *error)
{
	const char *path = json_string_value(json_object_get(line->said, "pidfile"));
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	int result = 0;

	if (!path)
		return 0;
	if (fd < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		result = error_set_errno(error, errno, "-pidfile %s", path);
	if (fd >= 0)
		close(fd);
	return result;
}

static int add_monitors(struct qemu_system *system, struct error *error)
{
	struct line *line = &system->line;
	struct char_stream *stream;
	unsigned i;
	int result;

	for (i = 0; i < line->monitor_count; i++) {
		stream = chardev_use(&line->chardevs.list[line->monitors[i].chardev], error);
		if (!stream)
			return -EINVAL;
		result = line->monitors[i].is_control
				 ? monitor_add_qmp(system->monitor, stream, line->monitors[i].is_pretty, error)
				 : monitor_add_hmp(system->monitor, stream, error);
		if (result < 0)
			return result;
	}
	return 0;
}

static void output_drained(void *context)
{
	event_loop_stop(context);
}

static void drain_stream(struct qemu_system *system, struct char_stream *stream)
{
	while (stream && !system->is_quitting && !char_drain(stream, output_drained, system->loop))
		if (event_loop_run(system->loop) < 0)
			return;
}

/* What the guest printed before its end comes out, however slowly it is read, if the user waits. */
static void drain(struct qemu_system *system)
{
	const struct board_streams *streams = &system->line.config.streams;
	unsigned i;

	system->is_draining = true;
	drain_stream(system, streams->serial);
	for (i = 0; i < BOARD_SERIALS_MAX - 1; i++)
		drain_stream(system, streams->more_serial[i]);
	drain_stream(system, streams->debug_console);
	drain_stream(system, system->gdb_stream);
}

/* Without a machine: monitors alone, until one of them ends it. */
static int run_monitors(struct qemu_system *system, struct error *error)
{
	const struct sandbox_config config = {.listens = system->line.chardevs.listens,
					      .uses_helpers = system->line.chardevs.has_door ||
							      system->line.chardevs.dials};
	int result = 0;

	if (system->line.config.is_confined)
		result = sandbox_enter(&config, &system->sandbox, error);
	if (result == 0)
		result = add_monitors(system, error);
	if (result < 0)
		return result;
	daemon_ready(&system->daemon);
	if (system->line.config.is_confined)
		result = sandbox_lock(&config, &system->sandbox, error);
	if (result < 0)
		return result;
	result = event_loop_run(system->loop);
	return result < 0 ? error_set_errno(error, -result, "the I/O loop failed") : 0;
}

static int open_incoming(const struct fdsets *fdsets, const char *uri, struct error *error)
{
	long fd = fdsets_open_named(fdsets, MONITOR_URI_IN, uri, error);
	char *end;

	if (fd != -ENOENT)
		return fd;
	if (strncmp(uri, "fd:", 3) != 0)
		return named_file_open(MONITOR_URI_IN, uri, error);
	fd = strtol(uri + 3, &end, 10);
	if (!uri[3] || *end || fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return error_set(error, EBADF, "%.40s is no open descriptor", uri);
	return fd;
}

static int add_debugger(struct qemu_system *system, struct error *error)
{
	struct line *line = &system->line;

	if (line->gdb_chardev >= 0) {
		system->gdb_stream = chardev_use(&line->chardevs.list[line->gdb_chardev], error);
		if (!system->gdb_stream)
			return -EINVAL;
		system->gdb = gdb_stub_create_on(system->gdb_stream, system->loop, error);
		return system->gdb ? 0 : -EINVAL;
	}
	if (!line->gdb)
		return 0;
	system->gdb = gdb_stub_create(line->gdb, system->loop, error);
	line->config.sandbox.listens = true;
	return system->gdb ? 0 : -EINVAL;
}

static int run_machine(struct qemu_system *system, int *status, struct error *error)
{
	const struct line *line = &system->line;
	int incoming = -1, incoming_listens = 0;
	socklen_t size = sizeof(incoming_listens);
	struct machine_config *config = &system->line.config;
	int result;

	config->loop = system->loop;
	/* The door may pass a socket on that listens. */
	config->sandbox.listens = system->line.chardevs.listens || system->line.chardevs.has_door || config->vsock.guest_cid;
	/* What wakes a folder's process is a message, too. */
	config->sandbox.uses_helpers |= config->vsock.guest_cid || config->share_count || system->line.chardevs.has_door ||
					system->line.chardevs.dials;
	config->sandbox.uses_kvm = config->backend == &kvm_backend_linux;
	if (!config->kvm_options.code_cache_bytes)
		config->kvm_options.code_cache_bytes = accel_code_cache(config->ram_bytes);
	if (!config->streams.serial) {
		system->no_serial = char_none_create(error);
		if (!system->no_serial)
			return -ENOMEM;
		config->streams.serial = system->no_serial;
	}
	if (add_debugger(system, error) < 0) {
		error_prefix(error, "-gdb");
		return -EINVAL;
	}
	if (line->incoming && strcmp(line->incoming, "defer") != 0) {
		incoming = open_incoming(&line->fdsets, line->incoming, error);
		if (incoming < 0) {
			error_prefix(error, "-incoming");
			return -EINVAL;
		}
		/* What is no socket does not listen. */
		if (getsockopt(incoming, SOL_SOCKET, SO_ACCEPTCONN, &incoming_listens, &size) < 0)
			incoming_listens = 0;
	}
	config->sandbox.listens |= line->incoming != NULL;
	log_info("backend %s: %s", config->backend->name, system->line.accel_reason);
	if (line->code_cache_file.path &&
	    code_cache_file_open(&line->code_cache_file, config->backend, &config->kvm_options, error) < 0)
		return -EINVAL;
	system->machine = machine_create(config, error);
	config->disk_count = config->net_count = config->vsock.guest_cid = 0; /* they are its own */
	config->tpm.emulator = NULL;
	if (!system->machine ||
	    (system->gdb && gdb_stub_attach(system->gdb, system->machine, error) < 0))
		return -EINVAL;
	if (line->loadvm && !line->incoming &&
	    machine_snapshot_load_first(system->machine, line->loadvm, error) < 0) {
		error_prefix(error, "-loadvm %.60s", line->loadvm);
		return -EINVAL;
	}
	if (monitor_set_machine(system->monitor, system->machine, error) < 0)
		return -EINVAL;
	system->hotplug.monitor = system->monitor;
	hotplug_set_machine(&system->hotplug, system->machine);
	if (incoming >= 0 && monitor_receive(system->monitor, incoming, incoming_listens, error) < 0)
		return -EINVAL;
	/* Their greetings make threads, which a process that confines itself has none of. */
	if (add_monitors(system, error) < 0)
		return -EINVAL;
	daemon_ready(&system->daemon);
	result = machine_run(system->machine, status, error);
	if (result == 0 && !system->is_quitting)
		drain(system);
	return result;
}

/* Nodes that no device has yet are opened while they can be: for one that comes later. What cannot be is told there. */
static void open_spare_nodes(struct line *line)
{
	struct door_request request;
	struct error unseen;
	struct drive *drive;
	unsigned i;
	int fd;

	for (i = 0; i < line->drives.count; i++) {
		drive = &line->drives.list[i];
		if (!drive->is_node || drive->is_used || !door_request_of_node(drive->options, &request) ||
		    fdsets_are_named(request.name))
			continue;
		fd = named_file_open(request.kind, request.name, &unseen);
		if (fd >= 0)
			drive->fd_plus_1 = fd + 1;
	}
	line->drives.is_sealed = true;
}

static int run(struct qemu_system *system, int *status, struct error *error)
{
	struct line *line = &system->line;

	line->chardevs.loop = system->loop;
	line->chardevs.commands = (struct char_mux_commands){.quit = quit_key, .context = system};
	if (line_examine(line, error) < 0 || line_open_memory(line, error) < 0 || line_open_devices(line, error) < 0)
		return -EINVAL;
	if (line->config.is_confined)
		open_spare_nodes(line);
	if (line->config.is_confined && !(line->chardevs.door = system->door = door_create(error)))
		return -EINVAL;
	/* Some wait for their peers, and the user may want to end that by a signal. */
	if (chardevs_open(&line->chardevs, false, error) < 0 ||
	    run_signals_watch(&system->signals, system->loop, error) < 0 ||
	    chardevs_open(&line->chardevs, true, error) < 0 || line_connect(line, error) < 0 ||
	    facts_collect(&system->facts, line, error) < 0)
		return -EINVAL;
	if (!line->has_machine) {
		system->facts.quit = quit_without_machine;
		system->facts.context = system->loop;
		system->facts.find_ring = NULL;
	}
	if (door_is_wanted(system->door) && door_start(system->door, error) < 0)
		return -EINVAL;
	system->facts.open_file = open_file;
	system->facts.file_context = system;
	system->hotplug = (struct hotplug){.line = line, .facts = &system->facts, .door = system->door};
	system->facts.change = hotplug_change;
	system->facts.read_chardevs = chardev_changes_describe;
	system->facts.change_chardev = chardev_changes_make;
	system->facts.add_fd = hotplug_add_fd;
	system->facts.remove_fd = hotplug_remove_fd;
	system->facts.read_fdsets = hotplug_read_fdsets;
	system->facts.look = hotplug_look;
	system->facts.start_copy = disk_copies_start;
	system->facts.copy_ended = disk_copies_ended;
	system->facts.read_user_networks = hotplug_read_user_networks;
	system->facts.read_exports = served_describe;
	system->facts.parse_device = hotplug_parse_device;
	system->facts.find_device = hotplug_find_device;
	system->facts.find_cpu = hotplug_find_cpu;
	system->facts.find_memory = hotplug_find_memory;
	system->facts.port_changed = hotplug_port_changed;
	system->facts.describe_memory = hotplug_describe_memory;
	system->facts.change_context = &system->hotplug;
	system->monitor = monitor_create(&system->facts, error);
	if (!system->monitor || write_pid(line, error) < 0)
		return -EINVAL;
	*status = EXIT_OK;
	return line->has_machine ? run_machine(system, status, error) : run_monitors(system, error);
}

/* Disks and networks that no machine has taken. */
static void close_devices(struct machine_config *config)
{
	while (config->disk_count)
		block_close(config->disks[--config->disk_count].block, NULL);
	while (config->net_count)
		board_net_close(&config->nets[--config->net_count]);
	tpm_emulator_destroy(config->tpm.emulator);
}

static void destroy(struct qemu_system *system)
{
	terminal_restore();
	run_signals_unwatch(&system->signals);
	log_guest_flush();
	served_end(&system->hotplug);
	monitor_destroy(system->monitor);
	gdb_stub_destroy(system->gdb);
	machine_destroy(system->machine);
	close_devices(&system->line.config);
	chardevs_close(&system->line.chardevs);
	door_destroy(system->door);
	char_destroy(system->no_serial);
	facts_free(&system->facts);
	event_loop_destroy(system->loop);
	line_free(&system->line);
}

int system_main(int count, char **arguments)
{
	struct qemu_system system = {
		.signals = {.end = ended_by_signal, .save = ignore, .power = ignore, .picture = ignore},
		.daemon = {.ready_fd = -1},
	};
	struct error error = {0};
	int result = -EINVAL, status = EXIT_ERROR;

	system.signals.context = &system;
	if (help_print(count, arguments))
		return EXIT_OK;
	system.line.said = options_parse(count, arguments, &error);
	if (system.line.said &&
	    (!json_object_get(system.line.said, "daemonize") || daemon_begin(&system.daemon, &error) == 0)) {
		system.loop = event_loop_create(&error);
		if (system.loop)
			result = run(&system, &status, &error);
	}
	if (result < 0) {
		terminal_restore();
		log_error("%s", error.message);
		status = EXIT_ERROR;
	}
	destroy(&system);
	return status;
}
