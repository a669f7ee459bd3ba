/* USB on a board: a controller, and what is plugged in. */
#include <errno.h>

#include "device/usb/hid.h"
#include "device/usb/mass_storage.h"
#include "device/usb/xhci.h"
#include "machine/board.h"
#include "machine/board_parts.h"

int board_add_usb_device(struct board *board, const struct board_usb_device *wanted, struct error *error)
{
	static const struct usb_kind *const kinds[] = {
		[BOARD_USB_TABLET] = &hid_tablet,
		[BOARD_USB_MOUSE] = &hid_mouse,
		[BOARD_USB_KEYBOARD] = &hid_keyboard,
	};
	struct usb_device *device = usb_create(kinds[wanted->kind]);
	int port;

	if (!device)
		return error_set_errno(error, ENOMEM, "cannot create a USB device");
	port = xhci_plug(board->xhci, device, wanted->port, error);
	/* Of several the last one counts. */
	if (port > 0)
		board->usb_devices[wanted->kind] = device;
	return port;
}

int board_add_usb_disk(struct board *board, struct board_disk *disk, unsigned number, struct error *error)
{
	const struct drive_config drive = {
		.is_present = true,
		.is_cdrom = disk->is_cdrom,
		.block = disk->block,
		.number = number + 1,
		.moved = disk->is_cdrom ? board_tray_moves : NULL,
		.moved_context = board,
	};
	struct usb_device *device;
	int port;

	if (disk->is_cdrom && board_watch_trays(board, error) < 0)
		return -EIO;
	disk->block = NULL;
	device = usb_mass_storage_create(&drive, disk->is_removable, error);
	if (!device)
		return -EINVAL;
	port = xhci_plug(board->xhci, device, disk->place_plus_1, error);
	if (port < 0)
		return port;
	disk->place_plus_1 = port;
	if (disk->is_cdrom)
		board_keep_tray(board, number, usb_mass_storage_tray(device));
	return port;
}

int board_remove_usb(struct board *board, unsigned port, struct error *error)
{
	const struct usb_device *device = board->xhci ? xhci_device_at(board->xhci, port) : NULL;
	const struct board_disk *disk;
	unsigned i;

	if (!device)
		return error_set(error, ENODEV, "nothing that can be taken out is there");
	/* Monitors know it by its tray. */
	for (i = 0; i < board->config.disk_count; i++) {
		disk = &board->config.disks[i];
		if (disk->bus == BOARD_BUS_USB && disk->is_cdrom && disk->place_plus_1 == port)
			return error_set(error, ENOTSUP, "a CD-ROM drive stays: take its medium out");
	}
	for (i = 0; i < BOARD_USB_KINDS; i++)
		if (board->usb_devices[i] == device)
			board->usb_devices[i] = NULL;
	xhci_unplug(board->xhci, port);
	return 0;
}

/* Those that say their port, then the others. */
static int add_usb_devices(struct board *board, bool with_port, struct error *error)
{
	const struct board_usb *usb = &board->config.usb;
	struct board_disk *disk;
	unsigned i;
	int result = 0;

	for (i = 0; i < usb->device_count && result >= 0; i++)
		if ((usb->devices[i].port != 0) == with_port)
			result = board_add_usb_device(board, &usb->devices[i], error);
	for (i = 0; i < board->config.disk_count && result >= 0; i++) {
		disk = &board->config.disks[i];
		if (disk->bus == BOARD_BUS_USB && (disk->place_plus_1 != 0) == with_port)
			result = board_add_usb_disk(board, disk, i, error);
	}
	return result < 0 ? result : 0;
}

