#include "device/usb/hid.h"

#include <string.h>

#include "device/usb/hid_keys.h"

/* Requests of the class (§7.2), and the descriptor of reports. */
#define GET_REPORT   0x01
#define GET_IDLE     0x02
#define GET_PROTOCOL 0x03
#define SET_REPORT   0x09
#define SET_IDLE     0x0a
#define SET_PROTOCOL 0x0b
#define GET_DESCRIPTOR	  0x06
#define DESCRIPTOR_HID	  0x21
#define DESCRIPTOR_REPORT 0x22

#define EVENTS 32
#define KEYS   6 /* at once, besides modifiers (appendix B.1) */
#define REPORT_MAX 8
#define ROLL_OVER 0x01

/* A pointer's event: for a tablet a place, for a mouse a way. */
struct event {
	int16_t x, y, wheel;
	uint8_t buttons;
};

struct hid {
	struct usb_device device;
	uint8_t idle, protocol, leds;
	/* A pointer's: events that wait, the last of which goes on to change; what was told last. */
	struct event events[EVENTS], last;
	uint8_t first, count;
	/* A keyboard's: what is pressed, in the order it was; that some report of it is due. */
	uint8_t modifiers, pressed[EVENTS];
	uint8_t pressed_count;
	struct {
		uint8_t usage;
		bool is_down;
	} keys[EVENTS];
};

static const uint8_t tablet_report[] = {
	0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00, /* generic desktop: mouse, pointer */
	0x05, 0x09, 0x19, 0x01, 0x29, 0x03, 0x15, 0x00, 0x25, 0x01, 0x95, 0x03, 0x75, 0x01, 0x81, 0x02, /* 3 buttons */
	0x95, 0x01, 0x75, 0x05, 0x81, 0x01,				/* and 5 bits of nothing */
	0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x15, 0x00, 0x26, 0xff, 0x7f, 0x35, 0x00, 0x46, 0xff, 0x7f,
	0x75, 0x10, 0x95, 0x02, 0x81, 0x02,				/* X and Y, absolute, of 16 bits */
	0x05, 0x01, 0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x35, 0x00, 0x45, 0x00, 0x75, 0x08, 0x95, 0x01,
	0x81, 0x06, 0xc0, 0xc0,						/* the wheel, relative */
};

static const uint8_t mouse_report[] = {
	0x05, 0x01, 0x09, 0x02, 0xa1, 0x01, 0x09, 0x01, 0xa1, 0x00,
	0x05, 0x09, 0x19, 0x01, 0x29, 0x03, 0x15, 0x00, 0x25, 0x01, 0x95, 0x03, 0x75, 0x01, 0x81, 0x02,
	0x95, 0x01, 0x75, 0x05, 0x81, 0x01,
	0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x09, 0x38, 0x15, 0x81, 0x25, 0x7f, 0x75, 0x08, 0x95, 0x03,
	0x81, 0x06, 0xc0, 0xc0,						/* X, Y and wheel, relative, of 8 bits */
};

/* Appendix B.1's, of the boot protocol. */
static const uint8_t keyboard_report[] = {
	0x05, 0x01, 0x09, 0x06, 0xa1, 0x01,
	0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95, 0x08, 0x81, 0x02,
	0x95, 0x01, 0x75, 0x08, 0x81, 0x01,
	0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02, 0x95, 0x01, 0x75, 0x03, 0x91, 0x01,
	0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x25, 0xff, 0x05, 0x07, 0x19, 0x00, 0x29, 0xff, 0x81, 0x00, 0xc0,
};

/* Device descriptors (USB 2.0 §9.6.1): vendor and product are those that QEMU's devices have. */
static const uint8_t device_descriptor[] = {
	18, 1, 0x00, 0x02, 0, 0, 0, 64, 0x27, 0x06, 0x01, 0x00, 0x00, 0x00, 1, 2, 3, 1};

