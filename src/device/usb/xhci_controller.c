#include "device/usb/xhci.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/usb/xhci_parts.h"
#include "util/event_loop.h"

#define VENDOR	  0x1b36
#define DEVICE_ID 0x000d
#define CLASS_XHCI 0x0c0330
#define CONFIG_USB_RELEASE 0x60 /* §5.2.3: one byte */
#define USB_RELEASE_3	   0x30
#define CONFIG_FRAME_LENGTH 0x61

#define MICROFRAME_NS 125000

/* --- ports (§4.19) --- */

static void port_changes(struct xhci *xhci, unsigned port, uint32_t changes)
{
	uint32_t before = xhci->now.portsc[port];

	xhci->now.portsc[port] |= changes;
	if ((before & changes) == changes)
		return;
	xhci->now.status |= STS_PORT;
	xhci_event(xhci, (uint64_t)(port + 1) << 24, CC_SUCCESS << 24, TRB_PORT_EVENT << 10);
}

static uint32_t first_portsc(const struct xhci *xhci, unsigned port)
{
	const struct usb_device *device = xhci->devices[port];

	if (!device)
		return PORTSC_POWER | LINK_DETECT << PORTSC_LINK_SHIFT;
	return PORTSC_POWER | PORTSC_CONNECTED | PORTSC_CONNECT_CHANGE | LINK_POLLING << PORTSC_LINK_SHIFT |
	       (uint32_t)device->kind->speed << PORTSC_SPEED_SHIFT;
}

static void reset_port(struct xhci *xhci, unsigned port)
{
	uint32_t *portsc = &xhci->now.portsc[port];

	if (!xhci->devices[port])
		return;
	usb_reset(xhci->devices[port]);
	*portsc = (*portsc & ~PORTSC_LINK) | PORTSC_ENABLED | LINK_U0 << PORTSC_LINK_SHIFT;
	port_changes(xhci, port, PORTSC_RESET_CHANGE);
}

static void write_portsc(struct xhci *xhci, unsigned port, uint32_t value)
{
	uint32_t *portsc = &xhci->now.portsc[port];
	uint32_t link = (value & PORTSC_LINK) >> PORTSC_LINK_SHIFT, old = (*portsc & PORTSC_LINK) >> PORTSC_LINK_SHIFT;

	*portsc &= ~(value & PORTSC_CHANGES);
	*portsc = (*portsc & ~PORTSC_KEPT) | (value & PORTSC_KEPT);
	if (value & PORTSC_RESET) {
		reset_port(xhci, port);
		return;
	}
	if (value & PORTSC_ENABLED)
		*portsc &= ~PORTSC_ENABLED; /* a one disables it */
	if (!(value & PORTSC_LINK_WRITE) || !(*portsc & PORTSC_CONNECTED))
		return;
	/* Suspended, and back: nothing sleeps here. */
	if (link == LINK_U0 || link == 3)
		*portsc = (*portsc & ~PORTSC_LINK) | link << PORTSC_LINK_SHIFT;
	else if (link == LINK_RESUME)
		*portsc = (*portsc & ~PORTSC_LINK) | LINK_U0 << PORTSC_LINK_SHIFT;
	if (old != LINK_U0 && (*portsc & PORTSC_LINK) == LINK_U0 << PORTSC_LINK_SHIFT)
		port_changes(xhci, port, PORTSC_LINK_CHANGE);
}

/* --- registers --- */

static void reset_state(struct xhci *xhci)
{
	unsigned i;

	memset(&xhci->now, 0, sizeof(xhci->now));
	xhci->now.status = STS_HALTED;
	for (i = 0; i < XHCI_PORTS; i++) {
		if (xhci->devices[i])
			usb_reset(xhci->devices[i]);
		xhci->now.portsc[i] = first_portsc(xhci, i);
	}
	xhci_update_line(xhci);
}

