/*
 * The engine and the program share SIGFPE and SIGILL: the engine's handler stays, takes what its own
 * code raises, and passes the rest on to what the program believes to have installed.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "engine/engine.h"
#include "preload/next.h"

sighandler_t __sysv_signal(int number, sighandler_t handler);

int sigaction(int number, const struct sigaction *action, struct sigaction *previous)
{
	if (engine_chain_signal(number, action, previous))
		return 0;
	return next()->sigaction(number, action, previous);
}

static sighandler_t set_handler(int number, sighandler_t handler, int flags)
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = flags }, previous;

	sigemptyset(&action.sa_mask);
	if (handler == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	if (!(flags & SA_NODEFER))
		sigaddset(&action.sa_mask, number);
	return sigaction(number, &action, &previous) < 0 ? SIG_ERR : previous.sa_handler;
}

sighandler_t signal(int number, sighandler_t handler)
{
	return set_handler(number, handler, SA_RESTART);
}

sighandler_t sysv_signal(int number, sighandler_t handler)
{
	return set_handler(number, handler, (int)SA_RESETHAND | SA_NODEFER);
}

sighandler_t __sysv_signal(int number, sighandler_t handler)
{
	return sysv_signal(number, handler);
}
