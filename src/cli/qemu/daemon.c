#include "cli/qemu/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/log.h"

/* The process that was started: ends as soon as the daemon is ready, or has failed. */
static void __attribute__((noreturn)) wait_for_daemon(int fd)
{
	char status;
	ssize_t count;

	do
		count = read(fd, &status, 1);
	while (count < 0 && errno == EINTR);
	_exit(count == 1 ? status : 1);
}

int daemon_begin(struct daemon *daemon, struct error *error)
{
	int ends[2], code;
	pid_t child;

	daemon->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (daemon->null_fd < 0 || pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(error, errno, "-daemonize");
	child = fork();
	if (child > 0) {
		close(ends[1]);
		wait_for_daemon(ends[0]);
	}
	close(ends[0]);
	daemon->ready_fd = ends[1];
	if (child == 0 && setsid() >= 0) {
		/* Once more: who leads a session may get a terminal. */
		child = fork();
		if (child > 0)
			_exit(0);
		if (child == 0)
			return 0;
	}
	code = errno;
	close(ends[1]);
	return error_set_errno(error, code, "-daemonize");
}

void daemon_ready(struct daemon *daemon)
{
	char status = 0;
	int fd;

	if (daemon->ready_fd < 0)
		return;
	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(daemon->null_fd, fd);
	close(daemon->null_fd);
	log_open();
	/* Who was waiting may be gone, which is no failure. */
	if (write(daemon->ready_fd, &status, 1) < 0)
		log_debug("nobody waits for this daemon");
	close(daemon->ready_fd);
	daemon->ready_fd = -1;
}
