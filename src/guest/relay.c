/*
 * The command of a guest that runs one: its descriptors are a pseudo-terminal where kvik's are a terminal, else pipes,
 * and what goes through them goes as frames through a port.
 *
 * This process is the first one, so it also takes what else ends. When the command has ended, what it wrote is sent,
 * everything else is killed, what is not on the host yet is written there, and kvik is told.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "guest/init.h"
#include "guest/protocol.h"

#define PORT_TRIES 5000
#define PORT_PAUSE_NS 2000000
#define LAST_WAIT_MS 1000
#define NOT_FOUND  127 /* as a shell says it */
#define NOT_RUN	   126

enum { INPUT, OUTPUT, ERROR };

struct relay {
	int port, children; /* a signalfd */
	pid_t command;
	int terminal; /* our side of it, or -1 */
	int slave;    /* the command's, open so that it has a reader always */
	int ends[3];  /* our side of each pipe, or -1 */
	/* A frame that comes. */
	struct guest_frame frame;
	size_t frame_bytes; /* of it that are there, header and all */
	/* Input that the command has not taken yet. */
	char pending[GUEST_FRAME_MAX];
	size_t pending_at, pending_size;
	bool has_end; /* of input, behind it */
	bool has_ended;
	int status;
};

/* --- the port --- */

