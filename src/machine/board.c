#include "machine/board.h"

#include <errno.h>
#include <stdlib.h>

#include "device/debug_exit.h"
#include "device/post_port.h"
#include "device/print_port.h"
#include "device/serial16550.h"

#define SERIAL1_PORT 0x3f8
#define SERIAL1_GSI  4

#define BOCHS_CONSOLE_PORT     0xe9
#define BOCHS_CONSOLE_READBACK 0xe9
#define SEABIOS_CONSOLE_PORT   0x402

struct board {
	struct board_config config;
	struct serial16550 *serial;
	struct print_port *bochs_console, *print;
	uint8_t post_code;
};

static struct irq_line irq_for(const struct board *board, unsigned gsi)
{
	struct irq_line line = board->config.irq;

	line.gsi = gsi;
	return line;
}

static int add_serial(struct board *board, struct error *error)
{
	struct irq_line irq = irq_for(board, SERIAL1_GSI);

	board->serial = serial16550_create(board->config.streams.serial, &irq, error);
	if (!board->serial)
		return -ENOMEM;
	return pio_bus_add(board->config.pio, SERIAL1_PORT, SERIAL16550_PORTS, "serial port 1",
			   &serial16550_pio_ops, board->serial, error);
}

static int add_debug_ports(struct board *board, struct error *error)
{
	const struct board_config *config = &board->config;
	int result;

	result = pio_bus_add(config->pio, POST_PORT_FIRST, POST_PORT_PORTS, "POST code port",
			     &post_port_pio_ops, &board->post_code, error);
	if (result == 0 && config->debug_exit_port >= 0)
		result = pio_bus_add(config->pio, config->debug_exit_port, DEBUG_EXIT_PORTS,
				     "debug exit", &debug_exit_pio_ops, &board->config.power, error);
	if (result == 0 && config->print_port >= 0) {
		board->print = print_port_create(config->streams.print, 0xff, error);
		if (!board->print)
			return -ENOMEM;
		result = pio_bus_add(config->pio, config->print_port, 1, "print port",
				     &print_port_pio_ops, board->print, error);
	}
	if (result == 0 && config->streams.debug_console) {
		board->bochs_console = print_port_create(config->streams.debug_console,
							 BOCHS_CONSOLE_READBACK, error);
		if (!board->bochs_console)
			return -ENOMEM;
		/* A print port at the same place takes the console's. */
		if (config->print_port != BOCHS_CONSOLE_PORT)
			result = pio_bus_add(config->pio, BOCHS_CONSOLE_PORT, 1, "debug console",
					     &print_port_pio_ops, board->bochs_console, error);
		if (result == 0 && config->print_port != SEABIOS_CONSOLE_PORT)
			result = pio_bus_add(config->pio, SEABIOS_CONSOLE_PORT, 1, "debug console",
					     &print_port_pio_ops, board->bochs_console, error);
	}
	return result;
}

struct board *board_create(const struct board_config *config, struct error *error)
{
	struct board *board = calloc(1, sizeof(*board));

	if (!board) {
		error_set_errno(error, ENOMEM, "cannot create the board");
		return NULL;
	}
	board->config = *config;
	if (add_serial(board, error) < 0 || add_debug_ports(board, error) < 0) {
		board_destroy(board);
		return NULL;
	}
	return board;
}

void board_destroy(struct board *board)
{
	if (!board)
		return;
	print_port_destroy(board->bochs_console);
	print_port_destroy(board->print);
	serial16550_destroy(board->serial);
	free(board);
}

void board_reset(struct board *board)
{
	serial16550_reset(board->serial);
	board->post_code = 0;
}
