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
#include <stddef.h>
#include <string.h>

#include "device/virtio/vsock_parts.h"

#define QUEUE_SIZE	 128
#define EVENT_QUEUE_SIZE 16
#define FIRST_PORT	 (1u << 30) /* of the host's peers, which have none of their own */

static struct vsock *vsock_of(struct virtio_device *virtio)
{
	return (struct vsock *)((char *)virtio - offsetof(struct vsock, virtio));
}

static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	struct vsock *vsock = vsock_of(virtio);

	vsock_drop_dead(vsock);
	if (queue == VSOCK_FROM_GUEST)
		vsock_take_all(vsock);
	vsock_say_all(vsock);
}

/* --- from the host; on the loop's thread, without the lock --- */

/* A port that no other connection to the same port of the guest has. */
static uint32_t choose_port(struct vsock *vsock, uint32_t guest_port)
{
	do
		vsock->last_port = vsock->last_port < FIRST_PORT || vsock->last_port == UINT32_MAX - 1
					   ? FIRST_PORT
					   : vsock->last_port + 1;
	while (vsock_find(vsock, vsock->last_port, guest_port));
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
		vsock_drop(vsock, connection);
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
		vsock_drop_dead(vsock);
	} else if (connection->state == VSOCK_COMMANDED) {
		take_command(vsock, connection);
	} else {
		connection->is_readable = true;
		event_source_enable(&connection->input, false);
	}
	vsock_say_all(vsock);
	pthread_mutex_unlock(&vsock->virtio.lock);
}

static void output_ready(void *context)
{
	struct vsock_connection *connection = context;
	struct vsock *vsock = connection->device;

	pthread_mutex_lock(&vsock->virtio.lock);
	if (connection->is_dead) {
		vsock_drop_dead(vsock);
	} else if (vsock_connection_flush(connection) < 0) {
		vsock_end(vsock, connection);
	} else {
		vsock_note_taken(connection);
		event_source_enable(&connection->output, connection->waiting_count);
		vsock_finish(vsock, connection);
	}
	vsock_say_all(vsock);
	pthread_mutex_unlock(&vsock->virtio.lock);
}

static void peer_comes(void *context)
{
	struct vsock *vsock = context;
	struct vsock_connection *connection = NULL;
	int fd;

	pthread_mutex_lock(&vsock->virtio.lock);
	vsock_drop_dead(vsock);
	fd = vsock_host_accept(&vsock->host);
	if (fd >= 0)
		connection = vsock_add(vsock, fd, VSOCK_COMMANDED);
	if (connection)
		take_command(vsock, connection);
	vsock_say_all(vsock);
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
		vsock_drop(vsock, vsock->connections);
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
	static const uint16_t sizes[VSOCK_QUEUES] = {QUEUE_SIZE, QUEUE_SIZE, EVENT_QUEUE_SIZE};
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
				      sizeof(struct virtio_vsock_config), sizes, VSOCK_QUEUES, error);
	if (!virtio)
		goto fail;
	vsock = vsock_of(virtio);
	vsock->thread = thread;
	vsock->host = own;
	vsock->guest_cid = guest_cid;
	vsock->input_ready = input_ready;
	vsock->output_ready = output_ready;
	if (watch_listener(vsock, own_virtio_host.loop, error) == 0)
		return virtio;
	destroy(virtio);
	return NULL;

fail:
	loop_thread_destroy(&thread);
	vsock_host_close(&own);
	return NULL;
}