/* Firmware's names for them, in the order of the disks. */
static void add_usb_boots(struct board *board, const struct board_seat *seat)
{
	unsigned place = board->config.usb.place, i;
	char path[BOARD_BOOT_PATH];
	const struct board_disk *disk;

	if (place == BOARD_ANYWHERE)
		place = BOARD_PLACE(0, seat->slot_function);
	board_pci_path(board, place, "usb", path);
	for (i = 0; i < board->config.disk_count; i++) {
		disk = &board->config.disks[i];
		if (disk->bus == BOARD_BUS_USB)
			board_add_boot(board, disk, "%s/storage@%x/channel@0/disk@0,0", path, disk->place_plus_1);
	}
}

int board_add_usb(struct board *board, struct error *error)
{
	const struct board_usb *usb = &board->config.usb;
	struct board_seat seat;
	int result;

	if (!usb->has_controller)
		return 0;
	if (!board->pci)
		return error_set(error, ENODEV, "USB needs PCI: use --machine pc");
	result = board_find_seat(board, "xhci", usb->place, &seat, error);
	if (result < 0)
		return result;
	board->xhci = xhci_create(seat.bus, seat.slot_function, error);
	if (!board->xhci)
		return -ENOMEM;
	result = board_add(board, "xhci", &xhci_device_ops, board->xhci, error);
	if (result == 0)
		result = add_usb_devices(board, true, error);
	if (result == 0)
		result = add_usb_devices(board, false, error);
	if (result == 0)
		add_usb_boots(board, &seat);
	return result;
}

/* The device of a kind that the guest uses, or NULL. */
static struct usb_device *used(const struct board *board, enum board_usb_kind kind)
{
	struct usb_device *device = board->usb_devices[kind];

	return device && hid_is_used(device) ? device : NULL;
}

bool board_has_tablet(const struct board *board)
{
	return board->usb_devices[BOARD_USB_TABLET];
}

void board_place_pointer(struct board *board, bool is_vertical, unsigned place)
{
	struct usb_device *tablet = used(board, BOARD_USB_TABLET);

	if (tablet)
		hid_place(tablet, is_vertical, place);
}

void board_move_pointer(struct board *board, int x, int y, int wheel)
{
	struct usb_device *mouse = used(board, BOARD_USB_MOUSE);
	struct usb_device *turned = used(board, BOARD_USB_TABLET);

	if (!turned)
		turned = mouse;
	/* By USB, y grows downwards, and a wheel away from the user. */
	if (wheel && turned)
		hid_turn(turned, -wheel);
	if (mouse && (x || y))
		hid_move(mouse, x, -y);
	if (board->keyboard && ((!mouse && (x || y)) || (!turned && wheel)))
		i8042_move(board->keyboard, mouse ? 0 : x, mouse ? 0 : y, turned ? 0 : wheel);
}

void board_press_pointer(struct board *board, enum mouse_button button, bool is_down)
{
	struct usb_device *pointer = used(board, BOARD_USB_TABLET);
	uint8_t bit = button == MOUSE_LEFT ? HID_LEFT : button == MOUSE_RIGHT ? HID_RIGHT : HID_MIDDLE;

	if (!pointer)
		pointer = used(board, BOARD_USB_MOUSE);
	if (pointer && (button == MOUSE_LEFT || button == MOUSE_RIGHT || button == MOUSE_MIDDLE))
		hid_press(pointer, bit, is_down);
	else if (!pointer && board->keyboard)
		i8042_press(board->keyboard, button, is_down);
}

void board_press_key(struct board *board, const struct key *key, bool is_down)
{
	struct usb_device *keyboard = used(board, BOARD_USB_KEYBOARD);

	if (keyboard)
		hid_key(keyboard, key, is_down);
	else if (board->keyboard)
		i8042_key(board->keyboard, key, is_down);
}

bool board_describe_usb(const struct board *board, unsigned port, const char **product, const char **mbits_per_s)
{
	const struct usb_device *device = board->xhci && port && port <= XHCI_USB2_PORTS
						   ? xhci_device_at(board->xhci, port)
						   : NULL;

	if (!device)
		return false;
	*product = device->kind->product;
	*mbits_per_s = device->kind->speed == USB_SPEED_HIGH ? "480" : "12";
	return true;
}
