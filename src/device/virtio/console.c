/*
 * Queues (§5.3.2): 0 and 1 carry port 0 to the guest and from it, 2 and 3 the control messages, and 2n + 2 and
 * 2n + 3 port n from 1 on.
 *
 * A driver that knows of ports says so, is told of each, and answers; what is to be said to it waits as bits
 * of each port until it has given a buffer for it. What the guest writes goes to the port's stream as long
 * as that is ready, and waits in the queue otherwise. What comes from the stream waits in a small buffer of
 * the port until the guest has it open and has given room; the stream waits behind that.
 *
 * Streams have no end that we would see: a port is open on the host's side always. That the guest opens and closes a
 * port its owner hears.
 */
#include "device/virtio/console.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "util/clock.h"

#define QUEUE_SIZE	   64
#define INPUT_BYTES	   4096
#define CHAIN_MAX	   (1u << 20) /* what goes to a stream of one chain; no driver sends more */
#define QUEUE_CONTROL_IN   2
#define QUEUE_CONTROL_OUT  3

/* What a port's driver is still to be told, in this order. */
enum { TELL_ADD, TELL_CONSOLE, TELL_NAME, TELL_OPEN, TELLS };

struct port {
	struct console *console;
	struct char_stream *stream;
	struct char_watch ready; /* the stream takes more */
	unsigned number;
	char name[VIRTIO_CONSOLE_NAME_MAX + 1];
	bool is_console;
	/* With the device's lock held: */
	uint8_t told; /* bits of what is to be told */
	bool is_open; /* by the guest */
	bool heard_open; /* ... as the listener has heard */
	uint8_t loaded_told;
	bool loaded_open;
	uint8_t input[INPUT_BYTES]; /* bytes for the guest: `input_count` of them */
	size_t input_count;
};

struct console {
	struct virtio_device virtio;
	struct virtio_console_listener listener;
	struct event_timer change; /* the listener is to hear of what has changed; if there is one */
	unsigned count;
	struct port ports[VIRTIO_CONSOLE_PORTS_MAX];
};

static struct console *console_of(struct virtio_device *virtio)
{
	return (struct console *)((char *)virtio - offsetof(struct console, virtio));
}

static unsigned queue_in(const struct port *port)
{
	return port->number ? 2 * port->number + 2 : 0;
}

/* --- to the guest; with the lock held --- */

/* Whether the guest wants what comes: without ports there is nobody to say so. */
static bool takes_input(const struct port *port)
{
	return port->is_open || !virtio_has(&port->console->virtio, VIRTIO_CONSOLE_F_MULTIPORT);
}

static void deliver_input(struct port *port)
{
	struct virtio_device *virtio = &port->console->virtio;
	struct virtqueue_chain *chain;
	size_t written;

	while (port->input_count && takes_input(port) && virtio_pop(virtio, queue_in(port), &chain)) {
		written = virtqueue_write(chain, 0, port->input, port->input_count);
		port->input_count -= written;
		memmove(port->input, port->input + written, port->input_count);
		virtio_push(virtio, queue_in(port), chain, written);
	}
	if (port->input_count < INPUT_BYTES)
		char_resume_input(port->stream);
	/* Buffers of a port that takes nothing wait until it does: not noticed again and again. */
	if (virtqueue_want_notices(&virtio->queues[queue_in(port)].ring, true) && port->input_count && takes_input(port))
		virtio_notify(virtio, queue_in(port));
}

static size_t stream_room(void *context)
{
	struct port *port = context;
	struct virtio_device *virtio = &port->console->virtio;
	size_t room = 0;

	pthread_mutex_lock(&virtio->lock);
	if (virtio_is_running(virtio) && takes_input(port))
		room = INPUT_BYTES - port->input_count;
	pthread_mutex_unlock(&virtio->lock);
	return room;
}

static void stream_receive(void *context, const uint8_t *data, size_t size)
{
	struct port *port = context;
	struct virtio_device *virtio = &port->console->virtio;

	pthread_mutex_lock(&virtio->lock);
	/* A reset may have come in between. */
	if (size <= INPUT_BYTES - port->input_count) {
		memcpy(port->input + port->input_count, data, size);
		port->input_count += size;
		deliver_input(port);
	}
	pthread_mutex_unlock(&virtio->lock);
}

/* --- from the guest; with the lock held --- */

static void write_out(const struct port *port, const struct virtqueue_chain *chain)
{
	size_t left = CHAIN_MAX, bytes;
	unsigned i;

	for (i = 0; i < chain->readable && left; i++) {
		bytes = chain->parts[i].iov_len < left ? chain->parts[i].iov_len : left;
		char_write(port->stream, chain->parts[i].iov_base, bytes);
		left -= bytes;
	}
}

