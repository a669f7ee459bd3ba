/* `kvik image serve` and `kvik-nbd`: an image, given to others by NBD (block/nbd_server.h), confined as a monitor is. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "block/nbd_server.h"
#include "cli/commands.h"
#include "cli/image.h"
#include "cli/qemu/daemon.h"
#include "sandbox/sandbox.h"
#include "util/log.h"
#include "util/socket.h"

struct serve {
	struct image_names names;
	const char *path, *socket, *host, *port, *pid_file;
	struct block_options block;
	struct nbd_export_options export;
	unsigned clients_max;
	bool stays, forks;
};

static const char usage[] =
	"Usage: kvik image serve [OPTION]... FILE     (kvik-nbd: the same, as qemu-nbd)\n"
	"\n"
	"Give a disk to others by NBD, until this is interrupted.\n"
	"\n"
	"  -k, --socket=PATH        on a Unix socket\n"
	"  -b, --bind=HOST          on this address (localhost; kvik-nbd: any)\n"
	"  -p, --port=PORT          on this port (10809)\n"
	"  -f, --format=FORMAT      of the image; otherwise found by its first bytes\n"
	"  -r, --read-only          nobody writes to it\n"
	"  -s, --snapshot           what is written goes to a temporary file\n"
	"  -x, --export-name=NAME   (the default export: no name)\n"
	"  -D, --description=TEXT\n"
	"  -e, --shared=COUNT       so many clients at once (kvik-nbd: 1)\n"
	"  -t, --persistent         kvik-nbd: stay when the last client has gone\n"
	"  -A, --allocation-depth   say of each place in which image of the chain it is\n"
	"  -n, --nocache, --cache=MODE, --aio=threads|io_uring, --discard=unmap|ignore\n"
	"      --detect-zeroes=off|on|unmap\n"
	"      --fork, --pid-file=PATH\n"
	"      --image-opts         FILE is a list: driver=FORMAT,file.filename=PATH\n";

enum { OPTION_CACHE = 256, OPTION_AIO, OPTION_DISCARD, OPTION_ZEROES, OPTION_FORK, OPTION_PID_FILE };

static int take_word(struct serve *serve, int option, const char *word)
{
	switch (option) {
	case OPTION_CACHE:
		return block_cache_parse(word, &serve->block.cache) < 0
			       ? image_usage("--cache=%.60s: use writeback, none, writethrough, directsync or unsafe", word)
			       : 0;
	case OPTION_AIO:
		if (strcmp(word, "threads") == 0)
			serve->block.aio = BLOCK_AIO_THREADS;
		else if (strcmp(word, "io_uring") == 0)
			serve->block.aio = BLOCK_AIO_IO_URING;
		else if (strcmp(word, "native") != 0)
			return image_usage("--aio=%.60s: use threads, native or io_uring", word);
		return 0;
	case OPTION_ZEROES:
		return block_zeroes_parse(word, &serve->block.zeroes) < 0
			       ? image_usage("--detect-zeroes=%.60s: use off, on or unmap", word)
			       : 0;
	default:
		serve->block.discard = strcmp(word, "unmap") == 0 || strcmp(word, "on") == 0;
		if (!serve->block.discard && strcmp(word, "ignore") != 0 && strcmp(word, "off") != 0)
			return image_usage("--discard=%.60s: use unmap or ignore", word);
		return 0;
	}
}

static int take_clients(struct serve *serve, const char *word)
{
	char *end;
	unsigned long count = strtoul(word, &end, 10);

	if (end == word || *end || count > INT_MAX)
		return image_usage("-e %.60s: how many clients? 0: as many as come", word);
	serve->clients_max = count;
	return 0;
}

/* 0, or the exit status and one. */
static int take_options(struct serve *serve, int count, char **arguments)
{
	static const struct option names[] = {
		{"socket", required_argument, NULL, 'k'},      {"bind", required_argument, NULL, 'b'},
		{"port", required_argument, NULL, 'p'},	       {"format", required_argument, NULL, 'f'},
		{"read-only", no_argument, NULL, 'r'},	       {"snapshot", no_argument, NULL, 's'},
		{"export-name", required_argument, NULL, 'x'}, {"description", required_argument, NULL, 'D'},
		{"shared", required_argument, NULL, 'e'},      {"persistent", no_argument, NULL, 't'},
		{"allocation-depth", no_argument, NULL, 'A'},  {"nocache", no_argument, NULL, 'n'},
		{"verbose", no_argument, NULL, 'v'},	       {"help", no_argument, NULL, 'h'},
		{"cache", required_argument, NULL, OPTION_CACHE},
		{"aio", required_argument, NULL, OPTION_AIO},
		{"discard", required_argument, NULL, OPTION_DISCARD},
		{"detect-zeroes", required_argument, NULL, OPTION_ZEROES},
		{"fork", no_argument, NULL, OPTION_FORK},
		{"pid-file", required_argument, NULL, OPTION_PID_FILE},
		{"image-opts", no_argument, NULL, IMAGE_OPTION_OPTS},
		{"object", required_argument, NULL, IMAGE_OPTION_OBJECT},
		{NULL},
	};
	int option, status = 0;

	optind = 1;
	while (status == 0 && (option = getopt_long(count, arguments, "k:b:p:f:rsx:D:e:tAnvh", names, NULL)) != -1) {
		switch (option) {
		case 'k': serve->socket = optarg; break;
		case 'b': serve->host = optarg; break;
		case 'p': serve->port = optarg; break;
		case 'f': serve->block.format = optarg; break;
		case 'r': serve->block.readonly = true; break;
		case 's': serve->block.snapshot = true; break;
		case 'x': serve->export.name = optarg; break;
		case 'D': serve->export.description = optarg; break;
		case 'e': status = take_clients(serve, optarg); break;
		case 't': serve->stays = true; break;
		case 'A': serve->export.shows_depth = true; break;
		case 'n': serve->block.cache = BLOCK_CACHE_NONE; break;
		case 'v': break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_OK + 1;
		case OPTION_FORK: serve->forks = true; break;
		case OPTION_PID_FILE: serve->pid_file = optarg; break;
		case OPTION_CACHE:
		case OPTION_AIO:
		case OPTION_ZEROES:
		case OPTION_DISCARD: status = take_word(serve, option, optarg); break;
		default: status = image_common_option(option, arguments, &serve->names) ? image_usage_status() : 0;
		}
	}
	if (status == 0 && optind + 1 != count)
		status = image_usage("%s: which image? one", arguments[0]);
	if (status)
		return status + 1;
	serve->path = arguments[optind];
	return 0;
}

