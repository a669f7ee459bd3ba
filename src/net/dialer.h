/*
 * Connections to somebody who listens, again and again: a process of kvik's own makes them for a monitor that
 * is confined, which may connect to nobody. It knows one address, and connects to that alone.
 */
#ifndef KVIK_NET_DIALER_H
#define KVIK_NET_DIALER_H

#include <stdbool.h>

#include "util/error.h"

struct net_dialer_config {
	const char *path; /* of a Unix socket, which need not be there yet, in a folder that stays. NULL: */
	const char *host, *port; /* looked up now. NULL: this host's loopback */
	unsigned delay_s; /* from one attempt to the next, from 1 on */
	bool no_delay; /* TCP_NODELAY */
};

/*
 * Start the process. What is returned is the one end of its socket: for each message of one byte that is
 * written there, one of one byte comes back with a connected socket, as soon as there is one. When it is
 * closed, the process ends. Or -errno and `error`. See helper_start on when.
 */
int net_dialer_start(const struct net_dialer_config *config, struct error *error);

/* Ask for a connection. Any thread. */
void net_dialer_ask(int dialer);
/* One that has come: a descriptor, or -errno; -EPIPE: the dialer has gone. */
int net_dialer_take(int dialer);

#endif
