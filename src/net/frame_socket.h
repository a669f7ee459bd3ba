/* The socket between a device and a process behind its link: a frame a message. */
#ifndef KVIK_NET_FRAME_SOCKET_H
#define KVIK_NET_FRAME_SOCKET_H

#include <stddef.h>

#include "util/error.h"

/* Both ends, which do not block. 0, or -errno and `error`. */
int frame_socket_pair(int ends[2], struct error *error);

/* To the guest. One that has no room for a while is lost, as on any network. */
void frame_socket_send(int fd, const void *frame, size_t size);

#endif
