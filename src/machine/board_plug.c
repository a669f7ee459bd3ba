/* What comes and goes behind root ports while the machine is there. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "machine/board.h"
#include "machine/board_parts.h"
#include "util/log.h"

/* Nobody finds it any more; then it is held, and gone. */
static void remove_device(struct board *board, unsigned index)
{
	struct device *device = &board->devices[index], removed = *device;

	memmove(device, device + 1, (--board->device_count - index) * sizeof(*device));
	device_hold(&removed);
	device_destroy(&removed);
}

static void take_out(struct board *board, unsigned number)
{
	struct pcie_root_port *port = board->root_ports[number - 1];
	struct pci_bus *bus = pcie_root_port_bus(port);
	unsigned i;

	for (i = 0; i < 8; i++)
		if (pci_bus_at(bus, i))
			pci_bus_remove(pci_bus_at(bus, i));
	for (i = board->device_count; i-- > 0;) {
		if (board->devices[i].port != number)
			continue;
		if (board->balloon_port == number)
			board->balloon = NULL;
		if (board->watchdog_port == number)
			board->watchdog = NULL;
		remove_device(board, i);
	}
	pcie_root_port_changed(port);
	log_info("root port %u is empty", number);
	if (board->config.unplugged)
		board->config.unplugged(board->config.unplug_context, number);
}

static bool is_occupied(const struct board *board, unsigned number)
{
	return pci_bus_at(pcie_root_port_bus(board->root_ports[number - 1]), 0);
}

/* I/O thread. The slot may be on again by now: then it is not taken out. */
void board_ports_are_off(void *context)
{
	struct board *board = context;
	uint64_t count;
	uint32_t ports;
	unsigned i;

	if (read(board->off_source.fd, &count, sizeof(count)) < 0)
		return;
	ports = atomic_exchange(&board->switched_off, 0);
	for (i = 0; i < board->root_port_count; i++)
		if ((ports >> i & 1) && is_occupied(board, i + 1) &&
		    pcie_root_port_is_off(board->root_ports[i]))
			take_out(board, i + 1);
}

static unsigned free_number(const struct board *board, const char *format)
{
	char name[STATE_NAME_MAX + 1];
	unsigned number = 0;

	do
		snprintf(name, sizeof(name), "%s%u", format, number);
	while (board_find(board, name) && ++number);
	return number;
}

static int add(struct board *board, const struct board_plug *plug, struct error *error)
{
	if (plug->disk)
		return board_add_virtio_disk(board, plug->disk, free_number(board, "disk"), error);
	if (plug->net)
		return board_add_net(board, plug->net, free_number(board, "net"), error);
	return board_add_option(board, plug->option, error);
}

int board_plug(struct board *board, const struct board_plug *plug, struct error *error)
{
	unsigned place = plug->disk ? plug->disk->pci_place : plug->net ? plug->net->place : plug->option->place;
	unsigned before = board->device_count, i, port = BOARD_PLACE_PORT(place);
	int result;

	result = add(board, plug, error);
	for (i = board->device_count; result < 0 && i-- > before;)
		remove_device(board, i);
	if (result < 0)
		return result;
	for (i = before; i < board->device_count; i++) {
		device_reset(&board->devices[i]);
		if (board->is_released)
			device_release(&board->devices[i]);
	}
	pcie_root_port_changed(board->root_ports[port - 1]);
	return 0;
}

int board_unplug(struct board *board, unsigned number, struct error *error)
{
	struct pcie_root_port *port;

	if (!number || number > board->root_port_count || !is_occupied(board, number))
		return error_set(error, ENODEV, "nothing that can be taken out is there");
	port = board->root_ports[number - 1];
	if (pcie_root_port_is_busy(port))
		return error_set(error, EBUSY, "guest is busy (power indicator blinking)");
	if (pcie_root_port_is_off(port))
		take_out(board, number);
	else if (!pcie_root_port_press_button(port))
		log_info("the guest has no driver for root port %u yet", number);
	return 0;
}
