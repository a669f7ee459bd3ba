/*
 * The process that stands for the program: whoever started it sees one command that gets signals,
 * stops, continues and ends.
 *
 * A signal that the terminal sends reaches the program by itself, since it is in the same process
 * group; one that somebody sends to this process is passed on.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervise/processes.h"
#include "supervise/supervise.h"

/* All but what says that this process is wrong, its children's states, and job control. */
static void forwarded_signals(sigset_t *signals)
{
	static const int others[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,  SIGTRAP, SIGSYS,
	                             SIGABRT, SIGCHLD, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT};

	sigfillset(signals);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		sigdelset(signals, others[i]);
}

static void forward(int signals, pid_t program)
{
	struct signalfd_siginfo info;

	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_code <= 0)
		kill(program, (int)info.ssi_signo);
}

static int wait_for_end(int reports, int signals, int *status, struct error *error)
{
	struct pollfd files[] = {{.fd = reports, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	struct report report;
	pid_t program = 0;

	for (;;) {
		if (poll(files, 2, -1) < 0)
			continue;
		if (files[1].revents)
			forward(signals, program);
		if (!files[0].revents)
			continue;
		if (read(reports, &report, sizeof(report)) != sizeof(report))
			return error_set(error, EIO,
			                 "kvm: the supervisor ended early, and the "
			                 "program with it");
		switch (report.kind) {
		case REPORT_RUNS:
			program = report.program;
			/* What came before has waited. */
			files[1].fd = signals;
			release_files((int[]){reports, signals}, 2);
			break;
		case REPORT_FAILED: *error = report.error; return -EIO;
		case REPORT_ENDED: *status = report.status; return 0;
		}
	}
}

int supervise_run(const char *path, char **arguments, int *status, struct error *error)
{
	sigset_t forwarded, previous;
	int sockets[2], signals, result;
	pid_t supervisor;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return error_set_errno(error, errno, "kvm: no socket");
	forwarded_signals(&forwarded);
	sigprocmask(SIG_BLOCK, &forwarded, &previous);
	signals = signalfd(-1, &forwarded, SFD_CLOEXEC | SFD_NONBLOCK);
	supervisor = signals < 0 ? -1 : fork();
	if (supervisor == 0) {
		close(sockets[0]);
		close(signals);
		supervisor_main(sockets[1], path, arguments, &previous);
	}
	close(sockets[1]);
	if (supervisor < 0)
		result = error_set_errno(error, errno, "kvm: no process for the supervisor");
	else
		result = wait_for_end(sockets[0], signals, status, error);
	/* While children of the program live on, so does the supervisor; else it is gone soon. */
	close(sockets[0]);
	close(signals);
	sigprocmask(SIG_SETMASK, &previous, NULL);
	return result;
}