static uint32_t read_capability(uint64_t offset)
{
	static const uint32_t usb = 0x20425355; /* "USB " */

	switch (offset) {
	case 0x00: return 0x0100u << 16 | XHCI_OPERATIONAL;
	case 0x04: return (uint32_t)XHCI_PORTS << 24 | 1 << 8 | XHCI_SLOTS;
	case 0x08: return 0x0000000f; /* isochronous scheduling threshold; one event segment */
	case 0x10: return (XHCI_EXTENDED / 4) << 16 | 0x1; /* addresses of 64 bits */
	case 0x14: return XHCI_DOORBELLS;
	case 0x18: return XHCI_RUNTIME;
	/* Supported protocols (§7.2). */
	case XHCI_EXTENDED: return 0x02000402;
	case XHCI_EXTENDED + 0x04: return usb;
	case XHCI_EXTENDED + 0x08: return XHCI_USB2_PORTS << 8 | 1;
	case XHCI_EXTENDED + 0x10: return 0x03000002;
	case XHCI_EXTENDED + 0x14: return usb;
	case XHCI_EXTENDED + 0x18: return XHCI_USB3_PORTS << 8 | (XHCI_USB2_PORTS + 1);
	default: return 0;
	}
}

static uint32_t read_operational(struct xhci *xhci, uint64_t offset)
{
	const struct xhci_state *now = &xhci->now;

	switch (offset) {
	case USBCMD: return now->command;
	case USBSTS: return now->status;
	case PAGESIZE: return 1;
	case DNCTRL: return now->notification;
	case CRCR_LOW: return now->command_runs ? CRCR_RUNNING : 0;
	case DCBAAP_LOW: return now->contexts;
	case DCBAAP_HIGH: return now->contexts >> 32;
	case CONFIG: return now->config;
	default: return 0;
	}
}

static uint32_t read_runtime(struct xhci *xhci, uint64_t offset)
{
	const struct xhci_state *now = &xhci->now;

	switch (offset) {
	case MFINDEX:
		return xhci_runs(xhci) ? (monotonic_ns() - xhci->started_ns) / MICROFRAME_NS & 0x3fff : 0;
	case IMAN: return now->iman;
	case IMOD: return now->imod;
	case ERSTSZ: return now->table_size;
	case ERSTBA_LOW: return now->table;
	case ERSTBA_HIGH: return now->table >> 32;
	case ERDP_LOW: return now->event_dequeue;
	case ERDP_HIGH: return now->event_dequeue >> 32;
	default: return 0;
	}
}

static uint32_t read_register(struct xhci *xhci, uint64_t offset)
{
	uint64_t port = (offset - XHCI_PORTS_AT) / XHCI_PORT_BYTES;

	if (offset < XHCI_OPERATIONAL)
		return read_capability(offset);
	if (offset < XHCI_PORTS_AT)
		return read_operational(xhci, offset - XHCI_OPERATIONAL);
	if (port < XHCI_PORTS)
		return offset % XHCI_PORT_BYTES ? 0 : xhci->now.portsc[port];
	if (offset >= XHCI_RUNTIME && offset < XHCI_DOORBELLS)
		return read_runtime(xhci, offset - XHCI_RUNTIME);
	return 0;
}

static void start(struct xhci *xhci)
{
	unsigned i;

	xhci->now.status &= ~STS_HALTED;
	xhci->started_ns = monotonic_ns();
	/* What has happened at the ports meanwhile. */
	for (i = 0; i < XHCI_PORTS; i++)
		if (xhci->now.portsc[i] & PORTSC_CHANGES)
			xhci_event(xhci, (uint64_t)(i + 1) << 24, CC_SUCCESS << 24, TRB_PORT_EVENT << 10);
}

static void write_command(struct xhci *xhci, uint32_t value)
{
	struct xhci_state *now = &xhci->now;
	bool ran = now->command & CMD_RUN;

	if (value & CMD_RESET) {
		reset_state(xhci);
		return;
	}
	if (value & CMD_RESTORE)
		now->status |= STS_RESTORE_ERROR; /* nothing was saved: the driver begins anew */
	now->command = value & CMD_KEPT;
	if (now->status & (STS_CONTROLLER_ERROR | STS_HOST_ERROR))
		now->command &= ~CMD_RUN;
	if ((now->command & CMD_RUN) && !ran) {
		start(xhci);
	} else if (!(now->command & CMD_RUN)) {
		now->status |= STS_HALTED;
		now->command_runs = false;
	}
	xhci_update_line(xhci);
}

