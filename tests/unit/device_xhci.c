/* The USB controller as a driver goes about it: reset, slots, descriptors, a tablet's, a mouse's and a keyboard's reports;
 * rings that lie; saved and loaded. */
#include <errno.h>

#include "device/usb/hid.h"
#include "device/usb/xhci.h"
#include "device/usb/xhci_registers.h"
#include "pci_rig.h"
#include "util/state.h"

#define GPA	 0xd0000000u
#define PLACE	 (5 << 3)
#define CONTEXTS_AT 0x1000 /* DCBAA */
#define COMMANDS 0x2000
#define EVENTS	 0x3000 /* with its table before */
#define TABLE	 0x2f00
#define OUTPUT	 0x4000 /* device contexts, a page each */
#define INPUT	 0x8000
#define CONTROL_RING 0x9000 /* of each slot a page; and of each IN endpoint */
#define IN_RING	 0xd000
#define DATA	 0x20000
#define EVENT_COUNT 64

static struct pci_rig rig;
static struct xhci *xhci;
static struct usb_device *tablet, *keyboard, *mouse;
static unsigned command_at, event_at;
static unsigned ring_at[8]; /* of slot s: the control ring; of 4 + s: the IN ring */
static bool event_cycle;

static uint32_t get(unsigned offset)
{
	return pci_rig_get(&rig, GPA + offset);
}

static void set(unsigned offset, uint32_t value)
{
	pci_rig_set(&rig, GPA + offset, value);
}

static uint32_t *words(uint64_t gpa)
{
	return pci_rig_at(&rig, gpa);
}

static void put_trb(uint64_t gpa, uint64_t parameter, uint32_t status, uint32_t control)
{
	uint32_t *trb = words(gpa);

	trb[0] = parameter;
	trb[1] = parameter >> 32;
	trb[2] = status;
	trb[3] = control;
}

/* The next event, which has to be there, of that type: its completion code. */
static unsigned take(unsigned type, uint32_t event[4])
{
	memcpy(event, words(EVENTS + event_at * 16), 16);
	assert_int_equal(event[3] & 1, event_cycle);
	assert_int_equal(TRB_TYPE(event[3]), type);
	if (++event_at == EVENT_COUNT) {
		event_at = 0;
		event_cycle = !event_cycle;
	}
	set(XHCI_RUNTIME + IMAN, IMAN_PENDING | IMAN_ENABLED);
	set(XHCI_RUNTIME + ERDP_LOW, (EVENTS + event_at * 16) | ERDP_BUSY);
	return event[2] >> 24;
}

static void assert_no_event(void)
{
	assert_int_not_equal(words(EVENTS + event_at * 16)[3] & 1, event_cycle);
}

static unsigned command(uint64_t parameter, uint32_t control, unsigned *slot)
{
	uint32_t event[4];
	unsigned code;

	put_trb(COMMANDS + command_at++ * 16, parameter, 0, control | 1);
	set(XHCI_DOORBELLS, 0);
	code = take(TRB_COMMAND_EVENT, event);
	assert_int_equal(event[0], COMMANDS + (command_at - 1) * 16);
	if (slot)
		*slot = event[3] >> 24;
	return code;
}

