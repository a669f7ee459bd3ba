/* What `--net` says. */
#ifndef KVIK_CLI_NET_OPTION_H
#define KVIK_CLI_NET_OPTION_H

#include "machine/board.h"
#include "net/link.h"

struct net_option {
	char *text; /* owned: what the strings below point into */
	const char *tap; /* an interface's name; NULL: a network of its own */
	struct net_user_config user;
	bool has_mac, is_packed;
	enum board_net_model model;
	bool may_boot; /* firmware may boot from it */
	unsigned boot_plus_1; /* its turn then; 0: behind disks */
	const char *rom; /* a file; NULL: the one that is installed, where it may boot */
	uint8_t mac[MAC_BYTES];
};

/* user[,PROPERTY]... or tap=NAME[,PROPERTY]...; 0, or -errno and `error`: what is wrong and what would be
 * right. */
int net_option_parse(struct net_option *option, const char *text, struct error *error);
void net_option_free(struct net_option *option);

/* Open the link, and read the ROM. `number` is the device's, for its address. The caller is the process's only thread, not
 * confined yet. 0, or -errno and `error`. */
int net_option_open(const struct net_option *option, unsigned number, struct board_net *net,
		    struct error *error);

#endif
