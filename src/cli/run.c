/* `kvik run`: options to a machine, signals and keys to its end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/command_stream.h"
#include "cli/commands.h"
#include "cli/firmware_option.h"
#include "cli/run_options.h"
#include "device/char/terminal.h"
#include "guest/protocol.h"
#include "util/log.h"

#define SAID_BYTES  400
#define STATUS_QUIT 130 /* as of a command that ^C ends */

/* One run: what the callbacks of signals and keys need. */
struct run {
	struct event_loop *loop;
	struct event_source signals;
	struct char_stream *serial, *debug_console, *standard_output;
	struct char_stream *ports[VIRTIO_CONSOLE_PORTS_MAX];
	struct machine *machine; /* NULL until it is created */
	bool is_quitting;	 /* the user's wish: waits for nobody any more */
	bool is_draining;	 /* the guest has ended; its last output hasn't left yet */
	int quit_status;
	struct char_stream *command; /* what a command reads and writes; NULL: there is none */
	bool command_has_ended;
	char said[SAID_BYTES]; /* the last of what a command's kernel said: `said_count` of them */
	size_t said_count;
	int save_fd, load_fd; /* -1: none */
	sigset_t signal_mask; /* before signals were watched */
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

	if (run->machine)
		machine_press_power_button(run->machine);
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

static void signal_ready(void *context)
{
	struct run *run = context;
	struct signalfd_siginfo info;

	if (read(run->signals.fd, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGTSTP:
		/* Only another process can send it: ^Z is the guest's while the terminal is raw. */
		terminal_restore();
		kill(getpid(), SIGSTOP);
		break;
	case SIGCONT: terminal_enter_raw(); break;
	case SIGUSR1: save_key(run); break;
	case SIGWINCH:
		if (run->command)
			command_stream_resized(run->command);
		break;
	case SIGPWR: power_key(run); break;
	default:
		log_info("ended by signal %u", info.ssi_signo);
		quit(run, 128 + info.ssi_signo);
		break;
	}
}

static int watch_signals(struct run *run, struct error *error)
{
	sigset_t set;
	int result;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGTSTP);
	sigaddset(&set, SIGCONT);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGPWR);
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &set, &run->signal_mask);
	run->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (run->signals.fd < 0)
		return error_set_errno(error, errno, "cannot watch signals");
	run->signals.ready = signal_ready;
	run->signals.context = run;
	result = event_loop_add(run->loop, &run->signals);
	if (result < 0)
		return error_set_errno(error, -result, "cannot watch signals");
	return 0;
}

/* From here on a signal ends the process at once, whatever it waits for. */
static void unwatch_signals(struct run *run)
{
	if (run->signals.fd < 0)
		return;
	event_loop_remove(&run->signals);
	close(run->signals.fd);
	run->signals.fd = -1;
	pthread_sigmask(SIG_SETMASK, &run->signal_mask, NULL);
}

