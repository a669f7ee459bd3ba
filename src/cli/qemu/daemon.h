/* Going into the background: what starts a daemon waits until it is set up, and learns how that went. */
#ifndef KVIK_CLI_QEMU_DAEMON_H
#define KVIK_CLI_QEMU_DAEMON_H

#include "util/error.h"

struct daemon {
	int ready_fd; /* tells the process that waits; -1: not in the background */
	int null_fd;  /* what standard input, output and error become */
};

/*
 * Go on in a process of its own, before there are threads. It returns there; the process that was started
 * waits, and ends with the status that daemon_ready tells, 1 if that never happens. 0, or -errno and `error`.
 */
int daemon_begin(struct daemon *daemon, struct error *error);
/* All is set up. Standard input, output and error lead nowhere from now on. */
void daemon_ready(struct daemon *daemon);

#endif
