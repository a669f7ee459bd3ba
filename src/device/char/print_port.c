/*
 * A one-byte output port for guests that have no driver for anything: the Bochs debug console
 * (port 0xe9, "port_e9_hack" of the Bochs user manual), SeaBIOS's and QEMU's debug port 0x402, and
 * the port that `kvik run --print-port` names for a first program of sixteen bytes.
 *
 * It has no state: no lock, nothing to reset. The stream keeps bytes whole, and the guest has no way
 * to learn that it is slow.
 */
#include "device/char/print_port.h"

#include <errno.h>
#include <stdlib.h>

struct print_port {
	struct char_stream *stream;
	uint8_t readback;
};

static uint32_t print_port_read(void *device, uint16_t offset, unsigned size)
{
	const struct print_port *port = device;

	(void)offset;
	(void)size;
	return port->readback;
}

static void print_port_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct print_port *port = device;
	uint8_t byte = value;

	(void)offset;
	(void)size;
	char_write(port->stream, &byte, 1);
}

const struct pio_ops print_port_pio_ops = {
	.read = print_port_read,
	.write = print_port_write,
	.widest_access = 1,
};

struct print_port *print_port_create(struct char_stream *stream, uint8_t readback,
				     struct error *error)
{
	struct print_port *port = calloc(1, sizeof(*port));

	if (!port) {
		error_set_errno(error, ENOMEM, "cannot create a print port");
		return NULL;
	}
	port->stream = stream;
	port->readback = readback;
	return port;
}

const struct device_ops print_port_device_ops = {.version = 1, .destroy = free};
