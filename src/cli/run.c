/* `kvik run`: options to a machine, signals and keys to its end. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/run_options.h"
#include "device/char/terminal.h"
#include "util/log.h"

/* One run: what the callbacks of signals and keys need. */
struct run {
	struct event_loop *loop;
	struct event_source signals;
	struct char_stream *serial, *debug_console, *standard_output;
	struct machine *machine; /* NULL until it is created */
};

/* ^A x: the user is done, which is no error. */
static void quit_key(void *context)
{
	struct run *run = context;

	if (run->machine)
		machine_quit(run->machine, EXIT_OK);
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
	default:
		log_info("ended by signal %u", info.ssi_signo);
		machine_quit(run->machine, 128 + info.ssi_signo);
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
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
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

static struct char_stream *open_stream(struct run *run, const struct stream_option *option,
				       bool takes_input, struct error *error)
{
	struct char_stdio_commands commands = {.quit = quit_key, .context = run};

	switch (option->kind) {
	case STREAM_FILE: return char_file_create(option->path, error);
	case STREAM_NONE: return char_none_create(error);
	default:
		return takes_input ? char_stdio_create(run->loop, &commands, error)
				   : char_stdout_create(error);
	}
}

static int open_streams(struct run *run, const struct run_options *options, struct error *error)
{
	run->standard_output = char_stdout_create(error);
	if (!run->standard_output)
		return -ENOMEM;
	if (options->debug_console.kind != STREAM_NONE) {
		run->debug_console = open_stream(run, &options->debug_console, false, error);
		if (!run->debug_console)
			return -EINVAL;
	}
	/* Last: it may change the terminal. */
	run->serial = open_stream(run, &options->serial, true, error);
	return run->serial ? 0 : -EINVAL;
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

static int run_guest(struct run *run, const struct run_options *options, int *status,
		     struct error *error)
{
	struct machine_config config = {
		.loop = run->loop,
		.kvm_options = {.code_cache_bytes = options->code_cache_bytes,
				.keeps_statistics = options->wants_statistics},
		.board = options->board,
		.irqchip = options->irqchip,
		.ram_bytes = options->memory_bytes,
		.cpus = options->cpus,
		.boot = options->boot,
		.streams = {run->serial, run->debug_console, run->standard_output},
		.print_port = options->print_port,
		.debug_exit_port = options->debug_exit_port,
		.ends_at_reset = options->ends_at_reset,
	};
	char reason[256];
	int result;

	config.backend = accel_choose(options->accel, reason, sizeof(reason));
	if (config.backend == &kvm_backend_engine)
		config.backend = options->engine;
	log_info("backend %s: %s", config.backend->name, reason);
	if (options->code_dump &&
	    open_code_dump(&config.kvm_options, options->code_dump, error) < 0)
		return -EINVAL;
	run->machine = machine_create(&config, error);
	if (!run->machine)
		return -EINVAL;
	result = machine_run(run->machine, status, error);
	terminal_restore();
	if (options->wants_statistics)
		machine_print_statistics(run->machine);
	return result;
}

int command_run(int count, char **arguments)
{
	struct run_options options;
	struct run run = {.signals.fd = -1};
	struct error error = {0};
	int result = -EINVAL, status = EXIT_ERROR;

	if (run_options_parse(&options, count, arguments, &error) < 0) {
		log_error("%s (see kvik run --help)", error.message);
		return EXIT_USAGE;
	}
	if (options.wants_help) {
		fputs(run_options_help, stdout);
		return EXIT_OK;
	}
	if (options.verbosity)
		log_set_level(options.verbosity > 1 ? LOG_DEBUG : LOG_INFO);
	run.loop = event_loop_create(&error);
	if (!run.loop || watch_signals(&run, &error) < 0 ||
	    open_streams(&run, &options, &error) < 0)
		goto out;
	result = run_guest(&run, &options, &status, &error);
out:
	terminal_restore();
	if (result < 0) {
		log_error("%s", error.message);
		status = EXIT_ERROR;
	}
	machine_destroy(run.machine);
	char_destroy(run.serial);
	char_destroy(run.debug_console);
	char_destroy(run.standard_output);
	if (run.signals.fd >= 0) {
		event_loop_remove(&run.signals);
		close(run.signals.fd);
	}
	event_loop_destroy(run.loop);
	return status;
}
