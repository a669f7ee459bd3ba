/*
 * Packets to the guest (virtio 1.2 §5.10.6). What is to be said waits as bits of each connection, and in its
 * socket, until the guest has given a buffer for it.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "device/virtio/vsock_parts.h"

#define PACKETS_AT_ONCE 256

static bool has_data(const struct vsock_connection *connection)
{
	return connection->state == VSOCK_OPEN && connection->is_readable && !connection->guest_is_deaf &&
	       !connection->host_ended;
}

static bool has_something_to_say(const struct vsock *vsock)
{
	const struct vsock_connection *connection;

	if (vsock->refusal_count)
		return true;
	for (connection = vsock->connections; connection; connection = connection->next)
		if (!connection->is_dead &&
		    (connection->tell || (has_data(connection) && vsock_connection_credit(connection))))
			return true;
	return false;
}

/* A chain for a packet. False: there is none, or it is too small, which breaks the device. */
static bool take_chain(struct vsock *vsock, struct virtqueue_chain **chain)
{
	if (!virtio_pop(&vsock->virtio, VSOCK_TO_GUEST, chain))
		return false;
	if ((*chain)->writable_bytes > VSOCK_HEADER_BYTES)
		return true;
	virtio_break(&vsock->virtio, "a buffer has no room for a packet");
	virtqueue_drop(*chain);
	return false;
}

static void send_packet(struct vsock *vsock, struct virtqueue_chain *chain,
			const struct virtio_vsock_hdr *header)
{
	struct virtqueue_filled filled = {chain, VSOCK_HEADER_BYTES + le32toh(header->len)};

	virtqueue_write(chain, 0, header, VSOCK_HEADER_BYTES);
	virtqueue_write(chain, VSOCK_HEADER_BYTES, vsock->data, le32toh(header->len));
	virtqueue_push_all(&vsock->virtio.queues[VSOCK_TO_GUEST].ring, &filled, 1);
}

static struct virtio_vsock_hdr make_header(const struct vsock *vsock, uint16_t operation,
					   uint32_t host_port, uint32_t guest_port)
{
	return (struct virtio_vsock_hdr){
		.src_cid = htole64(VMADDR_CID_HOST),
		.dst_cid = htole64(vsock->guest_cid),
		.src_port = htole32(host_port),
		.dst_port = htole32(guest_port),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(operation),
	};
}

/* A packet of a connection: each tells how much the guest may send. */
static void send_of(struct vsock *vsock, struct vsock_connection *connection,
		    struct virtqueue_chain *chain, uint16_t operation, uint32_t bytes, uint32_t flags)
{
	struct virtio_vsock_hdr header = make_header(vsock, operation, connection->host_port,
						     connection->guest_port);

	header.len = htole32(bytes);
	header.flags = htole32(flags);
	header.buf_alloc = htole32(VSOCK_BUFFER_BYTES);
	header.fwd_cnt = htole32(connection->taken);
	connection->taken_told = connection->taken;
	connection->tell &= ~VSOCK_TELL_CREDIT;
	send_packet(vsock, chain, &header);
}

static bool say_refusal(struct vsock *vsock)
{
	const struct vsock_refusal *refusal = &vsock->refusals[0];
	struct virtio_vsock_hdr header;
	struct virtqueue_chain *chain;

	if (!vsock->refusal_count || !take_chain(vsock, &chain))
		return false;
	header = make_header(vsock, VIRTIO_VSOCK_OP_RST, refusal->host_port, refusal->guest_port);
	send_packet(vsock, chain, &header);
	vsock->refusal_count--;
	memmove(&vsock->refusals[0], &vsock->refusals[1], vsock->refusal_count * sizeof(*refusal));
	return true;
}

