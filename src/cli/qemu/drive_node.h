/* What may be said of a node (-blockdev), by its driver. */
#ifndef KVIK_CLI_QEMU_DRIVE_NODE_H
#define KVIK_CLI_QEMU_DRIVE_NODE_H

#include <jansson.h>
#include <stdbool.h>

#include "util/error.h"

/* The members by which a node may name another one. */
extern const char *const drive_node_references[2];

/* Whether the driver is of what has bytes, be it on another host, and no format. */
bool drive_node_is_file(const char *driver);
/* Whether the node is a filter: it stands on a format, or on a file. */
bool drive_node_is_filter(const json_t *node);
/* Of it and of what it holds. 0, or -errno and `error`. */
int drive_node_check(json_t *node, struct error *error);

#endif
