/* What a monitor's command names that has to be opened for it. */
#ifndef KVIK_CLI_QEMU_DOOR_REQUEST_H
#define KVIK_CLI_QEMU_DOOR_REQUEST_H

#include <jansson.h>
#include <limits.h>

#include "monitor/facts.h"

struct door_request {
	enum monitor_file kind;
	char name[PATH_MAX];
};

/* False: it names nothing. */
bool door_request_of_command(const json_t *command, struct door_request *request); /* QMP's */
bool door_request_of_node(const json_t *node, struct door_request *request); /* blockdev-add's arguments */
bool door_request_of_network(const json_t *options, struct door_request *request); /* netdev_add's */
bool door_request_of_descriptor(struct door_request *request); /* add-fd's */
bool door_request_of_server(const json_t *arguments, struct door_request *request); /* nbd-server-start's */
bool door_request_of_snapshot(const json_t *arguments, struct door_request *request); /* blockdev-snapshot-sync's */
bool door_request_of_backup(const json_t *arguments, struct door_request *request); /* drive-backup's */
bool door_request_of_line(const char *line, struct door_request *request);	    /* a human's */

#endif
