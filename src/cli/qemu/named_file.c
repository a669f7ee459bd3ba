#include "cli/qemu/named_file.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/block.h"
#include "net/dialer.h"
#include "util/socket.h"

#define TO_WRITE  (O_WRONLY | O_CREAT | O_TRUNC)
#define TO_APPEND (O_WRONLY | O_CREAT | O_APPEND)

static int open_path(const char *path, int flags, struct error *error)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0666);

	return fd < 0 ? error_set_errno(error, errno, "cannot open '%.300s'", path) : fd;
}

static int open_image(const char *path, struct error *error)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (fd < 0 && (errno == EACCES || errno == EPERM || errno == EROFS))
		return open_path(path, O_RDONLY, error);
	return fd < 0 ? error_set_errno(error, errno, "cannot open '%.300s'", path) : fd;
}

/* Whoever makes an image of it empties it, once he knows that nobody uses it. */
static int make_image(const char *path, struct error *error)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);

	return fd < 0 ? error_set_errno(error, errno, "cannot make '%.300s'", path) : fd;
}

/* In the child: its own child runs the command, so that this one can be waited for at once. */
static void __attribute__((noreturn)) run_command(const char *command, int fd, int target)
{
	sigset_t none;

	if (fork() != 0)
		_exit(0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	dup2(fd, target);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

static int open_command(const char *command, bool for_writing, struct error *error)
{
	int ends[2], mine = for_writing ? 1 : 0, code;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(error, errno, "exec:");
	child = fork();
	if (child == 0)
		run_command(command, ends[!mine], for_writing ? STDIN_FILENO : STDOUT_FILENO);
	code = errno;
	close(ends[!mine]);
	if (child < 0) {
		close(ends[mine]);
		return error_set_errno(error, code, "exec:");
	}
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return ends[mine];
}

struct tcp_address {
	char text[256];
	const char *host, *port; /* NULL: no host is said */
};

/* "HOST:PORT", ":PORT" */
static int parse_tcp(struct tcp_address *parsed, const char *address, struct error *error)
{
	const char *colon = strrchr(address, ':');

	if (!colon || (size_t)(colon - address) >= sizeof(parsed->text))
		return error_set(error, EINVAL, "tcp:%.100s: use tcp:HOST:PORT", address);
	memcpy(parsed->text, address, colon - address);
	parsed->text[colon - address] = 0;
	parsed->host = *parsed->text ? parsed->text : NULL;
	parsed->port = colon + 1;
	return 0;
}

static int open_tcp(const char *address, bool is_out, struct error *error)
{
	struct tcp_address parsed;
	int fd, on = 1;

	if (parse_tcp(&parsed, address, error) < 0)
		return -EINVAL;
	if (is_out)
		return socket_connect_tcp(parsed.host, parsed.port, error);
	fd = socket_listen_tcp(parsed.host, parsed.port, error);
	/* Those that are accepted have it from the one that listens: a confined process could not say it. */
	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	return fd;
}

static int open_uri(const char *uri, bool is_out, struct error *error)
{
	if (strncmp(uri, "file:", 5) == 0)
		return open_path(uri + 5, is_out ? TO_WRITE : O_RDONLY, error);
	if (strncmp(uri, "exec:", 5) == 0)
		return open_command(uri + 5, is_out, error);
	if (strncmp(uri, "unix:", 5) == 0)
		return is_out ? socket_connect_unix(uri + 5, error) : socket_listen_unix(uri + 5, error);
	if (strncmp(uri, "tcp:", 4) == 0)
		return open_tcp(uri + 4, is_out, error);
	return error_set(error, EINVAL, "'%.100s': use file:PATH, exec:COMMAND, unix:PATH, tcp:HOST:PORT or fd:NAME",
			 uri);
}

/* "SECONDS unix:PATH", "SECONDS tcp:HOST:PORT" */
static int start_dialer(const char *name, struct error *error)
{
	struct net_dialer_config config = {.delay_s = strtoul(name, NULL, 10)};
	const char *uri = strchr(name, ' ');
	struct tcp_address parsed;

	if (uri && strncmp(uri, " unix:", 6) == 0) {
		config.path = uri + 6;
		return net_dialer_start(&config, error);
	}
	if (!uri || strncmp(uri, " tcp:", 5) != 0)
		return error_set(error, EINVAL, "'%.100s' is no address to connect to", name);
	if (parse_tcp(&parsed, uri + 5, error) < 0)
		return -EINVAL;
	config.host = parsed.host;
	config.port = parsed.port;
	return net_dialer_start(&config, error);
}

int named_file_open(enum monitor_file kind, const char *name, struct error *error)
{
	if ((kind == MONITOR_FILE_READ || kind == MONITOR_FILE_CHANGE) && block_names_export(name))
		return block_export_connect(name, error);
	switch (kind) {
	case MONITOR_FILE_READ: return open_path(name, false, error);
	case MONITOR_FILE_WRITE: return open_path(name, TO_WRITE, error);
	case MONITOR_FILE_CHANGE: return open_image(name, error);
	case MONITOR_FILE_MAKE: return make_image(name, error);
	case MONITOR_FILE_APPEND: return open_path(name, TO_APPEND, error);
	case MONITOR_DIALER: return start_dialer(name, error);
	case MONITOR_URI_OUT: return open_uri(name, true, error);
	case MONITOR_URI_IN: return open_uri(name, false, error);
	default: return error_set(error, EBADF, "'%.100s': no descriptor came with the command", name);
	}
}
