#include "net/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/link.h"
#include "sandbox/helper.h"

#define BACKLOG	     16
#define REAP_MS	     1000 /* a child's end between the look and the wait is seen after that */

static void child_ended(int number)
{
	(void)number;
}

static void __attribute__((noreturn)) run_command(const char *command, int peer)
{
	int i;

	signal(SIGCHLD, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	for (i = 0; i <= STDERR_FILENO; i++)
		dup2(peer, i);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

/* Whether there was a child to run it. */
static bool start_command(const char *command, int listener)
{
	int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	pid_t child = peer >= 0 ? fork() : -1;

	if (child == 0)
		run_command(command, peer);
	if (peer >= 0)
		close(peer);
	return child > 0;
}

/* Until nobody has the other end. */
static void serve(const char *const *commands, const int *listeners, unsigned count, int owner)
{
	struct pollfd polls[NET_FORWARDS_MAX + 1];
	unsigned running = 0, i;

	for (;;) {
		while (running && waitpid(-1, NULL, WNOHANG) > 0)
			running--;
		polls[0] = (struct pollfd){owner, 0, 0};
		for (i = 0; i < count; i++)
			polls[i + 1] = (struct pollfd){running < NET_COMMANDS_RUNNING ? listeners[i] : -1, POLLIN, 0};
		if (poll(polls, count + 1, running ? REAP_MS : -1) < 0) {
			if (errno != EINTR)
				return;
			continue;
		}
		if (polls[0].revents)
			return;
		for (i = 0; i < count; i++)
			if (polls[i + 1].revents && running < NET_COMMANDS_RUNNING)
				running += start_command(commands[i], listeners[i]);
	}
}

static void __attribute__((noreturn)) begin(const char *const *commands, unsigned count, int owner)
{
	const struct sigaction ended = {.sa_handler = child_ended}; /* no SA_RESTART: poll returns */
	int listeners[NET_FORWARDS_MAX], fd, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;
	unsigned i, one;
	char word;

	prctl(PR_SET_NAME, "kvik commands");
	for (fd = 0; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	helper_close_range(fd, owner - 1);
	helper_close_range(owner + 1, ~0u);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	sigaction(SIGCHLD, &ended, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (i = 0; i < count; i++) {
		one = 1;
		if (helper_receive(owner, &word, sizeof(word), &listeners[i], &one) < 0 || one != 1)
			_exit(1);
		/* A peer that has given up again leaves nothing to wait for. */
		fcntl(listeners[i], F_SETFL, O_NONBLOCK);
	}
	serve(commands, listeners, count, owner);
	_exit(0);
}

int net_commands_start(const char *const *commands, unsigned count, struct error *error)
{
	int ends[2], code;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return error_set_errno(error, errno, "cannot start a network's commands");
	child = fork();
	if (child == 0)
		begin(commands, count, ends[1]);
	code = errno;
	close(ends[1]);
	if (child > 0)
		return ends[0];
	close(ends[0]);
	return error_set_errno(error, code, "cannot start a network's commands");
}

int net_commands_give(int runner, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), result = 0;
	const char word = 0;

	if (fd < 0)
		return -errno;
	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
		result = -errno;
	else
		result = helper_send(runner, &word, sizeof(word), &fd, 1);
	close(fd);
	return result;
}