#define CONFIGURATION(subclass, protocol, report_bytes, packet)                                                \
	{                                                                                                      \
		9, 2, 34, 0, 1, 1, 0, 0xa0, 50,						/* §9.6.3 */	       \
		9, 4, 0, 0, 1, 3, subclass, protocol, 0,				/* an interface */     \
		9, DESCRIPTOR_HID, 0x11, 0x01, 0, 1, DESCRIPTOR_REPORT, report_bytes, 0, /* HID §6.2.1 */      \
		7, 5, 0x81, 3, packet, 0, 4,						/* its pipe: 1 ms */   \
	}
static const uint8_t tablet_configuration[] = CONFIGURATION(0, 0, sizeof(tablet_report), 8);
static const uint8_t mouse_configuration[] = CONFIGURATION(1, 2, sizeof(mouse_report), 4);
static const uint8_t keyboard_configuration[] = CONFIGURATION(1, 1, sizeof(keyboard_report), 8);

static bool is_keyboard(const struct hid *hid)
{
	return hid->device.kind == &hid_keyboard;
}

static bool is_tablet(const struct hid *hid)
{
	return hid->device.kind == &hid_tablet;
}

static const uint8_t *report_descriptor(const struct hid *hid, size_t *size)
{
	*size = is_keyboard(hid) ? sizeof(keyboard_report) : is_tablet(hid) ? sizeof(tablet_report) : sizeof(mouse_report);
	return is_keyboard(hid) ? keyboard_report : is_tablet(hid) ? tablet_report : mouse_report;
}

/* -- reports -- */

static int clip(int value)
{
	return value < -127 ? -127 : value > 127 ? 127 : value;
}

/* A key that goes down or up, of usage page 7. */
static void press(struct hid *hid, uint8_t usage, bool is_down)
{
	unsigned i;

	if (usage >= HID_FIRST_MODIFIER) {
		hid->modifiers = is_down ? hid->modifiers | 1u << (usage & 7) : hid->modifiers & ~(1u << (usage & 7));
		return;
	}
	for (i = 0; i < hid->pressed_count && hid->pressed[i] != usage; i++)
		continue;
	if (is_down && i == hid->pressed_count && i < EVENTS)
		hid->pressed[hid->pressed_count++] = usage;
	else if (!is_down && i < hid->pressed_count)
		memmove(&hid->pressed[i], &hid->pressed[i + 1], --hid->pressed_count - i);
}

static size_t put_keyboard(const struct hid *hid, uint8_t *report)
{
	memset(report, 0, 8);
	report[0] = hid->modifiers;
	if (hid->pressed_count > KEYS)
		memset(report + 2, ROLL_OVER, KEYS);
	else
		memcpy(report + 2, hid->pressed, hid->pressed_count);
	return 8;
}

static size_t put_pointer(const struct hid *hid, const struct event *event, uint8_t *report)
{
	report[0] = event->buttons;
	if (is_tablet(hid)) {
		report[1] = event->x;
		report[2] = event->x >> 8;
		report[3] = event->y;
		report[4] = event->y >> 8;
		report[5] = clip(event->wheel);
		return 6;
	}
	report[1] = clip(event->x);
	report[2] = clip(event->y);
	report[3] = clip(event->wheel);
	return hid->protocol ? 4 : 3;
}

/* The next that waits, which is then the last that was told. False: none does. */
static bool take_event(struct hid *hid)
{
	struct event *event = &hid->events[hid->first];

	if (!hid->count)
		return false;
	if (is_keyboard(hid)) {
		press(hid, hid->keys[hid->first].usage, hid->keys[hid->first].is_down);
	} else {
		hid->last = *event;
		/* Ways that are too long for a report are told in several. */
		if (!is_tablet(hid)) {
			event->x -= clip(event->x);
			event->y -= clip(event->y);
		}
		event->wheel -= clip(event->wheel);
		if ((!is_tablet(hid) && (event->x || event->y)) || event->wheel)
			return true;
	}
	hid->first = (hid->first + 1) % EVENTS;
	hid->count--;
	return true;
}

static size_t put_report(const struct hid *hid, uint8_t *report)
{
	struct event now = hid->last;

	if (is_keyboard(hid))
		return put_keyboard(hid, report);
	return put_pointer(hid, &now, report);
}