static void start(void)
{
	set(XHCI_OPERATIONAL + USBCMD, CMD_RESET);
	assert_int_equal(get(XHCI_OPERATIONAL + USBCMD), 0);
	assert_int_equal(get(XHCI_OPERATIONAL + USBSTS) & STS_HALTED, STS_HALTED);
	memset(pci_rig_at(&rig, 0), 0, MEMORY_BYTES);
	command_at = event_at = 0;
	event_cycle = true;
	memset(ring_at, 0, sizeof(ring_at));
	words(TABLE)[0] = EVENTS;
	words(TABLE)[2] = EVENT_COUNT;
	set(XHCI_OPERATIONAL + CONFIG, 8);
	set(XHCI_OPERATIONAL + DCBAAP_LOW, CONTEXTS_AT);
	set(XHCI_OPERATIONAL + DCBAAP_HIGH, 0);
	set(XHCI_OPERATIONAL + CRCR_LOW, COMMANDS | 1);
	set(XHCI_OPERATIONAL + CRCR_HIGH, 0);
	set(XHCI_RUNTIME + ERSTSZ, 1);
	set(XHCI_RUNTIME + ERDP_LOW, EVENTS);
	set(XHCI_RUNTIME + ERDP_HIGH, 0);
	set(XHCI_RUNTIME + ERSTBA_LOW, TABLE);
	set(XHCI_RUNTIME + ERSTBA_HIGH, 0);
	set(XHCI_RUNTIME + IMAN, IMAN_ENABLED);
	set(XHCI_OPERATIONAL + USBCMD, CMD_RUN | CMD_INTE);
}