static bool is_ours(const char *port)
{
	char path[320], name[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", port);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(name, sizeof(name), file))
		name[0] = 0;
	fclose(file);
	name[strcspn(name, "\n")] = 0;
	return strcmp(name, GUEST_PORT) == 0;
}

static int find_port(void)
{
	DIR *directory = opendir("/sys/class/virtio-ports");
	struct dirent *entry;
	char path[320];
	int fd = -1;

	while (directory && fd < 0 && (entry = readdir(directory)))
		if (entry->d_name[0] != '.' && is_ours(entry->d_name)) {
			snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
			fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		}
	if (directory)
		closedir(directory);
	return fd;
}

int open_port(void)
{
	const struct timespec pause = {.tv_nsec = PORT_PAUSE_NS};
	int tries, fd = -1;

	for (tries = 0; tries < PORT_TRIES && (fd = find_port()) < 0; tries++)
		nanosleep(&pause, NULL);
	return fd;
}

static void send_all(int port, const void *bytes, size_t size)
{
	struct pollfd ready = {.fd = port, .events = POLLOUT};
	ssize_t sent;

	while (size) {
		sent = write(port, bytes, size);
		if (sent > 0) {
			bytes = (const char *)bytes + sent;
			size -= sent;
		} else if (sent == 0 || errno == EAGAIN || errno == EINTR) {
			poll(&ready, 1, -1);
		} else {
			return;
		}
	}
}

static void send_frame(int port, enum guest_frame_kind kind, const void *bytes, uint16_t size)
{
	struct {
		struct guest_frame header;
		char bytes[GUEST_FRAME_MAX];
	} frame = {.header = {kind, size}};

	memcpy(frame.bytes, bytes, size);
	send_all(port, &frame, sizeof(frame.header) + size);
}

__attribute__((noreturn)) static void end(int port, uint32_t status)
{
	kill(-1, SIGKILL);
	sync();
	send_frame(port, FRAME_EXIT, &status, sizeof(status));
	for (;;)
		pause();
}

void report_failure(int port)
{
	send_frame(port, FRAME_FAILED, failure(), strlen(failure()));
	end(port, 1);
}

/* --- starting the command --- */

static void set_size(int terminal, unsigned rows, unsigned columns)
{
	const struct winsize size = {.ws_row = rows, .ws_col = columns};

	if (rows && columns)
		ioctl(terminal, TIOCSWINSZ, &size);
}

/* The command's side, or -1. */
static int open_terminal(struct relay *relay, const struct guest_plan *plan)
{
	struct termios settings;
	char name[64];
	int slave;

	relay->terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (relay->terminal < 0 || unlockpt(relay->terminal) < 0 ||
	    ptsname_r(relay->terminal, name, sizeof(name)))
		return fail("cannot make a terminal");
	relay->slave = slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return fail("cannot open the terminal");
	set_size(relay->terminal, plan->rows, plan->columns);
	/* One that does its own work on the host needs none done here. */
	if (!plan->is_raw && tcgetattr(slave, &settings) == 0) {
		settings.c_oflag &= ~OPOST;
		settings.c_lflag &= ~ECHO;
		tcsetattr(slave, TCSANOW, &settings);
	}
	return slave;
}

/* A terminal or a pipe for each. 0 or -1. */
static int open_descriptors(struct relay *relay, const struct guest_plan *plan, int theirs[3])
{
	int terminal = -1, pair[2], i;

	for (i = INPUT; i <= ERROR; i++) {
		relay->ends[i] = -1;
		if (plan->is_terminal[i]) {
			if (terminal < 0)
				terminal = open_terminal(relay, plan);
			if (terminal < 0)
				return -1;
			theirs[i] = terminal;
			continue;
		}
		if (pipe2(pair, O_CLOEXEC) < 0)
			return fail("cannot make a pipe");
		theirs[i] = pair[i != INPUT];
		relay->ends[i] = pair[i == INPUT];
		fcntl(relay->ends[i], F_SETFL, O_NONBLOCK);
	}
	return 0;
}

static void become_command(const struct guest_plan *plan, const int theirs[3], bool has_terminal)
{
	sigset_t none;
	int copies[3], i;

	setsid();
	for (i = 0; i < 3; i++)
		copies[i] = fcntl(theirs[i], F_DUPFD_CLOEXEC, 3);
	for (i = 0; i < 3; i++)
		dup2(copies[i], i);
	for (i = 0; i < 3 && has_terminal; i++)
		if (plan->is_terminal[i] && ioctl(i, TIOCSCTTY, 0) == 0)
			break;
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	clearenv();
	environ = (char **)plan->variables;
	execvp(plan->arguments[0], plan->arguments);
}

/* 0, or -1 with a shell's status for it. */
static int start_command(struct relay *relay, const struct guest_plan *plan, int *status)
{
	int theirs[3], told[2], code = 0, i;

	*status = 1;
	relay->terminal = relay->slave = -1;
	if (open_descriptors(relay, plan, theirs) < 0)
		return -1;
	if (pipe2(told, O_CLOEXEC) < 0)
		return fail("cannot make a pipe");
	relay->command = fork();
	if (relay->command < 0)
		return fail("cannot make a process");
	if (relay->command == 0) {
		become_command(plan, theirs, relay->terminal >= 0);
		code = errno;
		if (write(told[1], &code, sizeof(code)) < 0)
			_exit(NOT_RUN);
		_exit(NOT_FOUND);
	}
	close(told[1]);
	for (i = 0; i < 3; i++)
		if (theirs[i] != relay->slave)
			close(theirs[i]);
	if (read(told[0], &code, sizeof(code)) != sizeof(code))
		code = 0;
	close(told[0]);
	if (!code)
		return 0;
	*status = code == ENOENT ? NOT_FOUND : NOT_RUN;
	errno = code;
	return fail("cannot run '%s'", plan->arguments[0]);
}

/* --- carrying --- */

static void push_input(struct relay *relay)
{
	int to = relay->ends[INPUT] >= 0 ? relay->ends[INPUT] : relay->terminal;
	ssize_t size;

	while (relay->pending_at < relay->pending_size && to >= 0) {
		size = write(to, relay->pending + relay->pending_at,
			     relay->pending_size - relay->pending_at);
		if (size < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		/* Nobody reads any more. */
		relay->pending_at = size < 0 ? relay->pending_size : relay->pending_at + size;
	}
	relay->pending_at = relay->pending_size = 0;
	if (relay->has_end && relay->ends[INPUT] >= 0) {
		close(relay->ends[INPUT]);
		relay->ends[INPUT] = -1;
		relay->has_end = false;
	}
}

static void take_frame(struct relay *relay)
{
	uint16_t size[2];

	switch (relay->frame.kind) {
	case FRAME_INPUT:
		relay->pending_size = relay->frame.size;
		relay->has_end = !relay->frame.size;
		push_input(relay);
		break;
	case FRAME_SIZE:
		memcpy(size, relay->pending, sizeof(size));
		if (relay->frame.size == sizeof(size) && relay->terminal >= 0)
			set_size(relay->terminal, size[0], size[1]);
		break;
	case FRAME_CLOSED:
		memcpy(size, relay->pending, sizeof(size[0]));
		/* Who writes to it is told by the kernel, as it would be there. */
		if (relay->frame.size == sizeof(size[0]) && (size[0] == OUTPUT || size[0] == ERROR) &&
		    relay->ends[size[0]] >= 0) {
			close(relay->ends[size[0]]);
			relay->ends[size[0]] = -1;
		}
		break;
	default: break;
	}
	relay->frame_bytes = 0;
}

/* One frame at a time; the next one waits until its input was taken. */
static void read_port(struct relay *relay)
{
	const size_t header = sizeof(relay->frame);
	ssize_t size;

	while (!relay->pending_size) {
		if (relay->frame_bytes < header)
			size = read(relay->port, (char *)&relay->frame + relay->frame_bytes,
				    header - relay->frame_bytes);
		else
			size = read(relay->port, relay->pending + relay->frame_bytes - header,
				    header + relay->frame.size - relay->frame_bytes);
		if (size <= 0)
			return;
		relay->frame_bytes += size;
		if (relay->frame_bytes >= header && relay->frame.size > GUEST_FRAME_MAX)
			relay->frame_bytes = 0;
		else if (relay->frame_bytes == header + relay->frame.size)
			take_frame(relay);
	}
}

static void carry(struct relay *relay, int *from, enum guest_frame_kind kind)
{
	char bytes[GUEST_FRAME_MAX];
	ssize_t size = read(*from, bytes, sizeof(bytes));

	if (size > 0) {
		send_frame(relay->port, kind, bytes, size);
		return;
	}
	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	close(*from);
	*from = -1;
}

static void reap(struct relay *relay)
{
	struct signalfd_siginfo info;
	pid_t child;
	int status;

	while (read(relay->children, &info, sizeof(info)) > 0)
		;
	while ((child = waitpid(-1, &status, WNOHANG)) > 0) {
		if (child != relay->command)
			continue;
		relay->has_ended = true;
		relay->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	}
}

/* Some of each: what comes from kvik, ^C say, has its turn, too. */
static void carry_some(struct relay *relay)
{
	if (relay->terminal >= 0)
		carry(relay, &relay->terminal, FRAME_OUTPUT);
	if (relay->ends[OUTPUT] >= 0)
		carry(relay, &relay->ends[OUTPUT], FRAME_OUTPUT);
	if (relay->ends[ERROR] >= 0)
		carry(relay, &relay->ends[ERROR], FRAME_ERROR);
}

static int wait_for_more(struct relay *relay, int timeout_ms)
{
	int input = relay->ends[INPUT] >= 0 ? relay->ends[INPUT] : relay->terminal;
	bool has_input = relay->pending_size;
	struct pollfd polls[] = {
		{.fd = has_input ? -1 : relay->port, .events = POLLIN},
		{.fd = relay->children, .events = POLLIN},
		{.fd = relay->terminal, .events = POLLIN},
		{.fd = relay->ends[OUTPUT], .events = POLLIN},
		{.fd = relay->ends[ERROR], .events = POLLIN},
		{.fd = has_input ? input : -1, .events = POLLOUT},
	};

	return poll(polls, sizeof(polls) / sizeof(polls[0]), timeout_ms);
}

void run_command(const struct guest_plan *plan, int port)
{
	static struct relay relay;
	sigset_t children;
	int status;

	relay.port = port;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	relay.children = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
	if (start_command(&relay, plan, &status) < 0) {
		send_frame(port, FRAME_FAILED, failure(), strlen(failure()));
		end(port, status);
	}
	while (!relay.has_ended) {
		wait_for_more(&relay, -1);
		push_input(&relay);
		read_port(&relay);
		carry_some(&relay);
		reap(&relay);
	}
	/* What it has left behind ends, too, and with it what there is to be read. */
	kill(-1, SIGKILL);
	if (relay.slave >= 0)
		close(relay.slave);
	while ((relay.terminal >= 0 || relay.ends[OUTPUT] >= 0 || relay.ends[ERROR] >= 0) &&
	       wait_for_more(&relay, LAST_WAIT_MS) > 0) {
		reap(&relay);
		carry_some(&relay);
	}
	end(port, relay.status);
}
