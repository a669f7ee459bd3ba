/*
 * Queues: 0 carries packets to the guest, 1 from it, 2 events (§5.10.2). What a program of the host's sends is
 * read when the guest has room for it and a buffer in the queue, and goes no further than its socket before.
 * What the guest sends goes to the host's socket, or waits in the connection's buffer, of whose size the
 * guest knows (§5.10.6.3).
 *
 * What is to be said waits as bits of each connection until there is a buffer, so a guest that gives none
 * costs no memory. Refusals have no connection: a fixed number waits, and more are lost, as on any network.
 *
 * Connections end with a reset, and with the saving of a machine: one that is loaded is told that its
 * sockets are gone (§5.10.6.7). They are freed on the loop's thread alone, where their events are handled;
 * elsewhere they are killed: their peers see that at once.
 */
#include "device/virtio/vsock.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "device/virtio/vsock_connection.h"
#include "util/loop_thread.h"

#define QUEUE_SIZE	 128
#define EVENT_QUEUE_SIZE 16
#define CONNECTIONS_MAX	 256
#define REFUSALS_MAX	 64
#define PACKET_MAX	 65536 /* bytes of data to the guest at once */
#define PACKETS_AT_ONCE	 256
#define PARTS_AT_ONCE	 16
#define FIRST_PORT	 (1u << 30) /* of the host's peers, which have none of their own */
#define HEADER_BYTES	 sizeof(struct virtio_vsock_hdr)

enum { QUEUE_TO_GUEST, QUEUE_FROM_GUEST, QUEUE_EVENTS, QUEUES };

struct refusal {
	uint32_t host_port, guest_port;
};

struct vsock {
	struct virtio_device virtio;
	struct vsock_host host;	      /* owned */
	struct loop_thread thread;    /* its own, where the host lets it have one */
	struct event_source listener; /* enabled while there can be more connections */
	uint32_t guest_cid;
	/* With the lock held: */
	struct vsock_connection *connections;
	unsigned count;
	uint32_t last_port;
	struct refusal refusals[REFUSALS_MAX];
	unsigned refusal_count;
	bool has_lost_all; /* the guest is to be told so */
	uint8_t data[PACKET_MAX];
};

static struct vsock *vsock_of(struct virtio_device *virtio)
{
	return (struct vsock *)((char *)virtio - offsetof(struct vsock, virtio));
}

/* --- connections; with the lock held, on the loop's thread --- */

static struct vsock_connection *find(struct vsock *vsock, uint32_t host_port, uint32_t guest_port)
{
	struct vsock_connection *connection;

	for (connection = vsock->connections; connection; connection = connection->next)
		if (!connection->is_dead && connection->state != VSOCK_COMMANDED &&
		    connection->host_port == host_port && connection->guest_port == guest_port)
			return connection;
	return NULL;
}

static void drop(struct vsock *vsock, struct vsock_connection *connection)
{
	struct vsock_connection **place = &vsock->connections;

	while (*place != connection)
		place = &(*place)->next;
	*place = connection->next;
	vsock_connection_destroy(connection);
	vsock->count--;
	event_source_enable(&vsock->listener, true);
}

static void drop_dead(struct vsock *vsock)
{
	struct vsock_connection *connection, *next;

	for (connection = vsock->connections; connection; connection = next) {
		next = connection->next;
		if (connection->is_dead)
			drop(vsock, connection);
	}
}

static void refuse(struct vsock *vsock, uint32_t host_port, uint32_t guest_port)
{
	if (vsock->refusal_count < REFUSALS_MAX)
		vsock->refusals[vsock->refusal_count++] = (struct refusal){host_port, guest_port};
}

/* It is over, and the guest hears of that. */
static void end(struct vsock *vsock, struct vsock_connection *connection)
{
	if (connection->state != VSOCK_COMMANDED)
		refuse(vsock, connection->host_port, connection->guest_port);
	drop(vsock, connection);
}

/* What the guest has said to be its end takes effect when the host has all. False: it is gone. */
static bool finish(struct vsock *vsock, struct vsock_connection *connection)
{
	if (connection->waiting_count || !connection->guest_ended)
		return true;
	if (connection->guest_is_deaf) {
		end(vsock, connection);
		return false;
	}
	shutdown(connection->fd, SHUT_WR);
	return true;
}

static void note_taken(struct vsock_connection *connection)
{
	if (connection->taken - connection->taken_told >= VSOCK_BUFFER_BYTES / 2)
		connection->tell |= VSOCK_TELL_CREDIT;
}

