/*
 * One stream between a program of the host's, at a socket, and one of the guest's: its state, and
 * what each side may still send (virtio 1.2 §5.10.6.3). Knows no queue and no lock: vsock.c does.
 */
#ifndef KVIK_DEVICE_VIRTIO_VSOCK_CONNECTION_H
#define KVIK_DEVICE_VIRTIO_VSOCK_CONNECTION_H

#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <sys/uio.h>

#include "util/event_loop.h"

/* Bytes that the guest may send before the host has taken any. */
#define VSOCK_BUFFER_BYTES (128u * 1024)

/* What the guest is still to be told of a connection, in this order; data comes before the end. */
enum {
	VSOCK_TELL_REQUEST = 1u << 0,
	VSOCK_TELL_RESPONSE = 1u << 1,
	VSOCK_TELL_CREDIT = 1u << 2,
	VSOCK_ASK_CREDIT = 1u << 3,
	VSOCK_TELL_SHUTDOWN = 1u << 4,
};

enum vsock_state {
	VSOCK_COMMANDED, /* a peer of the host's has still to say which port it wants */
	VSOCK_REQUESTED, /* the guest has still to answer */
	VSOCK_OPEN,
};

struct vsock_connection {
	struct vsock_connection *next;
	void *device; /* whose it is */
	int fd;
	struct event_source input, output; /* the latter of a second descriptor; its fd is -1: none yet */
	enum vsock_state state;
	uint32_t host_port, guest_port;
	uint8_t tell;
	bool is_dead;	  /* shut down, to be freed on the loop's thread */
	bool is_readable; /* perhaps: `input` is not watched then */
	bool host_ended;  /* sends nothing any more */
	bool guest_ended, guest_is_deaf; /* VIRTIO_VSOCK_SHUTDOWN_SEND, _RCV */
	bool has_asked;	  /* for credit, since there was any */
	char command[32]; /* of a peer, as far as it was read */
	unsigned command_bytes;
	/* Credit, in bytes since the beginning; they wrap. */
	uint32_t taken, taken_told; /* the guest's that the host has taken; as the guest knows */
	uint32_t sent;		    /* to the guest */
	uint32_t guest_room, guest_taken;
	/* The guest's bytes that the host has no room for yet: a ring. NULL: none ever. */
	uint8_t *waiting;
	uint32_t waiting_first, waiting_count;
};

/* NULL: no memory. `fd` belongs to it then, and is not closed otherwise. */
struct vsock_connection *vsock_connection_create(void *device, int fd);
/* Off the loop, closed and freed. On the loop's thread, or while it doesn't run. */
void vsock_connection_destroy(struct vsock_connection *connection);
/* Its peer sees the end at once; nothing is watched any more. Any thread. */
void vsock_connection_kill(struct vsock_connection *connection);

/* Bytes that the guest has room for. */
uint32_t vsock_connection_credit(const struct vsock_connection *connection);

/*
 * Bytes of the guest's for the host: sent, or kept until it has room. 0; -EMSGSIZE: more than it was
 * told of; another -errno: the host's side is broken. `output` is to be watched while something waits.
 */
int vsock_connection_take(struct vsock_connection *connection, const struct iovec *parts,
			  unsigned count);
/* Send what waits. 0 or -errno. */
int vsock_connection_flush(struct vsock_connection *connection);

/*
 * Read more of a peer's command, "CONNECT PORT\n". 1: the port is in `guest_port`; 0: it has not said it all;
 * -errno: it has gone, or said something else.
 */
int vsock_connection_read_command(struct vsock_connection *connection);

#endif
