/* A console device with serial ports (virtio 1.2 §5.3), each on a character stream. */
#ifndef KVIK_DEVICE_VIRTIO_CONSOLE_H
#define KVIK_DEVICE_VIRTIO_CONSOLE_H

#include "device/char/char.h"
#include "device/virtio/virtio.h"

#define VIRTIO_CONSOLE_PORTS_MAX 16
#define VIRTIO_CONSOLE_NAME_MAX	 63 /* characters of a port's name */

struct virtio_console_port {
	struct char_stream *stream; /* outlives the device; it has no other reader */
	const char *name;	    /* copied; /dev/virtio-ports/NAME in Linux; NULL: a console (hvc0) */
};

/* Who hears on the loop's thread, without the device's lock, that the guest has opened a port, or closed it. */
struct virtio_console_listener {
	void (*changed)(void *context, unsigned port, bool is_open); /* NULL: nobody */
	void *context;
};

/* 1 to VIRTIO_CONSOLE_PORTS_MAX ports; of a driver that knows of no ports the first is the console.
 * `host->loop` is the one that the streams have. NULL, and `error`, on failure. */
struct virtio_device *virtio_console_create(const struct virtio_host *host,
					    const struct virtio_console_port *ports, unsigned count,
					    const struct virtio_console_listener *listener, struct error *error);

#endif
