/* -object filter-dump: a file of the frames of a -netdev. */
#ifndef KVIK_CLI_QEMU_NET_DUMP_H
#define KVIK_CLI_QEMU_NET_DUMP_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/qemu/keyval.h"
#include "net/link.h"
#include "util/error.h"

extern const struct property net_dump_properties[];
bool net_dump_is(const json_t *object);
/* What it says, of all of its kind. 0, or -EINVAL and `error`. */
int net_dump_check(json_t *object, struct error *error);
/* Open the one for the network of that name, if there is one among the objects (NULL: none). 0, or -errno and `error`. */
int net_dump_open(const json_t *objects, const char *netdev, struct net_link *link, struct error *error);

#endif
