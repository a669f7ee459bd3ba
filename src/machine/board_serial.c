/* The serial ports of a PC: up to four, of which two each share an interrupt. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "device/char/serial16550.h"
#include "machine/board_parts.h"

/* COM1 to COM4, as PCs have had them since the AT. */
const struct board_serial board_serials[BOARD_SERIALS_MAX] = {
	{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

/* A port's end of an interrupt that two of them drive: it is up while either wants it. */
static void set_shared(void *context, unsigned port, bool level)
{
	struct board_serial_lines *lines = context;
	struct irq_line irq = lines->irq;
	unsigned partner = port ^ 2;

	pthread_mutex_lock(&lines->lock);
	irq.gsi = board_serials[port].gsi;
	lines->levels[port] = level;
	irq_line_set(&irq, level || lines->levels[partner]);
	pthread_mutex_unlock(&lines->lock);
}

struct char_stream *board_serial_stream(const struct board *board, unsigned port)
{
	const struct board_streams *streams = &board->config.streams;

	return port ? streams->more_serial[port - 1] : streams->serial;
}

static int add_port(struct board *board, unsigned port, struct error *error)
{
	struct irq_line irq = {set_shared, &board->serial_lines, port};
	char name[STATE_NAME_MAX + 1];
	struct serial16550 *serial;
	int result;

	snprintf(name, sizeof(name), "serial%u", port + 1);
	serial = serial16550_create(board_serial_stream(board, port), &irq, error);
	if (!serial)
		return -ENOMEM;
	result = board_add(board, name, &serial16550_device_ops, serial, error);
	if (result < 0)
		return result;
	return pio_bus_add(board->config.pio, board_serials[port].port, SERIAL16550_PORTS, "serial port",
			   &serial16550_pio_ops, serial, error);
}

int board_add_serials(struct board *board, struct error *error)
{
	unsigned port;
	int result = 0;

	pthread_mutex_init(&board->serial_lines.lock, NULL);
	board->serial_lines.irq = board->config.irq;
	for (port = 0; port < BOARD_SERIALS_MAX && result == 0; port++)
		if (board_serial_stream(board, port))
			result = add_port(board, port, error);
	return result;
}
