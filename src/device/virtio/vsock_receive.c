/*
 * Packets from the guest (virtio 1.2 §5.10.6). Their data goes to the host's socket, or waits in the
 * connection's buffer.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>

#include "device/virtio/vsock_parts.h"

#define PARTS_AT_ONCE 16

/* Every packet tells what the guest has room for. */
static void note_room(struct vsock_connection *connection, const struct virtio_vsock_hdr *header)
{
	connection->guest_room = le32toh(header->buf_alloc);
	connection->guest_taken = le32toh(header->fwd_cnt);
	if (vsock_connection_credit(connection))
		connection->has_asked = false;
}

static void connect_to_host(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
	uint32_t host_port = le32toh(header->dst_port), guest_port = le32toh(header->src_port);
	struct vsock_connection *connection = NULL;
	int fd = vsock->count < VSOCK_CONNECTIONS_MAX ? vsock_host_connect(&vsock->host, host_port) : -EBUSY;

	if (fd >= 0)
		connection = vsock_add(vsock, fd, VSOCK_OPEN);
	if (!connection) {
		vsock_refuse(vsock, host_port, guest_port);
		return;
	}
	connection->host_port = host_port;
	connection->guest_port = guest_port;
	note_room(connection, header);
	connection->tell = VSOCK_TELL_RESPONSE;
}

static void answered(struct vsock *vsock, struct vsock_connection *connection)
{
	char line[16];
	int size = snprintf(line, sizeof(line), "OK %u\n", connection->host_port);

	if (connection->state != VSOCK_REQUESTED ||
	    vsock_connection_take(connection, &(struct iovec){line, size}, 1) < 0) {
		vsock_end(vsock, connection);
		return;
	}
	connection->taken = connection->taken_told = 0; /* that was ours */
	connection->state = VSOCK_OPEN;
	connection->is_readable = true;
}

static void take_data(struct vsock *vsock, struct vsock_connection *connection,
		      const struct virtqueue_chain *chain, uint32_t size)
{
	struct iovec parts[PARTS_AT_ONCE];
	uint64_t at = VSOCK_HEADER_BYTES;
	unsigned count, i;
	int result = connection->state == VSOCK_OPEN && !connection->guest_ended ? 0 : -EPROTO;

	while (size && result == 0) {
		count = virtqueue_slice(chain, false, at, size, parts, PARTS_AT_ONCE);
		result = count ? 0 : -EPROTO;
		if (result == 0)
			result = vsock_connection_take(connection, parts, count);
		for (i = 0; i < count; i++) {
			at += parts[i].iov_len;
			size -= parts[i].iov_len;
		}
	}
	if (result < 0) {
		vsock_end(vsock, connection);
		return;
	}
	vsock_note_taken(connection);
	if (connection->waiting_count)
		event_source_enable(&connection->output, true);
}

static void take_shutdown(struct vsock *vsock, struct vsock_connection *connection, uint32_t flags)
{
	if (flags & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		connection->guest_is_deaf = true;
		event_source_enable(&connection->input, false);
	}
	if (flags & VIRTIO_VSOCK_SHUTDOWN_SEND)
		connection->guest_ended = true;
	vsock_finish(vsock, connection);
}

static void take_of(struct vsock *vsock, struct vsock_connection *connection,
		    const struct virtio_vsock_hdr *header, const struct virtqueue_chain *chain)
{
	note_room(connection, header);
	switch (le16toh(header->op)) {
	case VIRTIO_VSOCK_OP_RESPONSE: answered(vsock, connection); break;
	case VIRTIO_VSOCK_OP_RST: vsock_drop(vsock, connection); break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		take_shutdown(vsock, connection, le32toh(header->flags));
		break;
	case VIRTIO_VSOCK_OP_RW: take_data(vsock, connection, chain, le32toh(header->len)); break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE: break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST: connection->tell |= VSOCK_TELL_CREDIT; break;
	/* A request for what is there already, or nothing that we know. */
	default: vsock_end(vsock, connection); break;
	}
}

/* False: the driver has broken a rule. */
static bool take_packet(struct vsock *vsock, const struct virtqueue_chain *chain)
{
	struct vsock_connection *connection;
	struct virtio_vsock_hdr header;
	uint32_t host_port, guest_port;

	if (virtqueue_read(chain, 0, &header, VSOCK_HEADER_BYTES) < VSOCK_HEADER_BYTES ||
	    le32toh(header.len) > chain->readable_bytes - VSOCK_HEADER_BYTES) {
		virtio_break(&vsock->virtio, "a packet is shorter than it says");
		return false;
	}
	/* In others' names, or to others: lost (§5.10.6.4.1). */
	if (le64toh(header.src_cid) != vsock->guest_cid || le64toh(header.dst_cid) != VMADDR_CID_HOST)
		return true;
	host_port = le32toh(header.dst_port);
	guest_port = le32toh(header.src_port);
	connection = vsock_find(vsock, host_port, guest_port);
	if (le16toh(header.type) != VIRTIO_VSOCK_TYPE_STREAM)
		vsock_refuse(vsock, host_port, guest_port);
	else if (connection)
		take_of(vsock, connection, &header, chain);
	else if (le16toh(header.op) == VIRTIO_VSOCK_OP_REQUEST)
		connect_to_host(vsock, &header);
	else if (le16toh(header.op) != VIRTIO_VSOCK_OP_RST)
		vsock_refuse(vsock, host_port, guest_port);
	return true;
}

void vsock_take_all(struct vsock *vsock)
{
	struct virtio_device *virtio = &vsock->virtio;
	struct virtqueue *ring = &virtio->queues[VSOCK_FROM_GUEST].ring;
	struct virtqueue_filled filled = {NULL, 0};

	do {
		virtqueue_want_notices(ring, false);
		while (virtio_pop(virtio, VSOCK_FROM_GUEST, &filled.chain)) {
			if (!take_packet(vsock, filled.chain)) {
				virtqueue_drop(filled.chain);
				return;
			}
			virtqueue_push_all(ring, &filled, 1);
		}
		virtio_interrupt(virtio, VSOCK_FROM_GUEST);
	} while (virtqueue_want_notices(ring, true) && virtio_is_running(virtio));
}