static void write_command_ring(struct xhci *xhci, uint32_t value)
{
	struct xhci_state *now = &xhci->now;

	if (now->command_runs) {
		if (value & (CRCR_STOP | CRCR_ABORT)) {
			now->command_runs = false;
			xhci_event(xhci, now->command_ring, CC_RING_STOPPED << 24, TRB_COMMAND_EVENT << 10);
		}
		return;
	}
	now->command_ring = (now->command_ring & ~(uint64_t)UINT32_MAX) | (value & ~0x3fu);
	now->command_cycle = value & CRCR_CYCLE;
}

static void set_low(uint64_t *to, uint32_t value)
{
	*to = (*to & ~(uint64_t)UINT32_MAX) | value;
}

static void set_high(uint64_t *to, uint32_t value)
{
	*to = (*to & UINT32_MAX) | (uint64_t)value << 32;
}

static void write_operational(struct xhci *xhci, uint64_t offset, uint32_t value)
{
	struct xhci_state *now = &xhci->now;

	switch (offset) {
	case USBCMD: write_command(xhci, value); break;
	case USBSTS: now->status &= ~(value & STS_CLEARED_BY_ONES); break;
	case DNCTRL: now->notification = value & 0xffff; break;
	case CRCR_LOW: write_command_ring(xhci, value); break;
	case CRCR_HIGH:
		if (!now->command_runs)
			set_high(&now->command_ring, value);
		break;
	case DCBAAP_LOW: set_low(&now->contexts, value & ~0x3fu); break;
	case DCBAAP_HIGH: set_high(&now->contexts, value); break;
	case CONFIG: now->config = value & 0xff; break;
	default: break;
	}
}

static void write_runtime(struct xhci *xhci, uint64_t offset, uint32_t value)
{
	struct xhci_state *now = &xhci->now;

	switch (offset) {
	case IMAN:
		now->iman = (now->iman & IMAN_PENDING & ~value) | (value & IMAN_ENABLED);
		xhci_update_line(xhci);
		break;
	case IMOD: now->imod = value; break;
	case ERSTSZ: now->table_size = value & 0xffff; break;
	case ERSTBA_LOW: set_low(&now->table, value & ~0x3fu); break;
	case ERSTBA_HIGH:
		set_high(&now->table, value);
		xhci_take_table(xhci);
		break;
	case ERDP_LOW: xhci_write_event_dequeue(xhci, false, value); break;
	case ERDP_HIGH: xhci_write_event_dequeue(xhci, true, value); break;
	default: break;
	}
}

static void ring_doorbell(struct xhci *xhci, uint64_t slot, uint32_t value)
{
	uint32_t target = value & 0xff;

	if (!xhci_runs(xhci))
		return;
	xhci->budget = XHCI_TRBS_MAX;
	if (slot == 0 && target == 0)
		xhci_run_commands(xhci);
	else if (slot && slot <= XHCI_SLOTS && target && target <= XHCI_ENDPOINTS)
		xhci_start_endpoint(xhci, slot - 1, target - 1);
}

static void write_register(struct xhci *xhci, uint64_t offset, uint32_t value)
{
	uint64_t port = (offset - XHCI_PORTS_AT) / XHCI_PORT_BYTES;

	if (offset < XHCI_OPERATIONAL)
		return;
	if (offset < XHCI_PORTS_AT)
		write_operational(xhci, offset - XHCI_OPERATIONAL, value);
	else if (port < XHCI_PORTS && offset % XHCI_PORT_BYTES == 0)
		write_portsc(xhci, port, value);
	else if (offset >= XHCI_DOORBELLS)
		ring_doorbell(xhci, (offset - XHCI_DOORBELLS) / 4, value);
	else if (offset >= XHCI_RUNTIME)
		write_runtime(xhci, offset - XHCI_RUNTIME, value);
}

