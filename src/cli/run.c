/* `kvik run`: options to a machine, signals and keys to its end. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/command_stream.h"
#include "cli/commands.h"
#include "cli/disk_patience.h"
#include "cli/run_defaults.h"
#include "cli/run_options.h"
#include "cli/run_signals.h"
#include "device/char/mux.h"
#include "device/char/terminal.h"
#include "guest/protocol.h"
#include "machine/inspect.h"
#include "monitor/gdb/gdb.h"
#include "util/log.h"
#include "util/socket.h"

#define SAID_BYTES  400
#define COMMAND_MEMORY_BYTES (128ull << 20) /* with less, a distribution's kernel may not come up */
#define STATUS_QUIT 130 /* as of a command that ^C ends */

/* One run: what the callbacks of signals and keys need. */
struct run {
	struct event_loop *loop;
	struct run_signals signals;
	struct char_stream *serial, *debug_console, *standard_output;
	struct char_mux *terminal; /* between a terminal and who has the keys; NULL: no terminal */
	struct char_stream *ports[VIRTIO_CONSOLE_PORTS_MAX];
	struct machine *machine; /* NULL until it is created */
	bool is_quitting;	 /* the user's wish: waits for nobody any more */
	bool is_draining;	 /* the guest has ended; its last output hasn't left yet */
	int quit_status;
	struct char_stream *command; /* what a command reads and writes; NULL: there is none */
	bool command_has_ended;
	char said[SAID_BYTES]; /* the last of what a command's kernel said: `said_count` of them */
	size_t said_count;
	int save_fd, load_fd, picture_fd; /* -1: none */
	struct gdb_stub *gdb; /* or NULL */
	struct disk_patience patience;
};

static void quit(struct run *run, int status)
{
	run->is_quitting = true;
	run->quit_status = status;
	if (run->is_draining)
		event_loop_stop(run->loop);
	else if (run->machine)
		machine_quit(run->machine, status);
}

/* ^A x: the user is done, which is no error. */
static void quit_key(void *context)
{
	quit(context, EXIT_OK);
}

/* ^A s and SIGUSR1. */
static void save_key(void *context)
{
	struct run *run = context;

	if (run->machine)
		machine_save(run->machine);
}

/* ^A p and SIGPWR. */
static void power_key(void *context)
{
	struct run *run = context;
	struct error error;

	if (run->machine && machine_press_power_button(run->machine, &error) < 0)
		log_warning("%s", error.message);
}

/* ^A d and SIGUSR2. */
static void picture_key(void *context)
{
	struct run *run = context;
	struct error error;

	if (run->picture_fd < 0)
		log_warning("nowhere to put a picture: there is no --display file=PATH");
	else if (run->machine && machine_screendump(run->machine, PICTURE_PPM, run->picture_fd, &error) < 0)
		log_warning("%s", error.message);
}

static void command_ended(void *context, int status)
{
	struct run *run = context;

	run->command_has_ended = true;
	if (run->machine)
		machine_quit(run->machine, status);
}

static void command_quit(void *context)
{
	quit(context, STATUS_QUIT);
}

/* A command's kernel is heard only if there is nothing else to be heard. */
static void kernel_said(void *context, const uint8_t *data, size_t size)
{
	struct run *run = context;
	size_t lost;

	if (size > SAID_BYTES) {
		data += size - SAID_BYTES;
		size = SAID_BYTES;
	}
	lost = run->said_count + size > SAID_BYTES ? run->said_count + size - SAID_BYTES : 0;
	memmove(run->said, run->said + lost, run->said_count - lost);
	memcpy(run->said + run->said_count - lost, data, size);
	run->said_count += size - lost;
}

static void window_resized(void *context)
{
	struct run *run = context;

	if (run->command)
		command_stream_resized(run->command);
}

static void ended_by_signal(void *context, int number)
{
	log_info("ended by signal %d", number);
	quit(context, 128 + number);
}

static struct char_stream *open_file(struct run *run, const struct stream_option *option,
				     struct error *error)
{
	int fd;

	if (option->kind == STREAM_UNIX) {
		fd = socket_connect_unix(option->path, error);
		return fd < 0 ? NULL : char_pair_create(run->loop, fd, fd, error);
	}
	return option->kind == STREAM_FILE ? char_file_create(option->path, error)
					   : char_none_create(error);
}

