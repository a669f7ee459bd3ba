/* What a command line says of a network in user space: -netdev user. */
#ifndef KVIK_CLI_QEMU_NET_USER_H
#define KVIK_CLI_QEMU_NET_USER_H

#include <jansson.h>

#include "net/link.h"

/* Whether such a network can be. 0, or -errno and `error`. */
int net_user_check(const json_t *options, struct error *error);

/* Open it. As net_user_start. */
int net_user_open(const json_t *options, struct net_link *link, struct error *error);

/*
 * What hostfwd_add says of a network with these options, [tcp|udp]:[ADDRESS]:PORT-[GUESTADDRESS]:GUESTPORT; with `is_end`,
 * what hostfwd_remove says, without what is behind the "-". 0, or -errno and `error`.
 */
int net_user_parse_forward(const json_t *options, const char *text, bool is_end, struct net_forward *forward,
			   struct error *error);

#endif
