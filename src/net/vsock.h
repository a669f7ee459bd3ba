/*
 * The host's side of a guest's sockets (AF_VSOCK): Unix sockets, as Firecracker names them, so that neither
 * a kernel module nor a privilege is needed. PATH listens: who connects writes "CONNECT PORT\n" and is
 * connected to that port of the guest. A guest that connects to port N of the host (CID 2) reaches the
 * program that listens on PATH_N.
 *
 * The monitor can make no socket once it is confined: a helper of its own connects, to PATH_N and to nothing
 * else.
 */
#ifndef KVIK_NET_VSOCK_H
#define KVIK_NET_VSOCK_H

#include <stdint.h>

#include "util/error.h"

struct vsock_host {
	int listener;  /* non-blocking; -1: closed */
	int connector; /* the helper ends when this is closed */
};

/* Open both, before sandbox_enter, while the process has one thread. 0, or -errno and `error`. */
int vsock_host_open(struct vsock_host *host, const char *path, struct error *error);
/* Also fine on one that is closed. */
void vsock_host_close(struct vsock_host *host);

/* A connected socket, non-blocking, which is the caller's; or -errno: -EAGAIN if there is no peer (accept),
 * that of connect(2) otherwise. One thread at a time. */
int vsock_host_accept(const struct vsock_host *host);
int vsock_host_connect(const struct vsock_host *host, uint32_t port);

#endif
