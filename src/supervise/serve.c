/*
 * The supervisor: as many threads wait for the program's calls as are needed, so that one is free
 * while others run guests; the main thread follows what comes and goes.
 */
#include "supervise/processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervise/call.h"
#include "supervise/files.h"
#include "supervise/handout.h"
#include "supervise/memory.h"
#include "supervise/requests.h"
#include "supervise/supervisor.h"

#define WAITING_MAX 4 /* threads beyond these end when they have nothing to do */
/* Linux 6.6: whoever answers and whoever asks run on one CPU in turn. */
#define NOTIF_SET_FLAGS SECCOMP_IOW(4, uint64_t)
#define NOTIF_SYNC_WAKE 1ull

static int start_thread(struct supervisor *supervisor);

static void serve(struct supervisor *supervisor, const struct seccomp_notif *notification)
{
	struct call call = {
	    .supervisor = supervisor,
	    .id = notification->id,
	    .thread = (pid_t)notification->pid,
	    .number = notification->data.nr,
	    .next_instruction = notification->data.instruction_pointer,
	};
	bool is_ours;

	memcpy(call.arguments, notification->data.args, sizeof(call.arguments));
	switch (call.number) {
	case SYS_ioctl: is_ours = requests_serve(&call); break;
	case SYS_madvise: is_ours = memory_serve_advice(&call); break;
	default: is_ours = files_serve(&call);
	}
	if (!is_ours)
		call_pass(&call);
}

/* Wait for a call that is to be served. False: nobody is left that could make one. */
static bool receive(const struct supervisor *supervisor, struct seccomp_notif *notification)
{
	struct pollfd ends = {.fd = supervisor->listener};

	for (;;) {
		memset(notification, 0, sizeof(*notification));
		if (ioctl(supervisor->listener, SECCOMP_IOCTL_NOTIF_RECV, notification) == 0)
			return true;
		/* ENOENT: a signal came before we did, and the call was given up. */
		if (poll(&ends, 1, 0) > 0 && ends.revents & POLLHUP)
			return false;
	}
}

static void *wait_for_calls(void *context)
{
	struct supervisor *supervisor = context;
	struct seccomp_notif notification;

	while (receive(supervisor, &notification)) {
		/* Somebody must wait for the next call while this one is served. */
		if (atomic_fetch_sub(&supervisor->waiting, 1) == 1)
			start_thread(supervisor);
		serve(supervisor, &notification);
		if (atomic_fetch_add(&supervisor->waiting, 1) >= WAITING_MAX)
			break;
	}
	atomic_fetch_sub(&supervisor->waiting, 1);
	return NULL;
}

static int start_thread(struct supervisor *supervisor)
{
	pthread_t thread;
	int result;

	atomic_fetch_add(&supervisor->waiting, 1);
	result = pthread_create(&thread, NULL, wait_for_calls, supervisor);
	if (result == 0)
		pthread_detach(thread);
	else
		atomic_fetch_sub(&supervisor->waiting, 1);
	return -result;
}

static void tell(int reports, const struct report *report)
{
	if (send(reports, report, sizeof(*report), MSG_NOSIGNAL) < 0 && errno == EPIPE)
		return; /* nobody is interested any more */
}

static _Noreturn void fail(int reports, int code, const char *what)
{
	struct report report = {.kind = REPORT_FAILED};

	error_set_errno(&report.error, code, "kvm: %s", what);
	tell(reports, &report);
	_exit(1);
}

/* The message that program_main sends: its filter's descriptor, or -errno. */
static int receive_descriptor(int channel)
{
	char control[CMSG_SPACE(sizeof(int))];
	int result = -ESRCH, fd;
	struct iovec data = {&result, sizeof(result)};
	struct msghdr message = {.msg_iov = &data,
	                         .msg_iovlen = 1,
	                         .msg_control = control,
	                         .msg_controllen = sizeof(control)};
	struct cmsghdr *header;

	if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != sizeof(result))
		return -ESRCH;
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return result < 0 ? result : -ESRCH;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

/* Ended children: the program, and orphans below it. */
static void reap(struct supervisor *supervisor, int reports)
{
	struct report report = {.kind = REPORT_ENDED};
	pid_t child;

	pthread_mutex_lock(&supervisor->children_lock);
	while ((child = waitpid(-1, &report.status, WNOHANG)) > 0) {
		if (child != supervisor->program)
			continue;
		supervisor->program = 0;
		tell(reports, &report);
		/* Who reads the program's output is not to wait for us. */
		dup2(STDOUT_FILENO, STDERR_FILENO);
	}
	pthread_mutex_unlock(&supervisor->children_lock);
}

