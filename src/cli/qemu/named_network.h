/* Networks that a monitor's command describes, for whoever may make them. */
#ifndef KVIK_CLI_QEMU_NAMED_NETWORK_H
#define KVIK_CLI_QEMU_NAMED_NETWORK_H

#include <jansson.h>
#include <stdbool.h>

#include "util/error.h"

/* The network that netdev_add's arguments mean, as text: its link and the process behind it, -1 where there is none. 0, or
 * -errno and `error`. While this process has one thread. */
int named_network_open(const char *arguments, int fds[2], struct error *error);

/* What net_link says of such a network. */
bool named_network_has_header(const json_t *arguments);

#endif