static void input_ready(void *context);
static void output_ready(void *context);

/* NULL: there can be no more, and `fd` is closed. */
static struct vsock_connection *add(struct vsock *vsock, int fd, enum vsock_state state)
{
	struct vsock_connection *connection = NULL;
	int result = 0;

	if (vsock->count < CONNECTIONS_MAX)
		connection = vsock_connection_create(vsock, fd);
	if (!connection) {
		close(fd);
		return NULL;
	}
	connection->state = state;
	connection->input = (struct event_source){.fd = fd, .ready = input_ready, .context = connection};
	connection->output = (struct event_source){.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3), .for_output = true,
						   .ready = output_ready, .context = connection};
	if (connection->output.fd < 0)
		result = -errno;
	if (result == 0 && vsock->virtio.loop)
		result = event_loop_add(vsock->virtio.loop, &connection->input);
	if (result == 0 && vsock->virtio.loop)
		result = event_loop_add(vsock->virtio.loop, &connection->output);
	if (result < 0) {
		vsock_connection_destroy(connection);
		return NULL;
	}
	event_source_enable(&connection->output, false);
	connection->next = vsock->connections;
	vsock->connections = connection;
	if (++vsock->count == CONNECTIONS_MAX)
		event_source_enable(&vsock->listener, false);
	return connection;
}

/* --- to the guest --- */

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
	if (!virtio_pop(&vsock->virtio, QUEUE_TO_GUEST, chain))
		return false;
	if ((*chain)->writable_bytes > HEADER_BYTES)
		return true;
	virtio_break(&vsock->virtio, "a buffer has no room for a packet");
	virtqueue_drop(*chain);
	return false;
}

static void send_packet(struct vsock *vsock, struct virtqueue_chain *chain,
			const struct virtio_vsock_hdr *header)
{
	struct virtqueue_filled filled = {chain, HEADER_BYTES + le32toh(header->len)};

	virtqueue_write(chain, 0, header, HEADER_BYTES);
	virtqueue_write(chain, HEADER_BYTES, vsock->data, le32toh(header->len));
	virtqueue_push_all(&vsock->virtio.queues[QUEUE_TO_GUEST].ring, &filled, 1);
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
	const struct refusal *refusal = &vsock->refusals[0];
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
	if (room > chain->writable_bytes - HEADER_BYTES)
		room = chain->writable_bytes - HEADER_BYTES;
	if (room > PACKET_MAX)
		room = PACKET_MAX;
	size = read(connection->fd, vsock->data, room);
	if (size > 0) {
		connection->sent += size;
		send_of(vsock, connection, chain, VIRTIO_VSOCK_OP_RW, size, 0);
		return true;
	}
	virtqueue_unpop(&vsock->virtio.queues[QUEUE_TO_GUEST].ring, chain);
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

	if (!vsock->has_lost_all || !virtio_pop(&vsock->virtio, QUEUE_EVENTS, &chain))
		return;
	vsock->has_lost_all = false;
	written = virtqueue_write(chain, 0, &event, sizeof(event));
	virtio_push(&vsock->virtio, QUEUE_EVENTS, chain, written);
}

static void say_all(struct vsock *vsock)
{
	struct virtio_device *virtio = &vsock->virtio;
	struct virtqueue *ring = &virtio->queues[QUEUE_TO_GUEST].ring;
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
			virtio_notify(virtio, QUEUE_TO_GUEST);
			break;
		}
	} while (has_something_to_say(vsock) && virtqueue_want_notices(ring, true) &&
		 virtio_is_running(virtio));
	virtio_interrupt(virtio, QUEUE_TO_GUEST);
}

/* --- from the guest --- */

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
	int fd = vsock->count < CONNECTIONS_MAX ? vsock_host_connect(&vsock->host, host_port) : -EBUSY;

	if (fd >= 0)
		connection = add(vsock, fd, VSOCK_OPEN);
	if (!connection) {
		refuse(vsock, host_port, guest_port);
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
		end(vsock, connection);
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
	uint64_t at = HEADER_BYTES;
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
		end(vsock, connection);
		return;
	}
	note_taken(connection);
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
	finish(vsock, connection);
}

