/*
 * The door of a confined monitor: a process that keeps the sockets of QMP and of monitors for people, and
 * passes on what is said there, both ways. Where a command names a file (a picture's, a migration's), the door
 * opens it and passes its descriptor on ahead of the command; and it makes the networks of netdev_add.
 *
 * So the user's own words open files, and only those: the confined process, which its guest may own, never has
 * the sockets on which they come, and nothing that it says is listened to but by the user's program. The door
 * keeps the user's rights for that; of the confined process it takes nothing but bytes to be passed on.
 *
 * Monitors on a terminal, on pipes, or on a stream that a serial port shares have no door: they open nothing.
 */
#ifndef KVIK_CLI_QEMU_DOOR_H
#define KVIK_CLI_QEMU_DOOR_H

#include <jansson.h>

#include "monitor/facts.h"
#include "net/link.h"

#define DOOR_CHANNELS 8

struct door;

struct door *door_create(struct error *error); /* NULL, and `error`, on failure */
void door_destroy(struct door *door);	       /* ends the process, too. NULL is fine */

/*
 * Hand a monitor's sockets over: one that listens, or -1, and a peer that is there, or -1. They become what the
 * monitor uses in their place: where peers come from (char_server_create) and the first. 0, or -errno and
 * `error`: then both are closed.
 */
int door_add(struct door *door, bool is_control, int *listening_fd, int *peer, struct error *error);
/* Likewise one whose peers a dialer connects to (net/dialer.h), one after another. */
int door_add_dialer(struct door *door, bool is_control, int *dialer, struct error *error);

bool door_is_wanted(const struct door *door); /* there is something for it to do */
/* Start the process, which takes over what was added. 0, or -errno and `error`. While this process has one
 * thread. */
int door_start(struct door *door, struct error *error);

/* The descriptor that came ahead of a command, once: monitor_facts.open_file. */
int door_open(struct door *door, enum monitor_file kind, const char *name, struct error *error);

/* Likewise the network of a netdev_add with these arguments. */
int door_open_network(struct door *door, const json_t *arguments, struct net_link *link, struct error *error);

#endif