/* Before signals are watched: a FIFO makes us wait for its reader, and the user may want to end. */
static int open_files(struct run *run, const struct run_options *options, struct error *error)
{
	unsigned i;

	if (options->serial.kind != STREAM_STDIO) {
		run->serial = options->command && !options->has_serial
				      ? char_callback_create(kernel_said, run, error)
				      : open_file(run, &options->serial, error);
		if (!run->serial)
			return -EINVAL;
	}
	if (options->debug_console.kind == STREAM_FILE) {
		run->debug_console = open_file(run, &options->debug_console, error);
		if (!run->debug_console)
			return -EINVAL;
	}
	for (i = 0; i < options->port_count; i++) {
		if (options->ports[i].where.kind == STREAM_STDIO)
			continue;
		run->ports[i] = open_file(run, &options->ports[i].where, error);
		if (!run->ports[i])
			return -EINVAL;
	}
	return 0;
}

/* Input and output on the user's terminal, or of a script, all of whose bytes are the guest's. */
static struct char_stream *open_stdio(struct run *run, struct error *error)
{
	struct char_mux_commands commands = {.quit = quit_key, .save = save_key, .power = power_key,
					  .picture = picture_key, .context = run};
	struct char_stream *stdio = char_stdio_create(run->loop, run->standard_output, false, error);

	if (!stdio || !isatty(STDIN_FILENO))
		return stdio;
	run->terminal = char_mux_create(run->loop, stdio, CHAR_MUX_ESCAPE, &commands, error);
	return run->terminal ? char_mux_add(run->terminal, error) : NULL;
}

static int open_standard_streams(struct run *run, const struct run_options *options,
				 struct error *error)
{
	struct command_end end = {.ended = command_ended, .quit = command_quit, .context = run};
	struct char_stream **user = options->serial.kind == STREAM_STDIO ? &run->serial : NULL;
	unsigned i;

	for (i = 0; i < options->port_count; i++)
		if (options->ports[i].where.kind == STREAM_STDIO)
			user = &run->ports[i];
	run->standard_output = char_stdout_create(error);
	if (!run->standard_output)
		return -EINVAL;
	if (options->command) {
		run->command =
			command_stream_create(run->loop, run->standard_output, &end, error);
		return run->command ? 0 : -EINVAL;
	}
	if (!user)
		return 0;
	*user = open_stdio(run, error);
	return *user ? 0 : -EINVAL;
}

static struct char_stream *debug_console(const struct run *run, const struct run_options *options)
{
	return options->debug_console.kind == STREAM_STDIO ? run->standard_output
							   : run->debug_console;
}

static void output_drained(void *context)
{
	event_loop_stop(context);
}

static void drain_stream(struct run *run, struct char_stream *stream)
{
	while (stream && !run->is_quitting && !char_drain(stream, output_drained, run->loop))
		if (event_loop_run(run->loop) < 0)
			return;
}

/* What the guest printed before its end comes out, however slowly it is read, if the user waits. */
static void drain(struct run *run)
{
	struct char_stream *streams[] = {run->serial, run->debug_console, run->standard_output};
	unsigned i;

	run->is_draining = true;
	for (i = 0; i < sizeof(streams) / sizeof(streams[0]); i++)
		drain_stream(run, streams[i]);
	for (i = 0; i < VIRTIO_CONSOLE_PORTS_MAX; i++)
		drain_stream(run, run->ports[i]);
	if (run->command)
		drain_stream(run, command_stream_errors(run->command));
}

/* The descriptor stays open until the program ends: vCPUs write to it at any time. */
static int open_code_dump(struct kvm_options *options, const char *path, struct error *error)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return error_set_errno(error, errno, "--dump-code: cannot write '%s'", path);
	options->code_dump_fd = fd;
	return 0;
}

/* What --save, --load and --display name, while paths can still be opened. */
static int open_saved(struct run *run, const struct run_options *options, struct error *error)
{
	if (options->load_path) {
		run->load_fd = open(options->load_path, O_RDONLY | O_CLOEXEC);
		if (run->load_fd < 0)
			return error_set_errno(error, errno, "--load: cannot read '%s'",
					       options->load_path);
	}
	if (options->save_path) {
		run->save_fd = open(options->save_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (run->save_fd < 0)
			return error_set_errno(error, errno, "--save: cannot write '%s'",
					       options->save_path);
	}
	if (options->picture_path) {
		run->picture_fd = open(options->picture_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (run->picture_fd < 0)
			return error_set_errno(error, errno, "--display: cannot write '%s'",
					       options->picture_path);
	}
	return 0;
}

/* The disks' files; they are the machine's afterwards. On failure none is open. */
static int open_disks(struct machine_config *config, const struct run_options *options,
		      struct error *error)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < options->disk_count && result == 0; i++) {
		result = disk_option_open(&options->disks[i], &config->disks[i], error);
		if (result == 0)
			config->disk_count++;
	}
	if (result == 0)
		result = disk_options_add_controllers(config, error);
	while (result < 0 && config->disk_count)
		block_close(config->disks[--config->disk_count].block, NULL);
	return result;
}

