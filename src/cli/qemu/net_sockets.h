/* Networks that are sockets, in QEMU's forms: -netdev socket, stream and dgram. */
#ifndef KVIK_CLI_QEMU_NET_SOCKETS_H
#define KVIK_CLI_QEMU_NET_SOCKETS_H

#include <jansson.h>

#include "net/link.h"
#include "util/error.h"

/* Whether that type of network is one of these. */
bool net_sockets_has(const char *type);

/* What of them is contradictory, or missing. 0, or -EINVAL and `error`. */
int net_sockets_check(const json_t *options, struct error *error);

/* Open the socket and the link. The caller is the process's only thread. 0, or -errno and `error`. */
int net_sockets_open(const json_t *options, struct net_link *link, struct error *error);

#endif