static void take_of(struct vsock *vsock, struct vsock_connection *connection,
		    const struct virtio_vsock_hdr *header, const struct virtqueue_chain *chain)
{
	note_room(connection, header);
	switch (le16toh(header->op)) {
	case VIRTIO_VSOCK_OP_RESPONSE: answered(vsock, connection); break;
	case VIRTIO_VSOCK_OP_RST: drop(vsock, connection); break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		take_shutdown(vsock, connection, le32toh(header->flags));
		break;
	case VIRTIO_VSOCK_OP_RW: take_data(vsock, connection, chain, le32toh(header->len)); break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE: break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST: connection->tell |= VSOCK_TELL_CREDIT; break;
	/* A request for what is there already, or nothing that we know. */
	default: end(vsock, connection); break;
	}
}

/* False: the driver has broken a rule. */
static bool take_packet(struct vsock *vsock, const struct virtqueue_chain *chain)
{
	struct vsock_connection *connection;
	struct virtio_vsock_hdr header;
	uint32_t host_port, guest_port;

	if (virtqueue_read(chain, 0, &header, HEADER_BYTES) < HEADER_BYTES ||
	    le32toh(header.len) > chain->readable_bytes - HEADER_BYTES) {
		virtio_break(&vsock->virtio, "a packet is shorter than it says");
		return false;
	}
	/* In others' names, or to others: lost (§5.10.6.4.1). */
	if (le64toh(header.src_cid) != vsock->guest_cid || le64toh(header.dst_cid) != VMADDR_CID_HOST)
		return true;
	host_port = le32toh(header.dst_port);
	guest_port = le32toh(header.src_port);
	connection = find(vsock, host_port, guest_port);
	if (le16toh(header.type) != VIRTIO_VSOCK_TYPE_STREAM)
		refuse(vsock, host_port, guest_port);
	else if (connection)
		take_of(vsock, connection, &header, chain);
	else if (le16toh(header.op) == VIRTIO_VSOCK_OP_REQUEST)
		connect_to_host(vsock, &header);
	else if (le16toh(header.op) != VIRTIO_VSOCK_OP_RST)
		refuse(vsock, host_port, guest_port);
	return true;
}

static void take_all(struct vsock *vsock)
{
	struct virtio_device *virtio = &vsock->virtio;
	struct virtqueue *ring = &virtio->queues[QUEUE_FROM_GUEST].ring;
	struct virtqueue_filled filled = {NULL, 0};

	do {
		virtqueue_want_notices(ring, false);
		while (virtio_pop(virtio, QUEUE_FROM_GUEST, &filled.chain)) {
			if (!take_packet(vsock, filled.chain)) {
				virtqueue_drop(filled.chain);
				return;
			}
			virtqueue_push_all(ring, &filled, 1);
		}
		virtio_interrupt(virtio, QUEUE_FROM_GUEST);
	} while (virtqueue_want_notices(ring, true) && virtio_is_running(virtio));
}

static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	struct vsock *vsock = vsock_of(virtio);

	drop_dead(vsock);
	if (queue == QUEUE_FROM_GUEST)
		take_all(vsock);
	say_all(vsock);
}

/* --- from the host; on the loop's thread, without the lock --- */

/* A port that no other connection to the same port of the guest has. */
static uint32_t choose_port(struct vsock *vsock, uint32_t guest_port)
{
	do
		vsock->last_port = vsock->last_port < FIRST_PORT || vsock->last_port == UINT32_MAX - 1
					   ? FIRST_PORT
					   : vsock->last_port + 1;
	while (find(vsock, vsock->last_port, guest_port));
	return vsock->last_port;
}

