/* PCI's places: which are free, and the root ports with theirs. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "machine/board.h"
#include "machine/board_parts.h"

static struct pci_bus *bus_of(const struct board *board, unsigned place)
{
	unsigned port = BOARD_PLACE_PORT(place);

	if (port == 0)
		return board->pci;
	return port <= board->root_port_count ? pcie_root_port_bus(board->root_ports[port - 1]) : NULL;
}

int board_find_seat(const struct board *board, const char *name, unsigned place,
		    struct board_seat *seat, struct error *error)
{
	int slot;

	*seat = (struct board_seat){.bus = board->pci};
	if (place == BOARD_ANYWHERE) {
		slot = pci_bus_free_slot(board->pci);
		if (slot < 0)
			return error_set(error, ENOSPC, "%s: no PCI slot is free", name);
		seat->slot_function = PCI_SLOT_FUNCTION(slot, 0);
		return 0;
	}
	seat->bus = bus_of(board, place);
	seat->slot_function = BOARD_PLACE_FUNCTION(place);
	if (!seat->bus)
		return error_set(error, ENODEV, "%s: there is no root port %u", name,
				 BOARD_PLACE_PORT(place));
	if (BOARD_PLACE_PORT(place) && seat->slot_function >= PCI_SLOT_FUNCTION(1, 0))
		return error_set(error, EINVAL, "%s: a root port has slot 0 only", name);
	if (pci_bus_at(seat->bus, seat->slot_function))
		return error_set(error, EEXIST, "%s: PCI slot %u is taken", name,
				 seat->slot_function >> 3);
	return 0;
}

unsigned board_choose_place(const struct board *board, unsigned place)
{
	int slot = place == BOARD_ANYWHERE && board->pci ? pci_bus_free_slot(board->pci) : -1;

	return slot < 0 ? place : BOARD_PLACE(0, PCI_SLOT_FUNCTION(slot, 0));
}

/* A slot, and a function that is not 0. */
static int write_node(char *path, size_t room, const char *node, unsigned slot_function)
{
	if (slot_function & 7)
		return snprintf(path, room, "%s@%x,%x", node, slot_function >> 3, slot_function & 7);
	return snprintf(path, room, "%s@%x", node, slot_function >> 3);
}

const char *board_pci_path(const struct board *board, unsigned place, const char *node,
			   char path[BOARD_BOOT_PATH])
{
	unsigned port = BOARD_PLACE_PORT(place);
	int used = 0;

	if (port) {
		used = write_node(path, BOARD_BOOT_PATH - 1, "pci-bridge",
				  BOARD_PLACE_FUNCTION(board->config.root_ports[port - 1].place));
		path[used++] = '/';
	}
	write_node(path + used, BOARD_BOOT_PATH - used, node, BOARD_PLACE_FUNCTION(place));
	return path;
}

/* A vCPU's thread: it is in an access to configuration space, which taking out would wait for. */
static void port_switched_off(void *context, unsigned slot_function)
{
	struct board *board = context;
	unsigned i;

	for (i = 0; i < board->root_port_count; i++)
		if (BOARD_PLACE_FUNCTION(board->config.root_ports[i].place) == slot_function)
			atomic_fetch_or(&board->switched_off, 1u << i);
	event_signal_raise(&board->off_signal);
}

static int add_root_port(struct board *board, const struct board_root_port *wanted,
			 struct error *error)
{
	struct pcie_root_port_config config = {.port = wanted->port, .slot_number = wanted->slot_number};
	struct pcie_root_port *port;
	struct board_seat seat;
	char name[STATE_NAME_MAX + 1];
	int result = board_find_seat(board, "pcie-root-port", wanted->place, &seat, error);

	if (result < 0)
		return result;
	config.bus = seat.bus;
	config.slot_function = seat.slot_function;
	config.switched_off = port_switched_off;
	config.context = board;
	port = pcie_root_port_create(&config, error);
	if (!port)
		return -ENOMEM;
	snprintf(name, sizeof(name), "root-port%u", board->root_port_count);
	result = board_add(board, name, &pcie_root_port_device_ops, port, error);
	if (result == 0)
		board->root_ports[board->root_port_count++] = port;
	return result;
}

int board_add_root_ports(struct board *board, struct error *error)
{
	unsigned i;
	int result = 0;

	_Static_assert(BOARD_ROOT_PORTS_MAX <= 32, "a bit each");
	for (i = 0; i < board->config.root_port_count && result == 0; i++)
		result = add_root_port(board, &board->config.root_ports[i], error);
	return result;
}

const struct pci_bus *board_pci(const struct board *board)
{
	return board->pci;
}

unsigned board_pci_place(const struct board *board, const struct pci_function *function)
{
	unsigned port;

	if (function->bus == board->pci)
		return BOARD_PLACE(0, function->slot_function);
	for (port = 1; port <= board->root_port_count; port++)
		if (function->bus == pcie_root_port_bus(board->root_ports[port - 1]))
			return BOARD_PLACE(port, function->slot_function);
	return BOARD_ANYWHERE;
}
