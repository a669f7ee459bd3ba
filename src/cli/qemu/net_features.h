/* What of a virtio-net's features a -device switches off, and other words for its driver. */
#ifndef KVIK_CLI_QEMU_NET_FEATURES_H
#define KVIK_CLI_QEMU_NET_FEATURES_H

#include <jansson.h>

#include "machine/board.h"
#include "util/error.h"

/* 0, or -EINVAL and `error`. */
int net_features_take(const json_t *device, struct board_net *net, struct error *error);

#endif
