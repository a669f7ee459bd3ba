#include "sandbox/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/internal.h"
#include "sandbox/sandbox.h"

/* What every helper may do: answer, and die of a refused call with a line about it (filter.c). */
static const struct allowed_call common_calls[] = {
	CALL(recvmsg),
	CALL(sendmsg),
	CALL(close),
	CALL_IF(write, "to standard error", IS(0, STDERR_FILENO)),
	CALL(rt_sigaction),
	CALL(rt_sigreturn),
	CALL(rt_sigprocmask),
	CALL(getpid),
	CALL(gettid),
	CALL_IF(tgkill, "to itself", IS_SELF(0)),
	CALL(restart_syscall),
	CALL(exit_group),
};

void helper_close_range(unsigned first, unsigned last)
{
	struct rlimit limit;

	if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
		return;
	/* Kernels before 5.9. */
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && last >= limit.rlim_max)
		last = limit.rlim_max;
	for (; first <= last; first++)
		close(first);
}

static bool is_kept(const struct helper_config *config, int socket, int fd)
{
	unsigned i;

	for (i = 0; i < config->kept_count; i++)
		if (config->kept[i] == fd)
			return true;
	return fd == socket;
}

static void close_others(const struct helper_config *config, int socket)
{
	int highest = socket, first = STDERR_FILENO + 1, fd;
	unsigned i;

	for (i = 0; i < config->kept_count; i++)
		if (config->kept[i] > highest)
			highest = config->kept[i];
	for (fd = first; fd <= highest; fd++)
		if (!is_kept(config, socket, fd))
			close(fd);
	helper_close_range(highest + 1, ~0u);
}

/* Nothing of the monitor's stays but standard error, and its terminal's signals are not for us. */
static int leave_monitor(const struct helper_config *config, int socket)
{
	static const int ignored[] = {SIGINT, SIGQUIT, SIGHUP, SIGTERM, SIGTSTP, SIGPIPE};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), i;
	sigset_t none;

	if (null < 0)
		return -errno;
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return -errno;
	close_others(config, socket);
	for (i = 0; i < (int)(sizeof(ignored) / sizeof(ignored[0])); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	return 0;
}

static int confine(const struct helper_config *config, pid_t parent, struct error *error)
{
	const struct sandbox_config layers = {.needs_network = config->needs_network,
					      .resolver = config->resolver,
					      .root = config->root,
					      .fill_root = config->fill_root,
					      .fill_context = config->context,
					      .root_files = config->root_files,
					      .root_is_readonly = config->root_is_readonly,
					      .descriptors = config->descriptors};
	struct sandbox_report report;
	int result = sandbox_enter(&layers, &report, error);

	if (result < 0)
		return result;
	/* New credentials would take that back: not before now. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	if (getppid() != parent)
		return -ESRCH;
	if (config->prepare)
		result = config->prepare(config->context);
	if (result == 0 && !SANDBOX_IS_RELAXED)
		result = sandbox_install_calls(common_calls,
					       sizeof(common_calls) / sizeof(common_calls[0]),
					       config->calls, config->call_count,
					       config->traps_other_sets);
	return result;
}

static void live(const struct helper_config *config, int socket, pid_t parent)
{
	struct error error;
	int result;

	prctl(PR_SET_NAME, config->name);
	result = leave_monitor(config, socket);
	if (result == 0)
		result = confine(config, parent, &error);
	if (helper_send(socket, &result, sizeof(result), NULL, 0) == 0 && result == 0)
		config->serve(socket, config->context);
	_exit(0);
}

int helper_start(const struct helper_config *config, struct error *error)
{
	pid_t parent = getpid(), child;
	unsigned none = 0;
	int ends[2], result = -EIO, told;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return error_set_errno(error, errno, "cannot talk to a %s", config->name);
	child = fork();
	if (child == 0)
		live(config, ends[1], parent);
	if (child < 0)
		result = -errno;
	close(ends[1]);
	if (child > 0) {
		told = helper_receive(ends[0], &result, sizeof(result), NULL, &none);
		if (told < 0)
			result = told;
	}
	if (result == 0)
		return ends[0];
	close(ends[0]);
	return error_set_errno(error, -result, "cannot start a %s", config->name);
}

int helper_take_root(int directory, int flags)
{
	int root = open("/", flags | O_DIRECTORY | O_CLOEXEC);
	struct stat ours, theirs;

	if (root >= 0 && fstat(root, &ours) == 0 && fstat(directory, &theirs) == 0 &&
	    ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino) {
		close(directory);
		return root;
	}
	if (root >= 0)
		close(root);
	return directory;
}

int helper_send(int socket, const void *message, size_t size, const int *fds, unsigned count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(HELPER_DESCRIPTORS * sizeof(int))];
	} control = {0};
	struct iovec vector = {(void *)message, size};
	struct msghdr packet = {.msg_iov = &vector, .msg_iovlen = 1};
	ssize_t sent;

	if (count) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
		packet.msg_control = &control;
		packet.msg_controllen = CMSG_SPACE(count * sizeof(int));
	}
	do
		sent = sendmsg(socket, &packet, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return sent == (ssize_t)size ? 0 : -EPROTO;
}

/* How many came; they are copied to `fds`, whatever their number. */
static unsigned take_descriptors(struct msghdr *packet, int *fds)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(packet);
	unsigned count = 0;

	for (; header; header = CMSG_NXTHDR(packet, header)) {
		size_t bytes = header->cmsg_len - CMSG_LEN(0);

		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		if (bytes / sizeof(int) > HELPER_DESCRIPTORS - count)
			break;
		memcpy(fds + count, CMSG_DATA(header), bytes);
		count += bytes / sizeof(int);
	}
	return count;
}

int helper_receive(int socket, void *message, size_t size, int *fds, unsigned *count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(HELPER_DESCRIPTORS * sizeof(int))];
	} control;
	int came[HELPER_DESCRIPTORS];
	struct iovec vector = {message, size};
	struct msghdr packet = {.msg_iov = &vector, .msg_iovlen = 1};
	unsigned came_count, i;
	ssize_t length;
	int result = 0;

	/* Without room the kernel closes what comes, and says so. */
	if (*count) {
		packet.msg_control = &control;
		packet.msg_controllen = sizeof(control);
	}
	do
		length = recvmsg(socket, &packet, MSG_CMSG_CLOEXEC);
	while (length < 0 && errno == EINTR);
	if (length < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	came_count = take_descriptors(&packet, came);
	if (length == 0 && !came_count)
		result = -EPIPE;
	else if ((size_t)length != size || (packet.msg_flags & MSG_TRUNC) || came_count > *count)
		result = -EPROTO;
	else if (packet.msg_flags & MSG_CTRUNC)
		result = *count ? -EMFILE : -EPROTO;
	for (i = 0; i < came_count; i++) {
		if (result < 0)
			close(came[i]);
		else
			fds[i] = came[i];
	}
	*count = result < 0 ? 0 : came_count;
	return result;
}

int helper_give(int socket, int fd)
{
	int said = fd < 0 ? fd : 0;
	int result = helper_send(socket, &said, sizeof(said), &fd, fd >= 0);

	if (fd >= 0)
		close(fd);
	return result;
}

int helper_take(int socket, const void *request, size_t size)
{
	unsigned count = 1;
	int said = 0, fd = -1, result = helper_send(socket, request, size, NULL, 0);

	if (result == 0)
		result = helper_receive(socket, &said, sizeof(said), &fd, &count);
	if (result < 0)
		return result;
	if (said == 0 && count == 1)
		return fd;
	if (count)
		close(fd);
	return said < 0 ? said : -EPROTO;
}
