/* What comes and goes behind root ports, and in the pc's slots, while the machine is there. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

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

static struct pcie_root_port *port_of(const struct board *board, unsigned seat)
{
	unsigned number = BOARD_PLACE_PORT(seat);

	return number && number <= board->root_port_count ? board->root_ports[number - 1] : NULL;
}

static void take_out(struct board *board, unsigned seat)
{
	struct pcie_root_port *port = port_of(board, seat);
	struct pci_bus *bus = port ? pcie_root_port_bus(port) : board->pci;
	unsigned i, first = BOARD_PLACE_FUNCTION(seat);

	for (i = first; i < first + 8; i++)
		if (pci_bus_at(bus, i))
			pci_bus_remove(pci_bus_at(bus, i));
	for (i = board->device_count; i-- > 0;) {
		if (board->devices[i].seat != seat)
			continue;
		board_forget_nics(board, seat);
		board_forget_scsi(board, seat);
		if (board->balloon_seat == seat)
			board->balloon = NULL;
		remove_device(board, i);
	}
	if (port)
		pcie_root_port_changed(port);
	else
		acpi_slots_empty(board->slots, first >> 3);
	log_info("slot %u behind port %u is empty", first >> 3, BOARD_PLACE_PORT(seat));
	if (board->config.unplugged)
		board->config.unplugged(board->config.unplug_context, seat);
}

static bool is_occupied(const struct board *board, unsigned seat)
{
	unsigned i;

	for (i = 0; i < board->device_count; i++)
		if (seat && board->devices[i].seat == seat)
			return true;
	return false;
}

/* I/O thread. A port may be on again by now: then what is there is not taken out. */
void board_seats_are_off(void *context)
{
	struct board *board = context;
	uint32_t ports, slots;
	unsigned i;

	ports = atomic_exchange(&board->switched_off, 0);
	slots = atomic_exchange(&board->ejected, 0);
	for (i = 0; i < board->root_port_count; i++)
		if ((ports >> i & 1) && is_occupied(board, BOARD_PLACE(i + 1, 0)) &&
		    pcie_root_port_is_off(board->root_ports[i]))
			take_out(board, BOARD_PLACE(i + 1, 0));
	for (i = 0; i < PCI_SLOTS; i++)
		if ((slots >> i & 1) && is_occupied(board, BOARD_PLACE(0, PCI_SLOT_FUNCTION(i, 0))))
			take_out(board, BOARD_PLACE(0, PCI_SLOT_FUNCTION(i, 0)));
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

/* Nobody is asked: that is how USB's plugs are. */
static int plug_usb(struct board *board, const struct board_plug *plug, struct error *error)
{
	int port = plug->disk ? board_add_usb_disk(board, plug->disk, 0, error)
			      : board_add_usb_device(board, plug->usb, error);

	return port < 0 ? port : 0;
}

static int add(struct board *board, const struct board_plug *plug, struct error *error)
{
	if (plug->disk && plug->disk->bus == BOARD_BUS_NVME)
		return board_add_nvme(board, plug->disk, free_number(board, "nvme"), error);
	if (plug->controller)
		return board_add_scsi(board, plug->controller, plug->controller_number, error);
	if (plug->disk)
		return board_add_virtio_disk(board, plug->disk, free_number(board, "disk"), error);
	if (plug->net)
		return board_add_net(board, plug->net, free_number(board, "net"), error);
	return board_add_option(board, plug->option, error);
}

static unsigned place_of(const struct board_plug *plug)
{
	if (plug->disk)
		return plug->disk->pci_place;
	if (plug->controller)
		return plug->controller->place;
	return plug->net ? plug->net->place : plug->option->place;
}

static int plug_on_pci(struct board *board, const struct board_plug *plug, struct error *error)
{
	unsigned place = place_of(plug);
	unsigned before = board->device_count, i;
	struct pcie_root_port *port = port_of(board, place);
	int result;

	/* Firmware's lists have the slots that were free at the start: a slot's first function comes, and alone. */
	if (!board_seat(board, place) || BOARD_PLACE_FUNCTION(place) % 8)
		return error_set(error, ENOTSUP, "nothing can be plugged in there");
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
	if (port)
		pcie_root_port_changed(port);
	return 0;
}

/* The guest lets go by the slot's register (acpi_slots.h). One that does not listen has nothing to let go of. */
static int unplug_slot(struct board *board, unsigned seat)
{
	if (!acpi_slots_ask(board->slots, BOARD_PLACE_FUNCTION(seat) >> 3))
		take_out(board, seat);
	return 0;
}

int board_plug(struct board *board, const struct board_plug *plug, struct error *error)
{
	if (plug->disk && plug->disk->bus == BOARD_BUS_SCSI)
		return board_add_scsi_disk(board, plug->disk, plug->disk->tray, error);
	if (plug->usb || (plug->disk && plug->disk->bus == BOARD_BUS_USB))
		return plug_usb(board, plug, error);
	return plug_on_pci(board, plug, error);
}

static int unplug_usb(struct board *board, unsigned place, struct error *error)
{
	int result = board_remove_usb(board, BOARD_PLACE_FUNCTION(place) >> 3, error);

	if (result == 0 && board->config.unplugged)
		board->config.unplugged(board->config.unplug_context, place);
	return result;
}

/* Nor is anybody asked here. */
static int unplug_scsi(struct board *board, unsigned place, struct error *error)
{
	int result = board_remove_scsi_disk(board, place, error);

	if (result == 0 && board->config.unplugged)
		board->config.unplugged(board->config.unplug_context, place);
	return result;
}

static int unplug_on_pci(struct board *board, unsigned place, struct error *error)
{
	unsigned seat = board_seat(board, place);
	struct pcie_root_port *port = port_of(board, place);

	if (!is_occupied(board, seat))
		return error_set(error, ENODEV, "nothing that can be taken out is there");
	if (!port)
		return unplug_slot(board, seat);
	if (pcie_root_port_is_busy(port))
		return error_set(error, EBUSY, "guest is busy (power indicator blinking)");
	if (pcie_root_port_is_off(port))
		take_out(board, seat);
	else if (!pcie_root_port_press_button(port))
		log_info("the guest has no driver for root port %u yet", BOARD_PLACE_PORT(seat));
	return 0;
}

int board_unplug(struct board *board, unsigned place, struct error *error)
{
	if (BOARD_PLACE_IS_SCSI(place))
		return unplug_scsi(board, place, error);
	if (BOARD_PLACE_PORT(place) == BOARD_PLACE_PORT(BOARD_USB_PLACE(0)))
		return unplug_usb(board, place, error);
	return unplug_on_pci(board, place, error);
}