/* The first of `bits` that there is. */
static bool say_told(struct vsock *vsock, struct vsock_connection *connection, unsigned bits)
{
	static const uint16_t operations[] = {VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE,
					      VIRTIO_VSOCK_OP_CREDIT_UPDATE,
					      VIRTIO_VSOCK_OP_CREDIT_REQUEST, VIRTIO_VSOCK_OP_SHUTDOWN};
	struct virtqueue_chain *chain;
	unsigned bit;

	bits &= connection->tell;
	if (!bits || !take_chain(vsock, &chain))
		return false;
	bit = __builtin_ctz(bits);
	connection->tell &= ~(1u << bit);
	send_of(vsock, connection, chain, operations[bit], 0,
		1u << bit == VSOCK_TELL_SHUTDOWN ? VIRTIO_VSOCK_SHUTDOWN_SEND : 0);
	return true;
}

/* Nothing came: to be told when something does. */
static void wait_for_input(struct vsock_connection *connection)
{
	connection->is_readable = false;
	event_source_enable(&connection->input, true);
}

static bool say_data(struct vsock *vsock, struct vsock_connection *connection)
{
	uint32_t room = vsock_connection_credit(connection);
	struct virtqueue_chain *chain;
	ssize_t size;

	if (!has_data(connection))
		return false;
	if (!room) {
		if (!connection->has_asked)
			connection->tell |= VSOCK_ASK_CREDIT;
		connection->has_asked = true;
		return false;
	}
	if (!take_chain(vsock, &chain))
		return false;
	if (room > chain->writable_bytes - VSOCK_HEADER_BYTES)
		room = chain->writable_bytes - VSOCK_HEADER_BYTES;
	if (room > VSOCK_PACKET_MAX)
		room = VSOCK_PACKET_MAX;
	size = read(connection->fd, vsock->data, room);
	if (size > 0) {
		connection->sent += size;
		send_of(vsock, connection, chain, VIRTIO_VSOCK_OP_RW, size, 0);
		return true;
	}
	virtqueue_unpop(&vsock->virtio.queues[VSOCK_TO_GUEST].ring, chain);
	if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
		wait_for_input(connection);
	} else {
		/* What is still to go the other way goes; a broken socket shows there. */
		connection->host_ended = true;
		connection->tell |= VSOCK_TELL_SHUTDOWN;
	}
	return false;
}

static bool say_of(struct vsock *vsock, struct vsock_connection *connection)
{
	if (connection->is_dead)
		return false;
	return say_told(vsock, connection, VSOCK_TELL_REQUEST | VSOCK_TELL_RESPONSE) ||
	       say_data(vsock, connection) || say_told(vsock, connection, ~0u);
}

/* One thing of each connection, in turn. How many packets that made. */
static unsigned say_round(struct vsock *vsock)
{
	struct vsock_connection *connection;
	unsigned packets = 0;

	while (say_refusal(vsock))
		packets++;
	for (connection = vsock->connections; connection; connection = connection->next)
		packets += say_of(vsock, connection);
	return packets;
}

static void say_event(struct vsock *vsock)
{
	const struct virtio_vsock_event event = {htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)};
	struct virtqueue_chain *chain;
	size_t written;

	if (!vsock->has_lost_all || !virtio_pop(&vsock->virtio, VSOCK_EVENTS, &chain))
		return;
	vsock->has_lost_all = false;
	written = virtqueue_write(chain, 0, &event, sizeof(event));
	virtio_push(&vsock->virtio, VSOCK_EVENTS, chain, written);
}

void vsock_say_all(struct vsock *vsock)
{
	struct virtio_device *virtio = &vsock->virtio;
	struct virtqueue *ring = &virtio->queues[VSOCK_TO_GUEST].ring;
	unsigned packets = 0, more;

	if (!virtio_is_running(virtio))
		return;
	say_event(vsock);
	do {
		do {
			more = say_round(vsock);
			packets += more;
		} while (more && packets < PACKETS_AT_ONCE);
		if (more) {
			/* The guest has its turn, too. */
			virtio_notify(virtio, VSOCK_TO_GUEST);
			break;
		}
	} while (has_something_to_say(vsock) && virtqueue_want_notices(ring, true) &&
		 virtio_is_running(virtio));
	virtio_interrupt(virtio, VSOCK_TO_GUEST);
}