static void take_output(struct port *port)
{
	struct virtio_device *virtio = &port->console->virtio;
	unsigned queue = queue_in(port) + 1;
	struct virtqueue_chain *chain;

	/* Not ready: stream_ready comes. */
	while (char_is_ready(port->stream) && virtio_pop(virtio, queue, &chain)) {
		write_out(port, chain);
		virtio_push(virtio, queue, chain, 0);
	}
	if (virtqueue_want_notices(&virtio->queues[queue].ring, true) && char_is_ready(port->stream))
		virtio_notify(virtio, queue);
}

static void stream_ready(void *context)
{
	struct port *port = context;

	virtio_notify(&port->console->virtio, queue_in(port) + 1);
}

/* --- control messages (§5.3.6.2); with the lock held --- */

static void tell(struct console *console, struct port *port, unsigned what)
{
	static const uint16_t events[TELLS] = {VIRTIO_CONSOLE_PORT_ADD, VIRTIO_CONSOLE_CONSOLE_PORT,
					       VIRTIO_CONSOLE_PORT_NAME, VIRTIO_CONSOLE_PORT_OPEN};
	const struct virtio_console_control message = {port->number, events[what], 1};
	struct virtqueue_chain *chain;
	size_t size = sizeof(message);

	if (!virtio_pop(&console->virtio, QUEUE_CONTROL_IN, &chain))
		return;
	port->told &= ~(1u << what);
	virtqueue_write(chain, 0, &message, sizeof(message));
	if (what == TELL_NAME)
		size += virtqueue_write(chain, size, port->name, strlen(port->name));
	virtio_push(&console->virtio, QUEUE_CONTROL_IN, chain, size);
}

static bool has_to_tell(const struct console *console)
{
	unsigned i;

	for (i = 0; i < console->count; i++)
		if (console->ports[i].told)
			return true;
	return false;
}

static void tell_all(struct console *console)
{
	struct virtqueue *ring = &console->virtio.queues[QUEUE_CONTROL_IN].ring;
	unsigned i, what;

	do {
		for (i = 0; i < console->count; i++)
			for (what = 0; what < TELLS; what++)
				if (console->ports[i].told & 1u << what)
					tell(console, &console->ports[i], what);
	} while (virtqueue_want_notices(ring, true) && has_to_tell(console) &&
		 virtio_is_running(&console->virtio));
}

/* With the lock held, on any thread. */
static void note_change(struct console *console)
{
	if (console->listener.changed)
		event_timer_set(&console->change, monotonic_ns(), 0);
}

/* The loop's thread. */
static void tell_change(void *context)
{
	struct console *console = context;
	struct port *port;
	unsigned i;
	bool is_open, has_changed;

	for (i = 0; i < console->count; i++) {
		port = &console->ports[i];
		pthread_mutex_lock(&console->virtio.lock);
		is_open = port->is_open;
		has_changed = is_open != port->heard_open;
		port->heard_open = is_open;
		pthread_mutex_unlock(&console->virtio.lock);
		if (has_changed)
			console->listener.changed(console->listener.context, i, is_open);
	}
}

static void obey(struct console *console, const struct virtio_console_control *message)
{
	struct port *port = message->id < console->count ? &console->ports[message->id] : NULL;
	unsigned i;

	switch (message->event) {
	case VIRTIO_CONSOLE_DEVICE_READY:
		for (i = 0; i < console->count && message->value; i++)
			console->ports[i].told |= 1u << TELL_ADD;
		break;
	case VIRTIO_CONSOLE_PORT_READY:
		if (port && message->value)
			port->told |= 1u << TELL_OPEN |
				      (port->is_console ? 1u << TELL_CONSOLE : 1u << TELL_NAME);
		break;
	case VIRTIO_CONSOLE_PORT_OPEN:
		if (!port)
			break;
		port->is_open = message->value;
		note_change(console);
		if (port->is_open)
			deliver_input(port);
		break;
	default: break;
	}
}

static void take_messages(struct console *console)
{
	struct virtio_device *virtio = &console->virtio;
	struct virtio_console_control message;
	struct virtqueue_chain *chain;

	while (virtio_pop(virtio, QUEUE_CONTROL_OUT, &chain)) {
		if (virtqueue_read(chain, 0, &message, sizeof(message)) == sizeof(message))
			obey(console, &message);
		virtio_push(virtio, QUEUE_CONTROL_OUT, chain, 0);
	}
	if (virtqueue_want_notices(&virtio->queues[QUEUE_CONTROL_OUT].ring, true))
		virtio_notify(virtio, QUEUE_CONTROL_OUT);
	tell_all(console);
}

