/* The networks of a command line: -netdev, -nic and -net, by name, until a device takes one. */
#ifndef KVIK_CLI_QEMU_NETS_H
#define KVIK_CLI_QEMU_NETS_H

#include <jansson.h>

#include "machine/board.h"
#include "util/error.h"

#define NETS_MAX 16
#define NET_NAME_MAX BOARD_NET_NAME_MAX
#define NETS_NOTE    "nowhere" /* kept with a device that has no netdev=: what its network is called here */

struct net {
	const json_t *options; /* the line's; NULL: */
	bool is_nowhere;       /* of a card without a network, with which it goes */
	char name[NET_NAME_MAX + 1];
	bool is_used;
	uint8_t mac[MAC_BYTES]; /* of its device */
	bool is_open; /* for a device that comes later: */
	struct net_link link;
};

struct nets {
	struct net list[NETS_MAX];
	unsigned count, nowhere_count; /* ... of all that ever were */
	const json_t *objects; /* the line's, filter-dump among them; NULL: none */
	bool has_started; /* no process can be made any more by this one */
};

/* Whether a network of such options can be. 0, or -errno and `error`. */
int nets_check(const json_t *options, struct error *error);

/* What -netdev says. *name gets the name, which is given where `options` has no id. 0, or -errno and `error`. */
int nets_add(struct nets *nets, const json_t *options, const char **name, struct error *error);

/* Open those that no device has, for devices that come later, if there is room for any; from then on none in user
 * space is made. 0, or -errno and `error`. */
int nets_start(struct nets *nets, bool has_room, struct error *error);
void nets_close(struct nets *nets); /* those that no device has taken */

unsigned nets_queues(const json_t *options); /* of a network; 0: queues= is wrong */
/* The link of a network as these options say it. As net_user_start. */
int nets_open_link(const json_t *options, struct net_link *link, struct error *error);
/* The link of a network that was added after the start: it is the list's from now on. */
void nets_give(struct nets *nets, const char *name, const struct net_link *link);

bool nets_is_user(const struct net *net); /* whether it is one in user space */
/* What the network of a device is called, which nets_open has seen or netdev= says; NULL: it has none. */
const char *nets_name_of_device(const json_t *device);
/* The one of `devices` that has the network of that name; NULL: none. */
const json_t *nets_device(const json_t *devices, const char *name);

/* Its device has gone, and its link is closed. */
void nets_release(struct nets *nets, const char *name);
/* Forget one that no device uses. 0, or -ENOENT, -EBUSY and `error`. */
int nets_remove(struct nets *nets, const char *name, struct error *error);

/* Open the network that the device `options` names, for the board's device `number`; without a netdev= it gets one that goes
 * nowhere, which a warning says. The caller is the process's only thread. 0, or -errno and `error`. */
int nets_open(struct nets *nets, const json_t *options, unsigned number, struct board_net *net,
	      struct error *error);

/* The network of that name, or of the device among `devices` with this id; NULL: there is none. */
const struct net *nets_find(const struct nets *nets, const json_t *devices, const char *name);
/* What monitor_facts.networks is. The caller's. */
json_t *nets_describe(const struct nets *nets, const json_t *devices);

#endif