static int write_pid(const struct serve *serve, struct error *error)
{
	int fd;

	if (!serve->pid_file)
		return 0;
	fd = open(serve->pid_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || dprintf(fd, "%d\n", getpid()) < 0)
		return error_set_errno(error, errno, "cannot write %.300s", serve->pid_file);
	close(fd);
	return 0;
}

/* On a thread of the server's: qemu-nbd goes with its last client. */
static void left(void *context, unsigned clients)
{
	const struct serve *serve = context;

	if (clients == 0 && !serve->stays)
		kill(getpid(), SIGTERM);
}

static int listen_there(const struct serve *serve, struct error *error)
{
	return serve->socket ? socket_listen_unix(serve->socket, error)
			     : socket_listen_tcp(serve->host, serve->port, error);
}

static void say_where(const struct serve *serve)
{
	const char *name = serve->export.name;

	if (!image_is_humane())
		return;
	if (serve->socket)
		log_hint("serving %s as nbd+unix:///%s?socket=%s", serve->path, name, serve->socket);
	else
		log_hint("serving %s as nbd://%s:%s/%s", serve->path, serve->host ? serve->host : "localhost", serve->port, name);
}

/* Until a signal comes. */
static void wait_for_end(int signals)
{
	struct signalfd_siginfo info;

	while (read(signals, &info, sizeof(info)) < 0 && errno == EINTR)
		;
}

/* What is open by a path, or listens, is there; from here on the process is confined. */
static int run(struct serve *serve, struct block *block, int *listening_fd, int signals, struct daemon *daemon,
	       struct error *error)
{
	const struct sandbox_config config = {.listens = true};
	struct nbd_server_options options = {
		.listening_fd = *listening_fd, .clients_max = serve->clients_max, .left = left, .context = serve};
	struct nbd_server *server = NULL;
	struct nbd_export *export;
	struct sandbox_report report;
	int result = sandbox_enter(&config, &report, error);

	if (result == 0)
		result = block_start(block, error);
	if (result == 0)
		result = nbd_server_start(&options, &server, error);
	if (result < 0)
		return result;
	*listening_fd = -1;
	result = nbd_export_add(server, block, &serve->export, NULL, NULL, &export, error);
	if (result == 0) {
		say_where(serve);
		daemon_ready(daemon);
		result = sandbox_lock(&config, &report, error);
	}
	if (result == 0)
		wait_for_end(signals);
	nbd_server_stop(server);
	return result;
}

static int serve_image(struct serve *serve, struct error *error)
{
	struct daemon daemon = {.ready_fd = -1};
	struct block *block = NULL;
	const char *path;
	sigset_t ends;
	int listening_fd = -1, signals, result = 0, closed;

	if (serve->forks)
		result = daemon_begin(&daemon, error);
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	signals = signalfd(-1, &ends, SFD_CLOEXEC);
	if (result == 0 && signals < 0)
		result = error_set_errno(error, errno, "signals");
	if (result == 0)
		result = image_name_block(serve->path, &serve->names, &path, &serve->block, error);
	if (result == 0)
		result = block_open(path, &serve->block, &block, error);
	if (result == 0)
		result = listening_fd = listen_there(serve, error);
	if (result >= 0)
		result = write_pid(serve, error);
	if (result == 0)
		result = run(serve, block, &listening_fd, signals, &daemon, error);
	closed = block_close(block, result < 0 ? NULL : error);
	if (listening_fd >= 0)
		close(listening_fd);
	if (signals >= 0)
		close(signals);
	return result < 0 ? result : closed;
}

int image_command_serve(int count, char **arguments)
{
	bool is_humane = image_is_humane();
	struct serve serve = {.port = "10809",
			      .host = is_humane ? "localhost" : NULL,
			      .export = {.name = ""},
			      .clients_max = is_humane ? 0 : 1,
			      .stays = is_humane,
			      .block = {.aio = BLOCK_AIO_AUTO}};
	int status = take_options(&serve, count, arguments);
	struct error error = {""};

	if (status)
		return status - 1;
	serve.export.is_writable = !serve.block.readonly;
	return serve_image(&serve, &error) < 0 ? image_fail(&error) : EXIT_OK;
}