/* Registers are of 32 bits, and may be accessed in parts, or two at once. */
static uint64_t window_read(void *device, uint64_t offset, unsigned size)
{
	struct xhci *xhci = device;
	uint64_t value;

	pthread_mutex_lock(&xhci->lock);
	value = read_register(xhci, offset & ~3ull);
	if (size == 8)
		value |= (uint64_t)read_register(xhci, (offset & ~3ull) + 4) << 32;
	pthread_mutex_unlock(&xhci->lock);
	return value >> (offset & 3) * 8;
}

static void window_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	struct xhci *xhci = device;

	if (size < 4 || (offset & 3))
		return;
	pthread_mutex_lock(&xhci->lock);
	write_register(xhci, offset, value);
	if (size == 8)
		write_register(xhci, offset + 4, value >> 32);
	pthread_mutex_unlock(&xhci->lock);
}

static const struct mmio_ops window_ops = {window_read, window_write};

/* --- life --- */

/* usb_device.wake: whoever has that device looks at its endpoint. With the lock held. */
static void wake(void *controller, unsigned port, unsigned endpoint, bool is_in)
{
	struct xhci *xhci = controller;
	unsigned i;

	if (!xhci_runs(xhci) || xhci->is_held)
		return;
	xhci->budget = XHCI_TRBS_MAX;
	for (i = 0; i < XHCI_SLOTS; i++)
		if (xhci->now.slots[i].is_enabled && xhci->now.slots[i].port == port + 1)
			xhci_kick(xhci, i, endpoint * 2 - !is_in);
}

int xhci_plug(struct xhci *xhci, struct usb_device *device, unsigned port, struct error *error)
{
	unsigned at = port ? port - 1 : 0;

	pthread_mutex_lock(&xhci->lock);
	while (!port && at < XHCI_USB2_PORTS && xhci->devices[at])
		at++;
	if (at >= XHCI_USB2_PORTS || xhci->devices[at]) {
		pthread_mutex_unlock(&xhci->lock);
		usb_destroy(device);
		return error_set(error, ENOSPC, port ? "port %u is taken or not there" : "all %u ports are taken",
				 port ? port : XHCI_USB2_PORTS);
	}
	device->lock = &xhci->lock;
	device->wake = wake;
	device->controller = xhci;
	device->port = at;
	xhci->devices[at] = device;
	xhci->now.portsc[at] = first_portsc(xhci, at) & ~PORTSC_CONNECT_CHANGE;
	port_changes(xhci, at, PORTSC_CONNECT_CHANGE);
	pthread_mutex_unlock(&xhci->lock);
	return at + 1;
}

struct usb_device *xhci_device_at(struct xhci *xhci, unsigned port)
{
	/* They come and go on this thread alone. */
	return port && port <= XHCI_USB2_PORTS ? xhci->devices[port - 1] : NULL;
}

void xhci_unplug(struct xhci *xhci, unsigned port)
{
	struct usb_device *device;
	unsigned i, j;

	if (!port || port > XHCI_USB2_PORTS)
		return;
	pthread_mutex_lock(&xhci->lock);
	device = xhci->devices[port - 1];
	xhci->devices[port - 1] = NULL;
	if (device) {
		device->wake = NULL;
		xhci->now.portsc[port - 1] = (xhci->now.portsc[port - 1] & (PORTSC_CHANGES | PORTSC_KEPT)) |
					     first_portsc(xhci, port - 1);
		port_changes(xhci, port - 1, PORTSC_CONNECT_CHANGE);
		/* What waited for it fails. */
		xhci->budget = XHCI_TRBS_MAX;
		for (i = 0; i < XHCI_SLOTS; i++)
			for (j = 0; j < XHCI_ENDPOINTS && xhci->now.slots[i].port == port && xhci_runs(xhci); j++)
				xhci_kick(xhci, i, j);
	}
	pthread_mutex_unlock(&xhci->lock);
	usb_destroy(device);
}

static void xhci_reset(void *device)
{
	struct xhci *xhci = device;

	pthread_mutex_lock(&xhci->lock);
	reset_state(xhci);
	pthread_mutex_unlock(&xhci->lock);
}