static int in(struct usb_device *device, unsigned endpoint, uint8_t *data, size_t size)
{
	struct hid *hid = (struct hid *)device;
	uint8_t report[REPORT_MAX];
	size_t bytes;

	if (endpoint != 1)
		return USB_STALL;
	if (!take_event(hid))
		return USB_NAK;
	bytes = put_report(hid, report);
	bytes = bytes < size ? bytes : size;
	memcpy(data, report, bytes);
	return bytes;
}

static int control(struct usb_device *device, const struct usb_setup *setup, uint8_t *data)
{
	struct hid *hid = (struct hid *)device;
	const uint8_t *report;
	size_t size;

	switch (setup->type << 8 | setup->request) {
	case USB_TYPE_INTERFACE_IN << 8 | GET_DESCRIPTOR:
		report = report_descriptor(hid, &size);
		if (setup->value >> 8 == DESCRIPTOR_HID) {
			report = device->kind->configuration + 18;
			size = 9;
		} else if (setup->value >> 8 != DESCRIPTOR_REPORT) {
			return USB_STALL;
		}
		memcpy(data, report, size);
		return size;
	case USB_TYPE_CLASS_IN << 8 | GET_REPORT: return put_report(hid, data);
	case USB_TYPE_CLASS_IN << 8 | GET_IDLE: data[0] = hid->idle; return 1;
	case USB_TYPE_CLASS_IN << 8 | GET_PROTOCOL: data[0] = hid->protocol; return 1;
	case USB_TYPE_CLASS_OUT << 8 | SET_IDLE: hid->idle = setup->value >> 8; return 0;
	case USB_TYPE_CLASS_OUT << 8 | SET_PROTOCOL: hid->protocol = setup->value & 1; return 0;
	case USB_TYPE_CLASS_OUT << 8 | SET_REPORT:
		if (setup->length)
			hid->leds = data[0];
		return 0;
	default: return USB_STALL;
	}
}

static void reset(struct usb_device *device)
{
	struct hid *hid = (struct hid *)device;

	hid->idle = hid->leds = hid->first = hid->count = hid->modifiers = hid->pressed_count = 0;
	hid->protocol = 1; /* reports, not the boot protocol */
	memset(&hid->last, 0, sizeof(hid->last));
}

/* -- events -- */

/* The event that is changed now: the last that waits, or a new one like the last that was told. NULL: there are too
 * many, or nobody asks for them. */
static struct event *last_event(struct hid *hid, bool wants_new)
{
	struct event *event = &hid->events[(hid->first + hid->count + EVENTS - 1) % EVENTS], before = hid->last;

	if (!hid->device.is_configured)
		return NULL;
	if (hid->count && (!wants_new || hid->count == EVENTS))
		return event;
	if (hid->count)
		before = *event;
	event = &hid->events[(hid->first + hid->count++) % EVENTS];
	*event = before;
	if (!is_tablet(hid))
		event->x = event->y = 0;
	event->wheel = 0;
	return event;
}

bool hid_is_used(struct usb_device *device)
{
	bool is_used;

	pthread_mutex_lock(device->lock);
	is_used = device->is_configured;
	pthread_mutex_unlock(device->lock);
	return is_used;
}

void hid_place(struct usb_device *device, bool is_vertical, unsigned place)
{
	struct event *event;

	pthread_mutex_lock(device->lock);
	event = last_event((struct hid *)device, false);
	if (event && is_vertical)
		event->y = place > HID_PLACE_MAX ? HID_PLACE_MAX : place;
	else if (event)
		event->x = place > HID_PLACE_MAX ? HID_PLACE_MAX : place;
	usb_wake(device, 1);
	pthread_mutex_unlock(device->lock);
}

static int16_t add(int16_t to, int more)
{
	int sum = to + more;

	return sum < -4096 ? -4096 : sum > 4096 ? 4096 : sum;
}