/* Until nobody is left under the filter. */
static void follow(struct supervisor *supervisor, int reports, int signals)
{
	struct pollfd files[] = {{.fd = supervisor->listener},
	                         {.fd = signals, .events = POLLIN},
	                         {.fd = supervisor->watches, .events = POLLIN},
	                         {.fd = reports}};
	struct signalfd_siginfo info;

	for (;;) {
		if (poll(files, 4, -1) < 0)
			continue;
		if (files[1].revents) {
			if (read(signals, &info, sizeof(info)) < 0 && errno != EAGAIN)
				return;
			reap(supervisor, reports);
		}
		if (files[2].revents)
			handout_follow_copies(supervisor);
		/* The process in front was killed while the program runs: so is the program. */
		if (files[3].revents & (POLLHUP | POLLERR)) {
			if (supervisor->program > 0)
				kill(supervisor->program, SIGKILL);
			files[3].fd = -1;
		}
		if (files[0].revents & POLLHUP && !supervisor->program)
			return;
		/* Else the program is about to be reaped. */
		files[0].fd = files[0].revents & POLLHUP ? -1 : supervisor->listener;
	}
}

static bool is_among(int fd, const int *kept, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (kept[i] == fd)
			return true;
	return false;
}

void release_files(const int *kept, unsigned count)
{
	int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;

	dup2(nothing, STDIN_FILENO);
	dup2(nothing, STDOUT_FILENO);
	while (directory && (entry = readdir(directory))) {
		int fd = atoi(entry->d_name);

		if (fd > STDERR_FILENO && fd != dirfd(directory) && !is_among(fd, kept, count))
			close(fd);
	}
	if (directory)
		closedir(directory);
}

/* The caller's terminal, files and session are the program's alone. */
static void leave_caller(const int *kept, unsigned count)
{
	struct rlimit limit;

	setsid();
	release_files(kept, count);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

_Noreturn void supervisor_main(int reports, const char *path, char **arguments,
                               const sigset_t *signal_mask)
{
	static struct supervisor supervisor = {.children_lock = PTHREAD_MUTEX_INITIALIZER};
	struct report runs = {.kind = REPORT_RUNS};
	uint64_t flags = NOTIF_SYNC_WAKE;
	int channel[2], signals, result;
	sigset_t blocked;

	/* Nothing ends the supervisor but the program's end; and what tells of its own faults. */
	sigfillset(&blocked);
	sigdelset(&blocked, SIGSEGV);
	sigdelset(&blocked, SIGBUS);
	sigdelset(&blocked, SIGFPE);
	sigdelset(&blocked, SIGILL);
	sigdelset(&blocked, SIGTRAP);
	sigdelset(&blocked, SIGSYS);
	sigdelset(&blocked, SIGABRT);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	/* The program's orphans stay our descendants, which is what ptrace may be limited to. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	signals = signalfd(-1, &blocked, SFD_CLOEXEC | SFD_NONBLOCK);
	supervisor.watches = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (signals < 0 || supervisor.watches < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0)
		fail(reports, errno, "no descriptors for the supervisor");
	supervisor.program = fork();
	if (supervisor.program < 0)
		fail(reports, errno, "no process for the program");
	if (supervisor.program == 0)
		program_main(channel[1], path, arguments, signal_mask);
	signal(SIGCHLD, SIG_DFL);
	close(channel[1]);
	supervisor.listener = receive_descriptor(channel[0]);
	if (supervisor.listener < 0)
		fail(reports, -supervisor.listener,
		     supervisor.listener == -EBUSY
		         ? "the program is under another supervisor already (seccomp)"
		         : "the kernel does not let system calls be supervised (seccomp "
		           "user notification, Linux 5.19)");
	ioctl(supervisor.listener, NOTIF_SET_FLAGS, &flags);
	leave_caller((int[]){reports, signals, channel[0], supervisor.listener, supervisor.watches},
	             5);
	result = start_thread(&supervisor);
	if (result < 0)
		fail(reports, -result, "no thread for the supervisor");
	if (write(channel[0], "", 1) != 1)
		fail(reports, errno, "the program cannot be started");
	if (read(channel[0], &result, sizeof(result)) == sizeof(result)) {
		waitpid(supervisor.program, NULL, 0);
		fail(reports, -result, path);
	}
	close(channel[0]);
	runs.program = supervisor.program;
	tell(reports, &runs);
	follow(&supervisor, reports, signals);
	_exit(0);
}