static void xhci_hold(void *device)
{
	struct xhci *xhci = device;
	unsigned i;

	pthread_mutex_lock(&xhci->lock);
	xhci->is_held = true;
	for (i = 0; i < XHCI_PORTS; i++)
		if (xhci->devices[i])
			usb_hold(xhci->devices[i]);
	pthread_mutex_unlock(&xhci->lock);
}

/* What was typed while it was held waits on its endpoint. */
static void xhci_release(void *device)
{
	struct xhci *xhci = device;
	unsigned i, j;

	pthread_mutex_lock(&xhci->lock);
	xhci->is_held = false;
	for (i = 0; i < XHCI_PORTS; i++)
		if (xhci->devices[i])
			usb_release(xhci->devices[i]);
	for (i = 0; i < XHCI_SLOTS; i++)
		for (j = 1; j < XHCI_ENDPOINTS && xhci_runs(xhci); j++) {
			xhci->budget = XHCI_TRBS_MAX;
			xhci_kick(xhci, i, j);
		}
	pthread_mutex_unlock(&xhci->lock);
}

static void transfer_endpoint(struct xhci_endpoint *endpoint, struct state_stream *state)
{
	state_u8(state, "endpoint", &endpoint->state);
	state_check(state, "endpoint", endpoint->state <= EP_ERROR);
	state_u8(state, "endpoint type", &endpoint->type);
	state_check(state, "endpoint type", endpoint->type < 8);
	state_u64(state, "dequeue", &endpoint->ring.dequeue);
	state_bool(state, "cycle", &endpoint->ring.cycle);
	state_u32(state, "done", &endpoint->done);
	state_u8(state, "setup type", &endpoint->setup.type);
	state_u8(state, "setup request", &endpoint->setup.request);
	state_u16(state, "setup value", &endpoint->setup.value);
	state_u16(state, "setup index", &endpoint->setup.index);
	state_u16(state, "setup length", &endpoint->setup.length);
	state_bool(state, "has setup", &endpoint->has_setup);
	state_bool(state, "has data", &endpoint->has_data);
}

static void transfer_slot(struct xhci_slot *slot, struct state_stream *state)
{
	unsigned i;

	state_bool(state, "slot", &slot->is_enabled);
	state_bool(state, "addressed", &slot->is_addressed);
	state_u8(state, "slot state", &slot->state);
	state_check(state, "slot state", slot->state <= SLOT_CONFIGURED);
	state_u8(state, "port", &slot->port);
	state_check(state, "port", slot->port <= XHCI_USB2_PORTS);
	state_u64(state, "context", &slot->context);
	for (i = 0; i < XHCI_ENDPOINTS && slot->is_enabled; i++)
		transfer_endpoint(&slot->endpoints[i], state);
}

static void transfer_state(struct xhci_state *copy, struct state_stream *state)
{
	unsigned i;

	state_u32(state, "command", &copy->command);
	state_check(state, "command", (copy->command & ~CMD_KEPT) == 0);
	state_u32(state, "status", &copy->status);
	state_u32(state, "notification", &copy->notification);
	state_u32(state, "config", &copy->config);
	state_u64(state, "command ring", &copy->command_ring);
	state_bool(state, "command cycle", &copy->command_cycle);
	state_bool(state, "command runs", &copy->command_runs);
	state_u64(state, "contexts", &copy->contexts);
	for (i = 0; i < XHCI_PORTS; i++)
		state_u32(state, "portsc", &copy->portsc[i]);
	state_u32(state, "iman", &copy->iman);
	state_u32(state, "imod", &copy->imod);
	state_u32(state, "table size", &copy->table_size);
	state_u64(state, "table", &copy->table);
	state_u64(state, "event dequeue", &copy->event_dequeue);
	state_u64(state, "event ring", &copy->event_ring);
	state_u32(state, "event count", &copy->event_count);
	state_u32(state, "event next", &copy->event_next);
	state_check(state, "event next", copy->event_count <= UINT16_MAX &&
						 (copy->event_next < copy->event_count || !copy->event_next));
	state_bool(state, "event cycle", &copy->event_cycle);
	for (i = 0; i < XHCI_SLOTS; i++)
		transfer_slot(&copy->slots[i], state);
}