static void close_nets(struct machine_config *config)
{
	while (config->net_count)
		board_net_close(&config->nets[--config->net_count]);
}

static void close_shares(struct machine_config *config)
{
	while (config->share_count)
		share_close(&config->shares[--config->share_count].share);
}

/* Likewise the networks. */
static int open_nets(struct machine_config *config, const struct run_options *options,
		     struct error *error)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < options->net_count && result == 0; i++) {
		result = net_option_open(&options->nets[i], i, &config->nets[i], error);
		if (result == 0)
			config->net_count++;
	}
	if (result < 0)
		error_prefix(error, "--net");
	if (result < 0)
		close_nets(config);
	return result;
}

/* Likewise the folders. */
static int open_shares(struct machine_config *config, const struct run_options *options,
		       struct error *error)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < options->share_count && result == 0; i++) {
		result = share_option_open(&options->shares[i], i, &config->shares[i], error);
		if (result == 0)
			config->share_count++;
	}
	if (result < 0)
		error_prefix(error, "--share");
	if (result < 0)
		close_shares(config);
	return result;
}

/* The console comes first: it is what a driver has that knows of no ports. */
static void list_ports(struct machine_config *config, const struct run *run,
		       const struct run_options *options)
{
	unsigned i, pass;

	for (pass = 0; pass < 2; pass++)
		for (i = 0; i < options->port_count; i++)
			if ((options->ports[i].name != NULL) == pass)
				config->ports[config->port_count++] = (struct virtio_console_port){
					run->ports[i], options->ports[i].name};
	if (run->command)
		config->ports[config->port_count++] =
			(struct virtio_console_port){run->command, GUEST_PORT};
}

static int run_guest(struct run *run, const struct run_options *options, int *status,
		     struct error *error)
{
	struct machine_config config = {
	    .loop = run->loop,
	    .kvm_options = {.code_cache_bytes = options->code_cache_bytes
						       ? options->code_cache_bytes
						       : accel_code_cache(options->memory_bytes),
	                    .keeps_statistics = options->wants_statistics},
	    .board = options->board,
	    .irqchip = options->irqchip,
	    .ram_bytes = options->memory_bytes,
	    .cpus = options->cpus,
	    .cpu = options->cpu,
	    .boot = options->boot,
	    .streams = {.serial = run->serial,
			.debug_console = debug_console(run, options),
			.print = run->standard_output},
	    .display = options->picture_path ? BOARD_VGA : BOARD_NO_DISPLAY,
	    .print_port = options->print_port,
	    .debug_exit_port = options->debug_exit_port,
	    .device_count = options->device_count,
	    .save_fd = run->save_fd,
	    .load_fd = run->load_fd,
	    .ends_when_saved = options->ends_when_saved,
	    .ends_at_reset = options->ends_at_reset,
	    .is_confined = options->is_confined,
	    .pauses = options->waits_for_gdb ? MACHINE_PAUSE_DEBUGGER : 0,
	};
	char reason[256];
	int result;

