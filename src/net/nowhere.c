#include <errno.h>
#include <sys/timerfd.h>

#include "net/link.h"

/*
 * A timer that never goes off is such a descriptor: there is nothing to read, ever, and a write is refused, whatever its
 * size. A confined monitor may make one, for cards that come later; sockets it may not.
 */
int net_nowhere_open(struct net_link *link, struct error *error)
{
	*link = (struct net_link){.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), .helper = -1};
	if (link->fd < 0)
		return error_set_errno(error, errno, "cannot create a network that goes nowhere");
	return 0;
}
