/* Networks that are tap interfaces of the host's, in QEMU's forms: -netdev tap and bridge. */
#ifndef KVIK_CLI_QEMU_NET_TAPS_H
#define KVIK_CLI_QEMU_NET_TAPS_H

#include <jansson.h>

#include "net/link.h"
#include "util/error.h"

/* Whether that type of network is one of these. */
bool net_taps_has(const char *type);
/* How many queues it has; 0: what says so is wrong. */
unsigned net_taps_queues(const json_t *options);
/* What of them is contradictory, or wrong. 0, or -EINVAL and `error`. */
int net_taps_check(const json_t *options, struct error *error);
/* The caller is the process's only thread. 0, or -errno and `error`. */
int net_taps_open(const json_t *options, struct net_link *link, struct error *error);

#endif