static int setup(void **state)
{
	struct error error;

	(void)state;
	pci_rig_init(&rig);
	xhci = xhci_create(rig.bus, PLACE, &error);
	assert_non_null(xhci);
	tablet = usb_create(&hid_tablet);
	keyboard = usb_create(&hid_keyboard);
	mouse = usb_create(&hid_mouse);
	assert_int_equal(xhci_plug(xhci, tablet, 0, &error), 1);
	assert_int_equal(xhci_plug(xhci, mouse, 3, &error), 3);
	assert_int_equal(xhci_plug(xhci, keyboard, 0, &error), 2);
	pci_config_write(rig.bus, PLACE, PCI_BAR(0), 4, GPA);
	pci_config_write(rig.bus, PLACE, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	xhci_device_ops.release(xhci);
	start();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	xhci_device_ops.destroy(xhci);
	pci_rig_end(&rig);
	return 0;
}

/* The events of ports, and their reset. */
static void enable_port(unsigned port)
{
	unsigned at = XHCI_PORTS_AT + (port - 1) * XHCI_PORT_BYTES;
	uint32_t event[4];

	set(at, PORTSC_POWER | PORTSC_RESET | PORTSC_CONNECT_CHANGE);
	assert_int_equal(take(TRB_PORT_EVENT, event), CC_SUCCESS);
	assert_int_equal(event[0] >> 24, port);
	assert_int_equal(get(at) & (PORTSC_ENABLED | PORTSC_RESET_CHANGE | PORTSC_RESET | PORTSC_LINK),
			 PORTSC_ENABLED | PORTSC_RESET_CHANGE);
	set(at, PORTSC_POWER | PORTSC_RESET_CHANGE);
}

static void take_connections(void)
{
	uint32_t event[4];
	unsigned i;

	for (i = 1; i <= 3; i++) {
		take(TRB_PORT_EVENT, event);
		assert_int_equal(event[0] >> 24, i);
	}
}

static uint64_t control_ring(unsigned slot)
{
	return CONTROL_RING + slot * 0x1000;
}

static uint64_t in_ring(unsigned slot)
{
	return IN_RING + slot * 0x1000;
}

static unsigned address(unsigned port)
{
	unsigned slot;

	assert_int_equal(command(0, TRB_ENABLE_SLOT << 10, &slot), CC_SUCCESS);
	memset(words(INPUT), 0, 0x420);
	words(INPUT)[1] = 3;
	words(INPUT + 32)[0] = 1 << 27 | USB_SPEED_HIGH << 20;
	words(INPUT + 32)[1] = port << 16;
	words(INPUT + 64)[1] = 64 << 16 | EP_CONTROL << 3 | 3 << 1;
	words(INPUT + 64)[2] = control_ring(slot) | 1;
	*(uint64_t *)words(CONTEXTS_AT + slot * 8) = OUTPUT + slot * 0x800;
	assert_int_equal(command(INPUT, TRB_ADDRESS << 10 | slot << 24, NULL), CC_SUCCESS);
	assert_int_equal(words(OUTPUT + slot * 0x800)[3], SLOT_ADDRESSED << SLOT_STATE_SHIFT | slot);
	assert_int_equal(words(OUTPUT + slot * 0x800 + 32)[0] & 7, EP_RUNNING);
	return slot;
}

static void queue(uint64_t ring, unsigned *at, uint64_t parameter, uint32_t status, uint32_t control)
{
	put_trb(ring + (*at)++ * 16, parameter, status, control | 1);
}

/* A control request for up to `length` bytes at DATA. The completion code; `moved`, of its data. */
static unsigned request(unsigned slot, uint8_t type, uint8_t code, uint16_t value, uint16_t index, uint16_t length,
			unsigned *moved)
{
	uint64_t packet = type | code << 8 | (uint64_t)value << 16 | (uint64_t)index << 32 | (uint64_t)length << 48;
	bool is_in = type & 0x80;
	uint32_t event[4];
	unsigned result;

	queue(control_ring(slot), &ring_at[slot], packet, 8, TRB_SETUP << 10 | TRB_IMMEDIATE | (length ? 2 + is_in : 0) << 16);
	if (length)
		queue(control_ring(slot), &ring_at[slot], DATA, length,
		      TRB_DATA << 10 | TRB_SHORT | (is_in ? TRB_DATA_IN : 0));
	queue(control_ring(slot), &ring_at[slot], 0, 0, TRB_STATUS << 10 | TRB_INTERRUPT);
	set(XHCI_DOORBELLS + slot * 4, 1);
	if (moved)
		*moved = length;
	result = take(TRB_TRANSFER_EVENT, event);
	if (result == CC_SHORT_PACKET) {
		if (moved)
			*moved = length - (event[2] & 0xffffff);
		result = take(TRB_TRANSFER_EVENT, event);
	}
	assert_int_equal(event[3] >> 24, slot);
	assert_int_equal(TRB_ENDPOINT(event[3]), 1);
	return result;
}

static void configure(unsigned slot)
{
	memset(words(INPUT), 0, 0x420);
	words(INPUT)[1] = 1 | 1 << 3;
	words(INPUT + 32)[0] = 3u << 27;
	words(INPUT + 32 * 4)[1] = 8 << 16 | 7 << 3;
	words(INPUT + 32 * 4)[2] = in_ring(slot) | 1;
	assert_int_equal(command(INPUT, TRB_CONFIGURE << 10 | slot << 24, NULL), CC_SUCCESS);
	assert_int_equal(words(OUTPUT + slot * 0x800)[3] >> SLOT_STATE_SHIFT, SLOT_CONFIGURED);
	assert_int_equal(request(slot, 0, 9, 1, 0, 0, NULL), CC_SUCCESS);
}

/* Ask for a report. */
static void ask(unsigned slot, unsigned size)
{
	queue(in_ring(slot), &ring_at[4 + slot], DATA + 0x100 * slot, size, TRB_NORMAL << 10 | TRB_INTERRUPT | TRB_SHORT);
	set(XHCI_DOORBELLS + slot * 4, 3);
}

static void expect_report(unsigned slot, unsigned asked, const void *report, unsigned size)
{
	uint32_t event[4];

	assert_int_equal(take(TRB_TRANSFER_EVENT, event), asked == size ? CC_SUCCESS : CC_SHORT_PACKET);
	assert_int_equal(event[2] & 0xffffff, asked - size);
	assert_int_equal(TRB_ENDPOINT(event[3]), 3);
	assert_memory_equal(words(DATA + 0x100 * slot), report, size);
}

static unsigned begin(unsigned port)
{
	unsigned slot;

	enable_port(port);
	slot = address(port);
	configure(slot);
	return slot;
}

static void test_capabilities(void **state)
{
	(void)state;
	assert_int_equal(get(0), 0x01000040);
	assert_int_equal(get(4) >> 24, XHCI_PORTS);
	assert_int_equal(get(XHCI_OPERATIONAL + PAGESIZE), 1);
	/* Two protocols, whose ports are all there are. */
	assert_int_equal(get(0x20) >> 24, 2);
	assert_int_equal(get(0x28), XHCI_USB2_PORTS << 8 | 1);
	assert_int_equal(get(0x30) >> 24, 3);
	assert_int_equal(get(0x38), XHCI_USB3_PORTS << 8 | (XHCI_USB2_PORTS + 1));
	take_connections();
	assert_int_equal(get(XHCI_PORTS_AT) & 0xfff, PORTSC_CONNECTED | PORTSC_POWER | LINK_POLLING << 5 | USB_SPEED_HIGH << 10);
	assert_int_equal(get(XHCI_PORTS_AT + 0x70) & PORTSC_CONNECTED, 0);
	/* Again, as long as there are more. */
	assert_int_equal(rig.rises, 3);
	assert_false(rig.levels[10]);
	set(XHCI_OPERATIONAL + USBCMD, 0);
	assert_int_equal(get(XHCI_OPERATIONAL + USBSTS) & STS_HALTED, STS_HALTED);
}

static void test_descriptors(void **state)
{
	const uint8_t *data = pci_rig_at(&rig, DATA);
	unsigned slot, moved;

	(void)state;
	take_connections();
	enable_port(1);
	slot = address(1);
	assert_int_equal(request(slot, 0x80, 6, 0x100, 0, 8, &moved), CC_SUCCESS);
	assert_int_equal(moved, 8);
	assert_int_equal(data[7], 64);
	assert_int_equal(request(slot, 0x80, 6, 0x100, 0, 64, &moved), CC_SUCCESS);
	assert_int_equal(moved, 18);
	assert_int_equal(data[0], 18);
	assert_int_equal(request(slot, 0x80, 6, 0x200, 0, 255, &moved), CC_SUCCESS);
	assert_int_equal(moved, data[2]);
	assert_int_equal(data[18], 9); /* HID's */
	assert_int_equal(request(slot, 0x80, 6, 0x302, 0x409, 255, &moved), CC_SUCCESS);
	assert_int_equal(data[0], moved);
	assert_int_equal(request(slot, 0x81, 6, 0x2200, 0, 0x1000, &moved), CC_SUCCESS);
	assert_int_equal(moved, 74);
	/* What it does not know it stalls, until the driver has reset it. */
	assert_int_equal(request(slot, 0x80, 6, 0x900, 0, 8, NULL), CC_STALL);
	assert_int_equal(words(OUTPUT + slot * 0x800 + 32)[0] & 7, EP_HALTED);
	assert_int_equal(command(0, TRB_RESET_ENDPOINT << 10 | 1 << 16 | slot << 24, NULL), CC_SUCCESS);
	assert_int_equal(command((control_ring(slot) + ring_at[slot] * 16) | 1,
				 TRB_SET_DEQUEUE << 10 | 1 << 16 | slot << 24, NULL), CC_SUCCESS);
	assert_int_equal(request(slot, 0x80, 8, 0, 0, 1, NULL), CC_SUCCESS);
	assert_int_equal(data[0], 0);
	configure(slot);
	assert_int_equal(request(slot, 0x80, 8, 0, 0, 1, NULL), CC_SUCCESS);
	assert_int_equal(data[0], 1);
	assert_int_equal(request(slot, 0x21, 0x0a, 0x400, 0, 0, NULL), CC_SUCCESS);
	assert_int_equal(request(slot, 0xa1, 0x02, 0, 0, 1, NULL), CC_SUCCESS);
	assert_int_equal(data[0], 4);
	assert_int_equal(command(0, TRB_DISABLE_SLOT << 10 | slot << 24, NULL), CC_SUCCESS);
	assert_int_equal(command(0, TRB_DISABLE_SLOT << 10 | slot << 24, NULL), CC_SLOT_DISABLED);
}

static void test_tablet(void **state)
{
	const uint8_t first[] = {0, 0x34, 0x12, 0x56, 0x34, 0}, pressed[] = {1, 0x34, 0x12, 0x56, 0x34, 0},
		      last[] = {0, 0xff, 0x7f, 0, 0, 0x7f};
	unsigned slot;

	(void)state;
	take_connections();
	/* Before it is configured nobody hears of it. */
	hid_place(tablet, false, 5);
	assert_false(hid_is_used(tablet));
	slot = begin(1);
	assert_true(hid_is_used(tablet));
	ask(slot, 8);
	assert_no_event();
	hid_place(tablet, false, 0x1234);
	expect_report(slot, 8, (const uint8_t[]){0, 0x34, 0x12, 0, 0, 0}, 6);
	hid_place(tablet, true, 0x3456);
	ask(slot, 6);
	expect_report(slot, 6, first, 6);
	/* What comes while nobody asks: places are one, presses each their own. */
	hid_press(tablet, HID_LEFT, true);
	hid_press(tablet, HID_LEFT, false);
	hid_place(tablet, false, 99999);
	hid_place(tablet, true, 0);
	hid_turn(tablet, 500);
	ask(slot, 6);
	expect_report(slot, 6, pressed, 6);
	ask(slot, 6);
	expect_report(slot, 6, last, 6);
	ask(slot, 6);
	assert_no_event();
	assert_int_equal(command(0, TRB_STOP_ENDPOINT << 10 | 3 << 16 | slot << 24, NULL), CC_SUCCESS);
	hid_place(tablet, true, 7);
	assert_no_event(); /* a stopped endpoint stays so until its doorbell rings */
	set(XHCI_DOORBELLS + slot * 4, 3);
	expect_report(slot, 6, (const uint8_t[]){0, 0xff, 0x7f, 7, 0, 0}, 6);
}

static void test_mouse_and_keyboard(void **state)
{
	unsigned slot, typed;

	(void)state;
	take_connections();
	slot = begin(3);
	typed = begin(2);
	ask(slot, 4);
	hid_move(mouse, 300, -5);
	expect_report(slot, 4, (const uint8_t[]){0, 127, 0xfb, 0}, 4);
	ask(slot, 4);
	expect_report(slot, 4, (const uint8_t[]){0, 127, 0, 0}, 4);
	ask(slot, 4);
	expect_report(slot, 4, (const uint8_t[]){0, 46, 0, 0}, 4);
	ask(typed, 8);
	hid_key(keyboard, key_by_name("shift", 5), true);
	expect_report(typed, 8, (const uint8_t[]){2, 0, 0, 0, 0, 0, 0, 0}, 8);
	hid_key(keyboard, key_by_name("a", 1), true);
	hid_key(keyboard, key_by_name("up", 2), true);
	hid_key(keyboard, key_by_name("a", 1), false);
	ask(typed, 8);
	expect_report(typed, 8, (const uint8_t[]){2, 0, 4, 0, 0, 0, 0, 0}, 8);
	ask(typed, 8);
	expect_report(typed, 8, (const uint8_t[]){2, 0, 4, 0x52, 0, 0, 0, 0}, 8);
	ask(typed, 8);
	expect_report(typed, 8, (const uint8_t[]){2, 0, 0x52, 0, 0, 0, 0, 0}, 8);
}

/* Pulled out while a transfer waits, which fails; another takes its place. */
static void test_plugged(void **state)
{
	unsigned at = XHCI_PORTS_AT, slot, i;
	struct error error;
	uint32_t event[4];

	(void)state;
	take_connections();
	slot = begin(1);
	ask(slot, 8);
	assert_no_event();
	assert_ptr_equal(xhci_device_at(xhci, 1), tablet);
	xhci_unplug(xhci, 1);
	assert_null(xhci_device_at(xhci, 1));
	assert_int_equal(take(TRB_PORT_EVENT, event), CC_SUCCESS);
	assert_int_equal(event[0] >> 24, 1);
	assert_int_equal(take(TRB_TRANSFER_EVENT, event), CC_TRANSACTION);
	assert_int_equal(get(at) & (PORTSC_CONNECTED | PORTSC_ENABLED | PORTSC_SPEED), 0);
	assert_int_equal(get(at) & PORTSC_CONNECT_CHANGE, PORTSC_CONNECT_CHANGE);
	set(at, PORTSC_POWER | PORTSC_CONNECT_CHANGE);
	assert_int_equal(command(0, TRB_DISABLE_SLOT << 10 | slot << 24, NULL), CC_SUCCESS);
	xhci_unplug(xhci, 1);
	xhci_unplug(xhci, 0);
	xhci_unplug(xhci, XHCI_PORTS);
	assert_no_event();
	tablet = usb_create(&hid_tablet);
	assert_int_equal(xhci_plug(xhci, tablet, 0, &error), 1);
	assert_int_equal(take(TRB_PORT_EVENT, event), CC_SUCCESS);
	assert_int_equal(get(at) & (PORTSC_CONNECTED | PORTSC_CONNECT_CHANGE), PORTSC_CONNECTED | PORTSC_CONNECT_CHANGE);
	memset(words(CONTROL_RING), 0, 0x8000);
	memset(ring_at, 0, sizeof(ring_at));
	slot = begin(1);
	for (i = 0; i < 2; i++) {
		hid_place(tablet, false, 40 + i);
		ask(slot, 6);
		expect_report(slot, 6, (const uint8_t[]){0, 40 + i, 0, 0, 0, 0}, 6);
	}
	assert_int_equal(xhci_plug(xhci, usb_create(&hid_mouse), 1, &error), -ENOSPC);
	assert_int_equal(xhci_plug(xhci, usb_create(&hid_mouse), XHCI_USB2_PORTS + 1, &error), -ENOSPC);
}

static void test_hostile(void **state)
{
	unsigned slot, i;

	(void)state;
	take_connections();
	slot = begin(1);
	/* A ring of links alone: the controller stops, and says so. */
	put_trb(in_ring(slot) + ring_at[4 + slot] * 16, in_ring(slot) + ring_at[4 + slot] * 16, 0, TRB_LINK << 10 | 1);
	set(XHCI_DOORBELLS + slot * 4, 3);
	assert_int_equal(get(XHCI_OPERATIONAL + USBSTS) & (STS_CONTROLLER_ERROR | STS_HALTED), STS_CONTROLLER_ERROR | STS_HALTED);
	set(XHCI_DOORBELLS + slot * 4, 3);
	set(XHCI_OPERATIONAL + USBCMD, CMD_RUN);
	assert_int_equal(get(XHCI_OPERATIONAL + USBCMD) & CMD_RUN, 0);
	/* Commands without an end. */
	start();
	take_connections();
	for (i = 0; i < 4; i++)
		put_trb(COMMANDS + i * 16, 0, 0, TRB_NO_OP_COMMAND << 10 | 1);
	put_trb(COMMANDS + i * 16, COMMANDS, 0, TRB_LINK << 10 | 1);
	set(XHCI_DOORBELLS, 0);
	assert_int_equal(get(XHCI_OPERATIONAL + USBSTS) & STS_CONTROLLER_ERROR, STS_CONTROLLER_ERROR);
	/* Memory that is none. */
	start();
	take_connections();
	set(XHCI_OPERATIONAL + CRCR_LOW, 1);
	set(XHCI_OPERATIONAL + CRCR_HIGH, 0x7fff);
	set(XHCI_DOORBELLS, 0);
	assert_int_equal(get(XHCI_OPERATIONAL + USBSTS) & STS_HOST_ERROR, STS_HOST_ERROR);
	/* A transfer that has no end, one of another kind, and contexts that say nonsense. */
	start();
	take_connections();
	slot = begin(1);
	for (i = 0; i < 250; i++)
		put_trb(in_ring(slot) + i * 16, DATA, 0x1ffff, TRB_NORMAL << 10 | TRB_CHAIN | 1);
	put_trb(in_ring(slot) + i * 16, in_ring(slot), 0, TRB_LINK << 10 | TRB_CHAIN | 1);
	hid_place(tablet, false, 1);
	set(XHCI_DOORBELLS + slot * 4, 3);
	assert_int_equal(get(XHCI_OPERATIONAL + USBSTS) & STS_CONTROLLER_ERROR, STS_CONTROLLER_ERROR);
	start();
	take_connections();
	enable_port(1);
	slot = address(1);
	assert_int_equal(command(INPUT, TRB_ADDRESS << 10 | slot << 24, NULL), CC_CONTEXT_STATE);
	assert_int_equal(command(INPUT, TRB_ADDRESS << 10 | 9u << 24, NULL), CC_SLOT_DISABLED);
	words(INPUT)[1] = 1 | 1 << 3;
	words(INPUT + 32 * 4)[1] = 8 << 16 | 3 << 3; /* an OUT endpoint in an IN one's place */
	assert_int_equal(command(INPUT, TRB_CONFIGURE << 10 | slot << 24, NULL), CC_PARAMETER);
	assert_int_equal(command(0, 63 << 10, NULL), CC_TRB);
	assert_int_equal(command(0, TRB_STOP_ENDPOINT << 10 | 3 << 16 | slot << 24, NULL), CC_ENDPOINT_DISABLED);
	assert_int_equal(command(0, TRB_STOP_ENDPOINT << 10 | slot << 24, NULL), CC_TRB);
}

/* A driver that reads no events is told so with the last one, and nothing is written over them. */
static void test_full_event_ring(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 100; i++)
		put_trb(COMMANDS + i * 16, 0, 0, TRB_NO_OP_COMMAND << 10 | 1);
	set(XHCI_DOORBELLS, 0);
	assert_int_equal(TRB_TYPE(words(EVENTS)[3]), TRB_PORT_EVENT);
	assert_int_equal(TRB_TYPE(words(EVENTS + (EVENT_COUNT - 2) * 16)[3]), TRB_HOST_EVENT);
	assert_int_equal(words(EVENTS + (EVENT_COUNT - 2) * 16)[2] >> 24, CC_EVENT_RING_FULL);
	assert_int_equal(words(EVENTS + (EVENT_COUNT - 1) * 16)[3], 0);
}

