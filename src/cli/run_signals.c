#include "cli/run_signals.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "device/char/terminal.h"

static void signal_ready(void *context)
{
	struct run_signals *signals = context;
	struct signalfd_siginfo info;

	if (read(signals->source.fd, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGTSTP:
		/* Only another process can send it: ^Z is the guest's while the terminal is raw. */
		terminal_restore();
		kill(getpid(), SIGSTOP);
		break;
	case SIGCONT: terminal_enter_raw_again(); break;
	case SIGUSR1: signals->save(signals->context); break;
	case SIGPWR: signals->power(signals->context); break;
	case SIGUSR2: signals->picture(signals->context); break;
	case SIGWINCH:
		if (signals->resized)
			signals->resized(signals->context);
		break;
	default: signals->end(signals->context, info.ssi_signo); break;
	}
}

int run_signals_watch(struct run_signals *signals, struct event_loop *loop, struct error *error)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGUSR1, SIGUSR2, SIGPWR,
				      SIGWINCH};
	sigset_t set;
	unsigned i;
	int result;

	sigemptyset(&set);
	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaddset(&set, numbers[i]);
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &set, &signals->mask);
	signals->source = (struct event_source){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
						.ready = signal_ready,
						.context = signals};
	if (signals->source.fd < 0) {
		result = error_set_errno(error, errno, "cannot watch signals");
		goto fail;
	}
	result = event_loop_add(loop, &signals->source);
	if (result == 0)
		return 0;
	error_set_errno(error, -result, "cannot watch signals");
	close(signals->source.fd);
fail:
	pthread_sigmask(SIG_SETMASK, &signals->mask, NULL);
	return result;
}

void run_signals_unwatch(struct run_signals *signals)
{
	if (!signals->source.loop)
		return;
	event_loop_remove(&signals->source);
	close(signals->source.fd);
	pthread_sigmask(SIG_SETMASK, &signals->mask, NULL);
}
