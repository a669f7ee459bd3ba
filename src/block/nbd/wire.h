/*
 * Bytes to and from a server, whole messages at once.
 *
 * A confined monitor has no calls for sockets: the connection is there before, and bytes go by writev
 * and preadv2, whose "current position" is where a stream goes on. The socket doesn't block, so that
 * whoever waits sees a limit and an end.
 */
#ifndef KVIK_BLOCK_NBD_WIRE_H
#define KVIK_BLOCK_NBD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct wire {
	int fd;
	int64_t deadline_ns; /* of CLOCK_MONOTONIC, for each call; 0: none */
	bool is_broken;	     /* atomic: nobody waits any more */
};

/*
 * One thread sends and one receives at a time. The vectors are used up. 0, or -errno: -ECONNRESET when the
 * server has closed the connection, -ETIMEDOUT, -ECANCELED when it was broken meanwhile.
 */
int wire_send(struct wire *wire, struct iovec *vector, unsigned count);
int wire_receive(struct wire *wire, struct iovec *vector, unsigned count);

int wire_send_bytes(struct wire *wire, const void *bytes, size_t size);
int wire_receive_bytes(struct wire *wire, void *bytes, size_t size);

void wire_break(struct wire *wire);

#endif