/* A peer has said more of what it wants. */
static void take_command(struct vsock *vsock, struct vsock_connection *connection)
{
	int result = vsock_connection_read_command(connection);

	if (result == 0)
		return;
	/* There must be somebody to ask; a machine that doesn't run now has its driver still. */
	if (result < 0 || !(vsock->virtio.status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		drop(vsock, connection);
		return;
	}
	connection->host_port = choose_port(vsock, connection->guest_port);
	connection->state = VSOCK_REQUESTED;
	connection->tell = VSOCK_TELL_REQUEST;
	event_source_enable(&connection->input, false);
}

static void input_ready(void *context)
{
	struct vsock_connection *connection = context;
	struct vsock *vsock = connection->device;

	pthread_mutex_lock(&vsock->virtio.lock);
	if (connection->is_dead) {
		drop_dead(vsock);
	} else if (connection->state == VSOCK_COMMANDED) {
		take_command(vsock, connection);
	} else {
		connection->is_readable = true;
		event_source_enable(&connection->input, false);
	}
	say_all(vsock);
	pthread_mutex_unlock(&vsock->virtio.lock);
}

static void output_ready(void *context)
{
	struct vsock_connection *connection = context;
	struct vsock *vsock = connection->device;

	pthread_mutex_lock(&vsock->virtio.lock);
	if (connection->is_dead) {
		drop_dead(vsock);
	} else if (vsock_connection_flush(connection) < 0) {
		end(vsock, connection);
	} else {
		note_taken(connection);
		event_source_enable(&connection->output, connection->waiting_count);
		finish(vsock, connection);
	}
	say_all(vsock);
	pthread_mutex_unlock(&vsock->virtio.lock);
}

static void peer_comes(void *context)
{
	struct vsock *vsock = context;
	struct vsock_connection *connection = NULL;
	int fd;

	pthread_mutex_lock(&vsock->virtio.lock);
	drop_dead(vsock);
	fd = vsock_host_accept(&vsock->host);
	if (fd >= 0)
		connection = add(vsock, fd, VSOCK_COMMANDED);
	if (connection)
		take_command(vsock, connection);
	say_all(vsock);
	pthread_mutex_unlock(&vsock->virtio.lock);
}

/* --- configuration and life --- */

static void read_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes)
{
	const struct virtio_vsock_config config = {htole64(vsock_of(virtio)->guest_cid)};

	memcpy(bytes, (const uint8_t *)&config + offset, size);
}

static void reset(struct virtio_device *virtio)
{
	struct vsock *vsock = vsock_of(virtio);
	struct vsock_connection *connection;

	for (connection = vsock->connections; connection; connection = connection->next)
		vsock_connection_kill(connection);
	vsock->refusal_count = 0;
	vsock->has_lost_all = false;
}

static void loaded(struct virtio_device *virtio)
{
	reset(virtio);
	vsock_of(virtio)->has_lost_all = true;
}

static void destroy(struct virtio_device *virtio)
{
	struct vsock *vsock = vsock_of(virtio);
	struct loop_thread thread;

	loop_thread_stop(&vsock->thread);
	thread = vsock->thread;
	event_loop_remove(&vsock->listener);
	while (vsock->connections)
		drop(vsock, vsock->connections);
	vsock_host_close(&vsock->host);
	virtio_destroy(virtio);
	loop_thread_destroy(&thread);
}

static const struct virtio_kind kind = {
	.id = VIRTIO_ID_VSOCK,
	.name = "virtio-vsock",
	.read_config = read_config,
	.reset = reset,
	.queue_notified = queue_notified,
	.loaded = loaded,
	.destroy = destroy,
};

static int watch_listener(struct vsock *vsock, struct event_loop *loop, struct error *error)
{
	int result;

	if (!loop)
		return 0;
	vsock->listener = (struct event_source){.fd = vsock->host.listener, .ready = peer_comes,
						.context = vsock};
	result = event_loop_add(loop, &vsock->listener);
	if (result < 0)
		return error_set_errno(error, -result, "cannot watch the socket of a guest's sockets");
	return vsock->thread.loop ? loop_thread_start(&vsock->thread, error) : 0;
}

struct virtio_device *virtio_vsock_create(const struct virtio_host *virtio_host,
					  const struct vsock_host *host, uint32_t guest_cid,
					  struct error *error)
{
	static const uint16_t sizes[QUEUES] = {QUEUE_SIZE, QUEUE_SIZE, EVENT_QUEUE_SIZE};
	struct virtio_host own_virtio_host = *virtio_host;
	struct vsock_host own = *host;
	struct loop_thread thread = {0};
	struct virtio_device *virtio;
	struct vsock *vsock;

	if (virtio_host->has_threads) {
		if (loop_thread_create(&thread, "kvik vsock", error) < 0)
			goto fail;
		own_virtio_host.loop = thread.loop;
	}
	virtio = virtio_device_create(sizeof(struct vsock), &kind, &own_virtio_host, 0,
				      sizeof(struct virtio_vsock_config), sizes, QUEUES, error);
	if (!virtio)
		goto fail;
	vsock = vsock_of(virtio);
	vsock->thread = thread;
	vsock->host = own;
	vsock->guest_cid = guest_cid;
	if (watch_listener(vsock, own_virtio_host.loop, error) == 0)
		return virtio;
	destroy(virtio);
	return NULL;

fail:
	loop_thread_destroy(&thread);
	vsock_host_close(&own);
	return NULL;
}
