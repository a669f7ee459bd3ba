/*
 * What the files of the socket device share. All of it with the device's lock held, but for what is constant.
 *
 * vsock_table.c has the connections, vsock_send.c tells the guest what there is to tell, vsock_receive.c
 * takes what the guest sends, and vsock.c is the device: what the host's side says, configuration, its life.
 */
#ifndef KVIK_DEVICE_VIRTIO_VSOCK_PARTS_H
#define KVIK_DEVICE_VIRTIO_VSOCK_PARTS_H

#include <linux/vm_sockets.h>

#include "device/virtio/virtio.h"
#include "device/virtio/vsock_connection.h"
#include "net/vsock.h"
#include "util/loop_thread.h"

#define VSOCK_CONNECTIONS_MAX 256
#define VSOCK_REFUSALS_MAX    64
#define VSOCK_PACKET_MAX      65536 /* bytes of data to the guest at once */
#define VSOCK_HEADER_BYTES    sizeof(struct virtio_vsock_hdr)

enum vsock_queue { VSOCK_TO_GUEST, VSOCK_FROM_GUEST, VSOCK_EVENTS, VSOCK_QUEUES };

struct vsock_refusal {
	uint32_t host_port, guest_port;
};

struct vsock {
	struct virtio_device virtio;
	struct vsock_host host;	      /* owned */
	struct loop_thread thread;    /* its own, where the host lets it have one */
	struct event_source listener; /* enabled while there can be more connections */
	uint32_t guest_cid;
	/* Of each connection's socket, on the loop's thread without the lock; context: the connection. */
	void (*input_ready)(void *context), (*output_ready)(void *context);
	/* With the lock held: */
	struct vsock_connection *connections;
	unsigned count;
	uint32_t last_port;
	struct vsock_refusal refusals[VSOCK_REFUSALS_MAX];
	unsigned refusal_count;
	bool has_lost_all; /* the guest is to be told so */
	uint8_t data[VSOCK_PACKET_MAX];
};

/* -- vsock_table.c; what frees a connection on the loop's thread alone -- */

/* The living connection of the two ports, or NULL. */
struct vsock_connection *vsock_find(struct vsock *vsock, uint32_t host_port, uint32_t guest_port);
/* A new one over the socket `fd`, which it owns. NULL: there can be no more, and `fd` is closed. */
struct vsock_connection *vsock_add(struct vsock *vsock, int fd, enum vsock_state state);
/* Take it out and free it; the guest hears nothing. */
void vsock_drop(struct vsock *vsock, struct vsock_connection *connection);
/* All that were killed. */
void vsock_drop_dead(struct vsock *vsock);
/* The guest is to be told that there is no such connection, unless too much waits already. */
void vsock_refuse(struct vsock *vsock, uint32_t host_port, uint32_t guest_port);
/* It is over, and the guest hears of that. */
void vsock_end(struct vsock *vsock, struct vsock_connection *connection);
/* What the guest has said to be its end takes effect when the host has all. False: it is gone. */
bool vsock_finish(struct vsock *vsock, struct vsock_connection *connection);
/* The host has taken some of what the guest sent: it may be time to say so. */
void vsock_note_taken(struct vsock_connection *connection);

/* -- vsock_send.c: say what there is to say, as far as there are buffers -- */
void vsock_say_all(struct vsock *vsock);

/* -- vsock_receive.c: take what the guest has sent -- */
void vsock_take_all(struct vsock *vsock);

#endif
