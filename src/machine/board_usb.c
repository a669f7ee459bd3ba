/* USB on a board: a controller, and what people point and type with. */
#include <errno.h>

#include "device/usb/hid.h"
#include "device/usb/xhci.h"
#include "machine/board.h"
#include "machine/board_parts.h"

static int plug(struct board *board, struct xhci *xhci, const struct board_usb_device *wanted, struct error *error)
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
	port = xhci_plug(xhci, device, wanted->port, error);
	if (port < 0)
		return port;
	/* Of several the last one counts. */
	board->usb_devices[wanted->kind] = device;
	return 0;
}

int board_add_usb(struct board *board, struct error *error)
{
	const struct board_usb *usb = &board->config.usb;
	struct board_seat seat;
	struct xhci *xhci;
	unsigned i;
	int result;

	if (!usb->has_controller)
		return 0;
	if (!board->pci)
		return error_set(error, ENODEV, "USB needs PCI: use --machine pc");
	result = board_find_seat(board, "xhci", usb->place, &seat, error);
	if (result < 0)
		return result;
	xhci = xhci_create(seat.bus, seat.slot_function, error);
	if (!xhci)
		return -ENOMEM;
	result = board_add(board, "xhci", &xhci_device_ops, xhci, error);
	/* Those that say their port first. */
	for (i = 0; i < usb->device_count && result == 0; i++)
		if (usb->devices[i].port)
			result = plug(board, xhci, &usb->devices[i], error);
	for (i = 0; i < usb->device_count && result == 0; i++)
		if (!usb->devices[i].port)
			result = plug(board, xhci, &usb->devices[i], error);
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
