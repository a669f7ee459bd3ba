/* The signals that a run's main thread has: they come as events of its loop. */
#ifndef KVIK_CLI_RUN_SIGNALS_H
#define KVIK_CLI_RUN_SIGNALS_H

#include <signal.h>

#include "util/error.h"
#include "util/event_loop.h"

struct run_signals {
	struct event_source source;
	/* On the loop's thread. SIGTSTP and SIGCONT are dealt with: they give the terminal back and take it. */
	void (*end)(void *context, int number);
	void (*save)(void *context);  /* SIGUSR1 */
	void (*power)(void *context); /* SIGPWR */
	void (*picture)(void *context); /* SIGUSR2 */
	void (*resized)(void *context); /* SIGWINCH; NULL: makes no difference */
	void *context;
	sigset_t mask; /* before they were watched */
};

/* 0, or -errno and `error`. */
int run_signals_watch(struct run_signals *signals, struct event_loop *loop, struct error *error);
/* From here on a signal ends the process at once, whatever it waits for. Also fine on zeroed ones. */
void run_signals_unwatch(struct run_signals *signals);

#endif