static void test_saved(void **state)
{
	struct state_stream saved, loaded;
	const void *bytes;
	struct error error;
	size_t size;
	unsigned slot;

	(void)state;
	take_connections();
	slot = begin(1);
	ask(slot, 8);
	hid_place(tablet, true, 3);
	expect_report(slot, 8, (const uint8_t[]){0, 0, 0, 3, 0, 0}, 6);
	ask(slot, 8);
	state_save_begin(&saved);
	state_section_begin(&saved, "xhci", 1);
	xhci_device_ops.save(xhci, &saved);
	state_section_end(&saved);
	assert_int_equal(state_saved(&saved, &bytes, &size, &error), 0);
	xhci_device_ops.hold(xhci);
	xhci_device_ops.reset(xhci);
	assert_false(hid_is_used(tablet));
	state_load_begin(&loaded, bytes, size);
	state_section_begin(&loaded, "xhci", 1);
	xhci_device_ops.load(xhci, &loaded);
	state_section_end(&loaded);
	assert_int_equal(state_loaded(&loaded, &error), 0);
	assert_true(hid_is_used(tablet));
	/* What comes before it is released is told then. */
	hid_place(tablet, true, 9);
	assert_no_event();
	xhci_device_ops.release(xhci);
	expect_report(slot, 8, (const uint8_t[]){0, 0, 0, 9, 0, 0}, 6);
	state_end(&loaded);
	state_end(&saved);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_capabilities, setup, teardown),
		cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tablet, setup, teardown),
		cmocka_unit_test_setup_teardown(test_mouse_and_keyboard, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plugged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_event_ring, setup, teardown),
		cmocka_unit_test_setup_teardown(test_saved, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