static void queue_notified(struct virtio_device *virtio, unsigned queue)
{
	struct console *console = console_of(virtio);
	struct port *port = &console->ports[queue < QUEUE_CONTROL_IN ? 0 : queue / 2 - 1];

	if (queue == QUEUE_CONTROL_IN)
		tell_all(console);
	else if (queue == QUEUE_CONTROL_OUT)
		take_messages(console);
	else if (queue % 2)
		take_output(port);
	else
		deliver_input(port);
}

/* --- configuration and life --- */

static void read_config(struct virtio_device *virtio, unsigned offset, unsigned size, uint8_t *bytes)
{
	const struct virtio_console_config config = {.max_nr_ports = console_of(virtio)->count};

	memcpy(bytes, (const uint8_t *)&config + offset, size);
}

/* A character of a driver that has nothing else yet (§5.3.4). */
static void write_config(struct virtio_device *virtio, unsigned offset, unsigned size,
			 const uint8_t *bytes)
{
	(void)size;
	if (offset == offsetof(struct virtio_console_config, emerg_wr))
		char_write(console_of(virtio)->ports[0].stream, bytes, 1);
}

static void reset(struct virtio_device *virtio)
{
	struct console *console = console_of(virtio);
	unsigned i;

	for (i = 0; i < console->count; i++) {
		console->ports[i].told = 0;
		console->ports[i].is_open = false;
		console->ports[i].input_count = 0;
	}
	note_change(console);
}

static void transfer(struct virtio_device *virtio, struct state_stream *state)
{
	struct console *console = console_of(virtio);
	struct port *port;
	unsigned i;

	for (i = 0; i < console->count; i++) {
		port = &console->ports[i];
		if (!state->is_loading) {
			port->loaded_told = port->told;
			port->loaded_open = port->is_open;
		}
		state_u8(state, "port told", &port->loaded_told);
		state_check(state, "port told", port->loaded_told < 1u << TELLS);
		state_bool(state, "port open", &port->loaded_open);
	}
}

static void loaded(struct virtio_device *virtio)
{
	struct console *console = console_of(virtio);
	unsigned i;

	for (i = 0; i < console->count; i++) {
		console->ports[i].told = console->ports[i].loaded_told;
		console->ports[i].is_open = console->ports[i].loaded_open;
	}
	note_change(console);
}

static void destroy(struct virtio_device *virtio)
{
	static const struct char_reader none = {.room = NULL};
	struct console *console = console_of(virtio);
	unsigned i;

	for (i = 0; i < console->count; i++) {
		char_unwatch(console->ports[i].stream, &console->ports[i].ready);
		char_set_reader(console->ports[i].stream, &none);
	}
	if (console->listener.changed)
		event_timer_destroy(&console->change);
	virtio_destroy(virtio);
}

static const struct virtio_kind kind = {
	.id = VIRTIO_ID_CONSOLE,
	.name = "virtio-console",
	.read_config = read_config,
	.write_config = write_config,
	.reset = reset,
	.queue_notified = queue_notified,
	.transfer = transfer,
	.loaded = loaded,
	.destroy = destroy,
};

static void open_port(struct console *console, unsigned number,
		      const struct virtio_console_port *config)
{
	struct port *port = &console->ports[number];

	*port = (struct port){
		.console = console,
		.stream = config->stream,
		.number = number,
		.is_console = !config->name,
		.ready = {stream_ready, port, NULL},
	};
	if (config->name)
		strncpy(port->name, config->name, VIRTIO_CONSOLE_NAME_MAX);
	char_set_reader(port->stream,
			&(struct char_reader){.room = stream_room,
					      .receive = stream_receive,
					      .context = port});
	char_watch(port->stream, &port->ready);
}

struct virtio_device *virtio_console_create(const struct virtio_host *host,
					    const struct virtio_console_port *ports, unsigned count,
					    const struct virtio_console_listener *listener, struct error *error)
{
	const uint64_t features =
		1ull << VIRTIO_CONSOLE_F_MULTIPORT | 1ull << VIRTIO_CONSOLE_F_EMERG_WRITE;
	uint16_t sizes[2 * VIRTIO_CONSOLE_PORTS_MAX + 2];
	struct virtio_device *virtio;
	struct console *console;
	unsigned i;
	int result;

	for (i = 0; i < 2 * count + 2; i++)
		sizes[i] = QUEUE_SIZE;
	virtio = virtio_device_create(sizeof(*console), &kind, host, features,
				      sizeof(struct virtio_console_config), sizes, 2 * count + 2,
				      error);
	if (!virtio)
		return NULL;
	console = console_of(virtio);
	console->count = count;
	if (listener && listener->changed) {
		result = event_timer_init(&console->change, host->loop, tell_change, console);
		if (result < 0) {
			error_set_errno(error, -result, "cannot watch a console's ports");
			virtio_destroy(virtio);
			return NULL;
		}
		console->listener = *listener;
	}
	for (i = 0; i < count; i++)
		open_port(console, i, &ports[i]);
	return virtio;
}