	if (options->firmware.text &&
	    firmware_option_find(&options->firmware, &config.boot.firmware, error) < 0)
		return -EINVAL;
	if (!options->picture_path)
		config.boot.firmware.vga_rom = NULL;
	memcpy(config.devices, options->devices, sizeof(config.devices));
	list_ports(&config, run, options);
	config.backend = accel_choose(options->accel, reason, sizeof(reason));
	if (config.backend == &kvm_backend_engine)
		config.backend = options->engine;
	config.sandbox.uses_kvm = config.backend == &kvm_backend_linux;
	log_info("backend %s: %s", config.backend->name, reason);
	if (options->gdb) {
		run->gdb = gdb_stub_create(options->gdb, run->loop, error);
		if (!run->gdb) {
			error_prefix(error, "--gdb");
			return -EINVAL;
		}
	}
	if (options->code_dump &&
	    open_code_dump(&config.kvm_options, options->code_dump, error) < 0)
		return -EINVAL;
	if (options->code_cache_file.path &&
	    code_cache_file_open(&options->code_cache_file, config.backend, &config.kvm_options, error) < 0)
		return -EINVAL;
	if (open_nets(&config, options, error) < 0)
		return -EINVAL;
	if (open_shares(&config, options, error) < 0) {
		close_nets(&config);
		return -EINVAL;
	}
	if ((options->vsock.path && vsock_option_open(&options->vsock, &config.vsock, error) < 0) ||
	    open_disks(&config, options, error) < 0) {
		board_vsock_close(&config.vsock);
		close_shares(&config);
		close_nets(&config);
		return -EINVAL;
	}
	config.sandbox.listens |= options->gdb || options->vsock.path;
	/* What wakes a folder's process is a message, too. */
	config.sandbox.uses_helpers |= options->vsock.path || config.share_count;
	run->machine = machine_create(&config, error);
	if (!run->machine ||
	    (run->gdb && gdb_stub_attach(run->gdb, run->machine, error) < 0))
		return -EINVAL;
	if (disk_patience_begin(&run->patience, run->machine, run->loop, error) < 0)
		return -EINVAL;
	if (options->hint[0])
		log_hint("chosen by default: %s", options->hint);
	result = machine_run(run->machine, status, error);
	if (result == 0 && !run->is_quitting) {
		drain(run);
		/* Some of it is lost. */
		if (run->quit_status)
			*status = run->quit_status;
	}
	terminal_restore();
	run_signals_unwatch(&run->signals);
	log_guest_flush();
	if (options->wants_statistics)
		machine_print_statistics(run->machine);
	if (result == 0 && run->command && !run->command_has_ended && !run->is_quitting) {
		if (options->memory_bytes < COMMAND_MEMORY_BYTES)
			snprintf(reason, sizeof(reason), " (its --memory of %lluM is little for a kernel)",
				 (unsigned long long)options->memory_bytes >> 20);
		else
			reason[0] = 0;
		return error_set(error, EIO, "the machine ended before the command did%s; its kernel said last:%s%.*s", reason,
				 run->said_count ? "\n" : " nothing", (int)run->said_count, run->said);
	}
	return result;
}

int command_run(int count, char **arguments)
{
	struct run_options options;
	struct run run = {.signals = {.end = ended_by_signal,
				      .save = save_key,
				      .power = power_key,
				      .picture = picture_key,
				      .resized = window_resized,
				      .context = &run},
			  .save_fd = -1,
			  .load_fd = -1,
			  .picture_fd = -1};
	struct command command = {.archive = -1};
	struct error error = {0};
	int result = -EINVAL, status = EXIT_ERROR;
	unsigned i;

	if (run_options_parse(&options, count, arguments, &error) < 0 ||
	    (!options.wants_help && !options.wants_cpu_help && run_defaults(&options, &error) < 0)) {
		log_error("%s (see kvik run --help)", error.message);
		status = EXIT_USAGE;
		goto out_options;
	}
	if (options.wants_help || options.wants_cpu_help) {
		if (options.wants_help)
			fputs(run_options_help, stdout);
		else
			cpu_spec_print_help(stdout);
		status = EXIT_OK;
		goto out_options;
	}
	if (options.verbosity)
		log_set_level(options.verbosity > 1 ? LOG_DEBUG : LOG_INFO);
	if (options.command && command_prepare(&command, &options, &error) < 0)
		goto out;
	run.loop = event_loop_create(&error);
	if (!run.loop || open_files(&run, &options, &error) < 0 ||
	    open_saved(&run, &options, &error) < 0 ||
	    run_signals_watch(&run.signals, run.loop, &error) < 0 ||
	    open_standard_streams(&run, &options, &error) < 0)
		goto out;
	result = run_guest(&run, &options, &status, &error);
out:
	terminal_restore();
	run_signals_unwatch(&run.signals);
	if (result < 0) {
		log_error("%s", error.message);
		status = EXIT_ERROR;
	}
	gdb_stub_destroy(run.gdb);
	disk_patience_end(&run.patience);
	machine_destroy(run.machine);
	char_destroy(run.command);
	char_destroy(run.serial);
	for (i = 0; i < VIRTIO_CONSOLE_PORTS_MAX; i++)
		char_destroy(run.ports[i]);
	char_destroy(run.debug_console);
	char_mux_destroy(run.terminal);
	char_destroy(run.standard_output);
	event_loop_destroy(run.loop);
	command_free(&command);
	if (run.save_fd >= 0)
		close(run.save_fd);
	if (run.load_fd >= 0)
		close(run.load_fd);
	if (run.picture_fd >= 0)
		close(run.picture_fd);
out_options:
	run_options_free(&options);
	return status;
}
