/* Programs of the host's that make tap interfaces, or bring them up. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/link.h"

#define INTERFACE_NAME_BYTES 16 /* IFNAMSIZ */

extern char **environ;

/* Its exit status; or -errno and `error`: there is none. */
static int wait_for(pid_t child, const char *program, struct error *error)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return error_set_errno(error, errno, "%s", program);
	return WIFEXITED(status) ? WEXITSTATUS(status)
				 : error_set(error, ECHILD, "%s was ended by signal %d", program, WTERMSIG(status));
}

static int start(pid_t *child, const char *program, char *const *words, struct error *error)
{
	int code = posix_spawn(child, program, NULL, NULL, words, environ);

	return code ? error_set_errno(error, code, "cannot run %s", program) : 0;
}

int net_tap_run_script(const char *program, const char *name, struct error *error)
{
	char interface[INTERFACE_NAME_BYTES];
	char *const words[] = {(char *)program, interface, NULL};
	pid_t child;
	int result;

	snprintf(interface, sizeof(interface), "%s", name);
	result = start(&child, program, words, error);
	if (result == 0)
		result = wait_for(child, program, error);
	return result > 0 ? error_set(error, EIO, "%s %s failed with status %d", program, name, result) : result;
}

/* What comes by the socket, which is the child's as long as it runs; -1: nothing. */
static int receive_fd(int socket)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char word;
	struct iovec vector = {&word, sizeof(word)};
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct cmsghdr *header;
	ssize_t got;
	int fd = -1;

	do
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
	    header->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

int net_bridge_open(struct net_link *link, const char *helper, const char *bridge, struct error *error)
{
	char fd_word[32], bridge_word[64];
	char *const words[] = {(char *)helper, "--use-vnet", fd_word, bridge_word, NULL};
	int ends[2], fd, result;
	pid_t child;

	if (strlen(bridge) >= INTERFACE_NAME_BYTES)
		return error_set(error, EINVAL, "'%.20s...' is too long for a bridge's name", bridge);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return error_set_errno(error, errno, "cannot create a socket");
	/* The child's is not closed when it starts. */
	fd = dup(ends[1]);
	close(ends[1]);
	snprintf(fd_word, sizeof(fd_word), "--fd=%d", fd);
	snprintf(bridge_word, sizeof(bridge_word), "--br=%s", bridge);
	result = start(&child, helper, words, error);
	close(fd);
	fd = result == 0 ? receive_fd(ends[0]) : -1;
	close(ends[0]);
	if (result == 0)
		result = wait_for(child, helper, error);
	if (result == 0 && fd >= 0)
		return net_tap_adopt(link, &fd, 1, error);
	if (fd >= 0)
		close(fd);
	return result < 0 ? result : error_set(error, EIO, "%s has no interface on the bridge '%s' for us", helper, bridge);
}
