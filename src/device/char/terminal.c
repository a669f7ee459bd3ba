#include "device/char/terminal.h"

#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;   /* written once, before `is_raw` first becomes set */
static bool had_signals;       /* main thread: what was asked for last */
static volatile bool is_saved; /* `saved` is valid and the handlers are installed */
static volatile bool is_raw;   /* atomic by being a byte; set after, cleared before the change */

void terminal_restore(void)
{
	if (!__atomic_exchange_n(&is_raw, false, __ATOMIC_ACQ_REL))
		return;
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

/* A crash of kvik itself: give the terminal back, then die of the same signal. */
static void crash_handler(int number)
{
	terminal_restore();
	signal(number, SIG_DFL);
	raise(number);
}

static void install_crash_handlers(void)
{
	static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
	struct sigaction action = {.sa_handler = crash_handler, .sa_flags = SA_RESETHAND};
	struct sigaction old;
	unsigned i;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		/* Who has a handler already (a sanitizer, the engine) keeps it. */
		if (sigaction(numbers[i], NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) &&
		    old.sa_handler == SIG_DFL)
			sigaction(numbers[i], &action, NULL);
	}
}

bool terminal_enter_raw(bool keeps_signals)
{
	struct termios raw;

	if (is_raw)
		return true;
	if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp())
		return false;
	if (!is_saved) {
		if (tcgetattr(STDIN_FILENO, &saved) < 0)
			return false;
		atexit(terminal_restore);
		install_crash_handlers();
		is_saved = true;
	}
	raw = saved;
	had_signals = keeps_signals;
	raw.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	raw.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN);
	if (!keeps_signals)
		raw.c_lflag &= ~ISIG;
	raw.c_cflag &= ~(CSIZE | PARENB);
	raw.c_cflag |= CS8;
	/* Output processing stays: kvik's own messages on standard error need their line ends. */
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	__atomic_store_n(&is_raw, true, __ATOMIC_RELEASE);
	if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0) {
		is_raw = false;
		return false;
	}
	return true;
}

bool terminal_enter_raw_again(void)
{
	return is_saved && terminal_enter_raw(had_signals);
}