/* A device of the machine that is loaded has to be here, at the same port and of the same kind. */
static void transfer_devices(struct xhci *xhci, struct usb_device *copies[XHCI_PORTS], struct state_stream *state)
{
	struct usb_device *device;
	bool is_there;
	unsigned i;

	for (i = 0; i < XHCI_PORTS; i++) {
		device = xhci->devices[i];
		is_there = device;
		state_bool(state, "device", &is_there);
		state_check(state, "device", is_there == (device != NULL));
		copies[i] = device ? calloc(1, device->kind->bytes) : NULL;
		if (device && !copies[i])
			state_fail(state, "%s", strerror(ENOMEM));
		if (copies[i])
			usb_transfer(device, copies[i], state);
	}
}

static void save_or_load(void *device, struct state_stream *state)
{
	struct xhci *xhci = device;
	struct usb_device *copies[XHCI_PORTS];
	struct xhci_state *copy = calloc(1, sizeof(*copy));
	struct pci_function_state saved;
	unsigned i;

	if (!copy) {
		state_fail(state, "%s", strerror(ENOMEM));
		return;
	}
	pci_function_transfer(&xhci->function, &saved, state);
	pthread_mutex_lock(&xhci->lock);
	if (!state->is_loading)
		*copy = xhci->now;
	transfer_state(copy, state);
	transfer_devices(xhci, copies, state);
	pthread_mutex_unlock(&xhci->lock);
	if (state->is_loading && state_complete(state)) {
		pci_function_restore(&xhci->function, &saved);
		pthread_mutex_lock(&xhci->lock);
		xhci->now = *copy;
		xhci->started_ns = monotonic_ns();
		for (i = 0; i < XHCI_PORTS; i++)
			if (copies[i])
				usb_loaded(xhci->devices[i], copies[i]);
		if (!pci_has_messages(&xhci->function))
			xhci_update_line(xhci);
		pthread_mutex_unlock(&xhci->lock);
	}
	for (i = 0; i < XHCI_PORTS; i++)
		free(copies[i]);
	pci_function_state_free(&saved);
	free(copy);
}

static void xhci_destroy(void *device)
{
	struct xhci *xhci = device;
	unsigned i;

	/* From now on nothing that ends on another thread comes as far as the guest. */
	xhci_hold(xhci);
	pci_function_destroy(&xhci->function);
	for (i = 0; i < XHCI_PORTS; i++)
		usb_destroy(xhci->devices[i]);
	pthread_mutex_destroy(&xhci->lock);
	free(xhci);
}

const struct device_ops xhci_device_ops = {
	.version = USB_STATE_WORK,
	.reset = xhci_reset,
	.save = save_or_load,
	.load = save_or_load,
	.hold = xhci_hold,
	.release = xhci_release,
	.destroy = xhci_destroy,
};

struct xhci *xhci_create(struct pci_bus *bus, unsigned slot_function, struct error *error)
{
	struct xhci *xhci = calloc(1, sizeof(*xhci));
	struct pci_function *function;

	if (!xhci) {
		error_set_errno(error, ENOMEM, "cannot create a USB controller");
		return NULL;
	}
	pthread_mutex_init(&xhci->lock, NULL);
	xhci->is_held = true;
	function = &xhci->function;
	pci_function_init(function, VENDOR, DEVICE_ID, CLASS_XHCI, 1);
	pci_function_set_subsystem(function, 0x1af4, 0x1100);
	pci_function_set_pin(function, 1);
	function->config[CONFIG_USB_RELEASE] = USB_RELEASE_3;
	function->config[CONFIG_FRAME_LENGTH] = 0x20;
	function->bars[0] = (struct pci_bar){.kind = PCI_BAR_MEMORY64,
					     .size_bytes = XHCI_BYTES,
					     .name = "xHCI",
					     .mmio = &window_ops,
					     .device = xhci};
	if (pci_add_msix(function, 1, 0, XHCI_MSIX_TABLE, XHCI_MSIX_PENDING, error) < 0) {
		xhci_destroy(xhci);
		return NULL;
	}
	pci_bus_add(bus, slot_function, function);
	reset_state(xhci);
	return xhci;
}
