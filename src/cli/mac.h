/* Ethernet addresses of command lines. */
#ifndef KVIK_CLI_MAC_H
#define KVIK_CLI_MAC_H

#include "device/virtio/network.h"
#include "util/error.h"

/* Six hexadecimal bytes between colons, not of a group (IEEE 802 §8.2). 0, or -EINVAL and `error`. */
int mac_parse(const char *text, uint8_t mac[MAC_BYTES], struct error *error);

#endif
