/*
 * A stream whose peers are telnet clients (RFC 854): each is told that what it types is echoed and sent key by key
 * (RFC 857, 858), and what it says of the protocol itself is taken out of the input. Output goes through as it is.
 */
#ifndef KVIK_DEVICE_CHAR_TELNET_H
#define KVIK_DEVICE_CHAR_TELNET_H

#include "device/char/char.h"

/* On a stream that is this one's from now on, also when this fails. NULL, and `error`, on failure. I/O thread. */
struct char_stream *char_telnet_create(struct char_stream *below, struct error *error);

#endif