static struct char_stream *open_file(struct run *run, const struct stream_option *option,
				     struct error *error)
{
	if (option->kind == STREAM_UNIX)
		return char_socket_create(run->loop, option->path, error);
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

static int open_standard_streams(struct run *run, const struct run_options *options,
				 struct error *error)
{
	struct char_stdio_commands commands = {
		.quit = quit_key, .save = save_key, .power = power_key, .context = run};
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
	*user = char_stdio_create(run->loop, run->standard_output, &commands, error);
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

/* What --save and --load name, while paths can still be opened. */
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
	while (result < 0 && config->disk_count)
		block_close(config->disks[--config->disk_count].block, NULL);
	return result;
}

static void close_nets(struct machine_config *config)
{
	while (config->net_count)
		net_link_close(&config->nets[--config->net_count].link);
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

/*
 * An eighth of the guest's memory, with what is kept about the code a quarter: compilers translate the
 * same code again and again in less than some 100 MiB, and small guests are wanted to stay small.
 */
static uint64_t code_cache_bytes(const struct run_options *options)
{
	const uint64_t least = 32ull << 20, most = 128ull << 20;
	uint64_t eighth = options->memory_bytes / 8;

	if (options->code_cache_bytes)
		return options->code_cache_bytes;
	return eighth < least ? least : eighth > most ? most : eighth & ~((1ull << 20) - 1);
}

static int run_guest(struct run *run, const struct run_options *options, int *status,
		     struct error *error)
{
	struct machine_config config = {
	    .loop = run->loop,
	    .kvm_options = {.code_cache_bytes = code_cache_bytes(options),
	                    .keeps_statistics = options->wants_statistics},
	    .board = options->board,
	    .irqchip = options->irqchip,
	    .ram_bytes = options->memory_bytes,
	    .cpus = options->cpus,
	    .cpu = options->cpu,
	    .boot = options->boot,
	    .streams = {run->serial, debug_console(run, options), run->standard_output},
	    .print_port = options->print_port,
	    .debug_exit_port = options->debug_exit_port,
	    .device_count = options->device_count,
	    .save_fd = run->save_fd,
	    .load_fd = run->load_fd,
	    .ends_when_saved = options->ends_when_saved,
	    .ends_at_reset = options->ends_at_reset,
	    .is_confined = options->is_confined,
	};
	char reason[256];
	int result;

	if (options->boot.firmware &&
	    firmware_option_find(options->boot.firmware, &config.boot.firmware, error) < 0)
		return -EINVAL;
	memcpy(config.devices, options->devices, sizeof(config.devices));
	list_ports(&config, run, options);
	config.backend = accel_choose(options->accel, reason, sizeof(reason));
	if (config.backend == &kvm_backend_engine)
		config.backend = options->engine;
	config.sandbox.uses_kvm = config.backend == &kvm_backend_linux;
	log_info("backend %s: %s", config.backend->name, reason);
	if (options->code_dump &&
	    open_code_dump(&config.kvm_options, options->code_dump, error) < 0)
		return -EINVAL;
	if (open_nets(&config, options, error) < 0)
		return -EINVAL;
	if (open_shares(&config, options, error) < 0) {
		close_nets(&config);
		return -EINVAL;
	}
	if (open_disks(&config, options, error) < 0) {
		close_shares(&config);
		close_nets(&config);
		return -EINVAL;
	}
	run->machine = machine_create(&config, error);
	if (!run->machine)
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
	unwatch_signals(run);
	log_guest_flush();
	if (options->wants_statistics)
		machine_print_statistics(run->machine);
	if (result == 0 && run->command && !run->command_has_ended && !run->is_quitting)
		return error_set(error, EIO,
				 "the machine ended before the command did; its kernel said last:%s%.*s",
				 run->said_count ? "\n" : " nothing", (int)run->said_count, run->said);
	return result;
}

int command_run(int count, char **arguments)
{
	struct run_options options;
	struct run run = {.signals.fd = -1, .save_fd = -1, .load_fd = -1};
	struct command command = {.archive = -1};
	struct error error = {0};
	int result = -EINVAL, status = EXIT_ERROR;
	unsigned i;

	if (run_options_parse(&options, count, arguments, &error) < 0) {
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
	    open_saved(&run, &options, &error) < 0 || watch_signals(&run, &error) < 0 || open_standard_streams(&run, &options, &error) < 0)
		goto out;
	result = run_guest(&run, &options, &status, &error);
out:
	terminal_restore();
	unwatch_signals(&run);
	if (result < 0) {
		log_error("%s", error.message);
		status = EXIT_ERROR;
	}
	machine_destroy(run.machine);
	char_destroy(run.command);
	char_destroy(run.serial);
	for (i = 0; i < VIRTIO_CONSOLE_PORTS_MAX; i++)
		char_destroy(run.ports[i]);
	char_destroy(run.debug_console);
	char_destroy(run.standard_output);
	event_loop_destroy(run.loop);
	command_free(&command);
	if (run.save_fd >= 0)
		close(run.save_fd);
	if (run.load_fd >= 0)
		close(run.load_fd);
out_options:
	run_options_free(&options);
	return status;
}