void hid_move(struct usb_device *device, int x, int y)
{
	struct event *event;

	pthread_mutex_lock(device->lock);
	event = last_event((struct hid *)device, false);
	if (event) {
		event->x = add(event->x, x < -4096 ? -4096 : x > 4096 ? 4096 : x);
		event->y = add(event->y, y < -4096 ? -4096 : y > 4096 ? 4096 : y);
	}
	usb_wake(device, 1);
	pthread_mutex_unlock(device->lock);
}

void hid_turn(struct usb_device *device, int wheel)
{
	struct event *event;

	pthread_mutex_lock(device->lock);
	event = last_event((struct hid *)device, false);
	if (event)
		event->wheel = add(event->wheel, clip(wheel));
	usb_wake(device, 1);
	pthread_mutex_unlock(device->lock);
}

void hid_press(struct usb_device *device, uint8_t button, bool is_down)
{
	struct event *event;

	pthread_mutex_lock(device->lock);
	event = last_event((struct hid *)device, true);
	if (event)
		event->buttons = is_down ? event->buttons | button : event->buttons & ~button;
	usb_wake(device, 1);
	pthread_mutex_unlock(device->lock);
}

void hid_key(struct usb_device *device, const struct key *key, bool is_down)
{
	struct hid *hid = (struct hid *)device;
	uint8_t usage = hid_usage_of(key);
	unsigned at;

	pthread_mutex_lock(device->lock);
	if (usage && device->is_configured && hid->count < EVENTS) {
		at = (hid->first + hid->count++) % EVENTS;
		hid->keys[at].usage = usage;
		hid->keys[at].is_down = is_down;
		usb_wake(device, 1);
	}
	pthread_mutex_unlock(device->lock);
}

/* -- saved -- */

static void transfer_event(struct event *event, struct state_stream *state)
{
	uint16_t x = event->x, y = event->y, wheel = event->wheel;

	state_u16(state, "x", &x);
	state_u16(state, "y", &y);
	state_u16(state, "wheel", &wheel);
	state_u8(state, "buttons", &event->buttons);
	event->x = x;
	event->y = y;
	event->wheel = wheel;
}

static void transfer(struct usb_device *copy, struct state_stream *state)
{
	struct hid *hid = (struct hid *)copy;
	unsigned i;

	state_u8(state, "idle", &hid->idle);
	state_u8(state, "protocol", &hid->protocol);
	state_u8(state, "leds", &hid->leds);
	state_u8(state, "first", &hid->first);
	state_check(state, "first", hid->first < EVENTS);
	state_u8(state, "count", &hid->count);
	state_check(state, "count", hid->count <= EVENTS);
	state_u8(state, "modifiers", &hid->modifiers);
	state_bytes(state, "pressed", hid->pressed, sizeof(hid->pressed));
	state_u8(state, "pressed count", &hid->pressed_count);
	state_check(state, "pressed count", hid->pressed_count <= EVENTS);
	transfer_event(&hid->last, state);
	for (i = 0; i < EVENTS; i++) {
		transfer_event(&hid->events[i], state);
		state_u8(state, "key", &hid->keys[i].usage);
		state_bool(state, "key is down", &hid->keys[i].is_down);
	}
}

static void loaded(struct usb_device *device, const struct usb_device *copy)
{
	struct usb_device own = *device;

	memcpy(device, copy, sizeof(struct hid));
	*device = own;
}

#define HID(name_, configuration_, product_)                                                                   \
	{                                                                                                      \
		.name = name_, .speed = USB_SPEED_HIGH, .device = device_descriptor,                           \
		.configuration = configuration_, .configuration_bytes = sizeof(configuration_),                \
		.product = product_, .control = control, .in = in, .reset = reset,                             \
		.bytes = sizeof(struct hid), .transfer = transfer, .loaded = loaded,                           \
	}
const struct usb_kind hid_tablet = HID("usb-tablet", tablet_configuration, "QEMU USB Tablet");
const struct usb_kind hid_mouse = HID("usb-mouse", mouse_configuration, "QEMU USB Mouse");
const struct usb_kind hid_keyboard = HID("usb-kbd", keyboard_configuration, "QEMU USB Keyboard");
