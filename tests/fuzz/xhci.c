/*
 * Fuzz target: the USB controller, whose driver is hostile.
 *
 * A memory stick, a keyboard and a tablet are plugged in; the driver has begun as it should, so that two slots have rings.
 * Each step of the input is a byte that says what to do, and its arguments: bytes anywhere in memory; TRBs that are nearly
 * good, on any ring; control requests and commands for the stick that are whole; doorbells; registers; what people do with
 * the tablet; devices that go and come; resets; holding, saving and loading, as it is or with bytes changed.
 * No access may be outside of memory, and each step has to end.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "device/usb/hid.h"
#include "device/usb/mass_storage.h"
#include "device/usb/xhci.h"
#include "device/usb/xhci_registers.h"
#include "fuzz.h"
#include "util/log.h"

#define GPA	   0xd0000000u
#define PLACE	   (5 << 3)
#define DISK_BYTES (128u << 10)
#define STEPS_MAX  300

/* Memory. */
#define RAM_BYTES   0x10000
#define TABLE	    0x400
#define EVENTS	    0x800
#define RINGS	    0x4000 /* RING_BYTES each: the commands', then of each slot control, in and out */
#define RING_BYTES  0x400
#define RING_TRBS   (RING_BYTES / TRB_BYTES)
#define INPUT	    0x1000
#define OUTPUT	    0x2000
#define DATA	    0x8000
#define SLOTS	    2 /* that the driver enables: the stick, the tablet */
#define PORT_STICK  1
#define PORT_TABLET 2
#define PORT_LAST   3 /* the keyboard's */

enum kind { CONTROL, IN, OUT, KINDS };
#define RING_COUNT (1 + SLOTS * KINDS)
/* Device context indices: of the stick's pipes, and of whatever asks for reports. */
static const uint8_t indices[SLOTS][KINDS] = {{1, 3, 4}, {1, 3, 5}};

enum step { POKE, TRB, REQUEST, STORAGE, DOORBELL, REGISTER, PERSON, PLUG, HOLD, SAVE, RESET, STEPS };

struct world {
	uint8_t *ram;
	struct guest_memory memory;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct pci_bus *bus;
	struct xhci *xhci;
	struct usb_device *tablet; /* NULL: pulled out */
	struct {
		unsigned at;
		bool cycle;
	} rings[RING_COUNT];
};

static void swallow_line(void *context, unsigned gsi, bool level)
{
	(void)context;
	(void)gsi;
	(void)level;
}

static void swallow_message(void *context, uint64_t address, uint32_t data)
{
	(void)context;
	(void)address;
	(void)data;
}

static void set(struct world *world, unsigned offset, uint32_t value)
{
	mmio_bus_write(world->mmio, GPA + offset, (const uint8_t *)&value, sizeof(value));
}

static void put_word(struct world *world, unsigned at, unsigned word, uint32_t value)
{
	memcpy(world->ram + at + 4 * word, &value, sizeof(value));
}

/* --- rings --- */

static unsigned ring_gpa(unsigned ring)
{
	return RINGS + ring * RING_BYTES;
}

static unsigned ring_of(unsigned slot, enum kind kind)
{
	return 1 + (slot - 1) * KINDS + kind;
}

static void put_trb(struct world *world, unsigned ring, uint64_t parameter, uint32_t status, uint32_t control)
{
	unsigned at = ring_gpa(ring) + world->rings[ring].at * TRB_BYTES;

	put_word(world, at, 0, parameter);
	put_word(world, at, 1, parameter >> 32);
	put_word(world, at, 2, status);
	put_word(world, at, 3, (control & ~TRB_CYCLE) | world->rings[ring].cycle);
	if (++world->rings[ring].at < RING_TRBS - 1)
		return;
	at += TRB_BYTES;
	put_word(world, at, 0, ring_gpa(ring));
	put_word(world, at, 1, 0);
	put_word(world, at, 2, 0);
	put_word(world, at, 3, TRB_LINK << 10 | TRB_TOGGLE | world->rings[ring].cycle);
	world->rings[ring].at = 0;
	world->rings[ring].cycle = !world->rings[ring].cycle;
}

/* Ring for a ring. */
static void ring_bell(struct world *world, unsigned ring)
{
	unsigned slot = ring ? 1 + (ring - 1) / KINDS : 0;

	set(world, XHCI_DOORBELLS + 4 * slot, ring ? indices[slot - 1][(ring - 1) % KINDS] : 0);
}

static void command(struct world *world, uint64_t parameter, uint32_t control)
{
	put_trb(world, 0, parameter, 0, control);
	ring_bell(world, 0);
}

static void request(struct world *world, unsigned slot, uint64_t packet)
{
	unsigned ring = ring_of(slot, CONTROL), length = packet >> 48;
	bool is_in = packet & 0x80;

	put_trb(world, ring, packet, 8, TRB_SETUP << 10 | TRB_IMMEDIATE | (length ? 2 + is_in : 0) << 16);
	if (length)
		put_trb(world, ring, DATA, length, TRB_DATA << 10 | TRB_SHORT | (is_in ? TRB_DATA_IN : 0));
	put_trb(world, ring, 0, 0, TRB_STATUS << 10 | TRB_INTERRUPT);
	ring_bell(world, ring);
}

/* --- what a driver does first --- */

static void put_endpoint(struct world *world, unsigned slot, enum kind kind, unsigned type)
{
	unsigned at = INPUT + CONTEXT_BYTES * (1 + indices[slot - 1][kind]);

	put_word(world, at, 1, 64 << 16 | type << 3 | 3 << 1);
	put_word(world, at, 2, ring_gpa(ring_of(slot, kind)) | 1);
}

static void begin_slot(struct world *world, unsigned slot, unsigned port)
{
	const uint64_t output = OUTPUT + slot * 0x800;

	set(world, XHCI_PORTS_AT + (port - 1) * XHCI_PORT_BYTES, PORTSC_POWER | PORTSC_RESET | PORTSC_CONNECT_CHANGE);
	set(world, XHCI_PORTS_AT + (port - 1) * XHCI_PORT_BYTES, PORTSC_POWER | PORTSC_RESET_CHANGE);
	command(world, 0, TRB_ENABLE_SLOT << 10);
	memset(world->ram + INPUT, 0, 0x1000);
	put_word(world, INPUT, 1, 3);
	put_word(world, INPUT + CONTEXT_BYTES, 0, 1 << 27 | USB_SPEED_HIGH << 20);
	put_word(world, INPUT + CONTEXT_BYTES, 1, port << 16);
	put_endpoint(world, slot, CONTROL, EP_CONTROL);
	memcpy(world->ram + 8 * slot, &output, sizeof(output));
	command(world, INPUT, TRB_ADDRESS << 10 | slot << 24);
	memset(world->ram + INPUT, 0, 0x1000);
	put_word(world, INPUT, 1, 1 | 1 << indices[slot - 1][IN] | 1 << indices[slot - 1][OUT]);
	put_word(world, INPUT + CONTEXT_BYTES, 0, 5u << 27);
	put_endpoint(world, slot, IN, slot == 1 ? 6 : 7);
	put_endpoint(world, slot, OUT, 2);
	command(world, INPUT, TRB_CONFIGURE << 10 | slot << 24);
	request(world, slot, 9ull << 8 | 1ull << 16); /* SET_CONFIGURATION */
}

static void begin(struct world *world)
{
	unsigned i;

	set(world, XHCI_OPERATIONAL + USBCMD, CMD_RESET);
	pci_config_write(world->bus, PLACE, PCI_BAR(0), 4, GPA);
	pci_config_write(world->bus, PLACE, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	memset(world->ram, 0, DATA);
	for (i = 0; i < RING_COUNT; i++) {
		world->rings[i].at = 0;
		world->rings[i].cycle = true;
	}
	put_word(world, TABLE, 0, EVENTS);
	put_word(world, TABLE, 2, 64);
	set(world, XHCI_OPERATIONAL + USBCMD, CMD_RESET);
	set(world, XHCI_OPERATIONAL + CONFIG, 8);
	set(world, XHCI_OPERATIONAL + DCBAAP_LOW, 0);
	set(world, XHCI_OPERATIONAL + DCBAAP_HIGH, 0);
	set(world, XHCI_OPERATIONAL + CRCR_LOW, ring_gpa(0) | CRCR_CYCLE);
	set(world, XHCI_OPERATIONAL + CRCR_HIGH, 0);
	set(world, XHCI_RUNTIME + ERSTSZ, 1);
	set(world, XHCI_RUNTIME + ERDP_LOW, EVENTS);
	set(world, XHCI_RUNTIME + ERDP_HIGH, 0);
	set(world, XHCI_RUNTIME + ERSTBA_LOW, TABLE);
	set(world, XHCI_RUNTIME + ERSTBA_HIGH, 0);
	set(world, XHCI_RUNTIME + IMAN, IMAN_ENABLED);
	set(world, XHCI_OPERATIONAL + USBCMD, CMD_RUN | CMD_INTE);
	begin_slot(world, 1, PORT_STICK);
	begin_slot(world, 2, PORT_TABLET);
}

/* --- steps --- */

static void poke(struct world *world, struct fuzz_input *input)
{
	uint16_t offset = fuzz_u16(input);
	uint8_t bytes[32], count = fuzz_u8(input) % sizeof(bytes);

	fuzz_take(input, bytes, count);
	if (count > RAM_BYTES - offset)
		count = RAM_BYTES - offset;
	memcpy(world->ram + offset, bytes, count);
}

static void add_trb(struct world *world, struct fuzz_input *input)
{
	unsigned ring = fuzz_u8(input) % RING_COUNT, type = fuzz_u8(input) & 0x3f, flags = fuzz_u8(input);
	/* In memory, or a little beyond. */
	uint64_t parameter = fuzz_u16(input) + (flags & 0x80 ? 0x80u : 0);
	uint32_t status = fuzz_u16(input);

	put_trb(world, ring, parameter, status,
		type << 10 | (flags & 0x7e) | (uint32_t)fuzz_u8(input) << 24 | (uint32_t)fuzz_u8(input) << 16);
	if (flags & 1)
		ring_bell(world, ring);
}

static void control(struct world *world, struct fuzz_input *input)
{
	unsigned slot = 1 + fuzz_u8(input) % SLOTS;
	uint64_t packet = fuzz_u8(input);

	packet |= (uint64_t)fuzz_u8(input) << 8 | (uint64_t)fuzz_u16(input) << 16 | (uint64_t)fuzz_u8(input) << 32;
	request(world, slot, packet | (uint64_t)fuzz_u16(input) << 48);
}

/* A command for the stick (Bulk-Only Transport §5.1), its data and its status; what it works on may come later. */
static void ask_storage(struct world *world, struct fuzz_input *input)
{
	uint8_t *packet = world->ram + DATA;
	uint32_t length = fuzz_u16(input), moved = fuzz_u16(input);
	bool is_in = fuzz_u8(input) & 0x80;

	memset(packet, 0, 31);
	memcpy(packet, "USBC", 4);
	memcpy(packet + 8, &length, sizeof(length));
	packet[12] = is_in ? 0x80 : 0;
	packet[14] = 16;
	fuzz_take(input, packet + 15, 16);
	put_trb(world, ring_of(1, OUT), DATA, 31, TRB_NORMAL << 10 | TRB_INTERRUPT);
	ring_bell(world, ring_of(1, OUT));
	if (moved)
		put_trb(world, ring_of(1, is_in ? IN : OUT), DATA + 0x1000, moved, TRB_NORMAL << 10 | TRB_SHORT | TRB_INTERRUPT);
	if (moved && !is_in)
		ring_bell(world, ring_of(1, OUT));
	put_trb(world, ring_of(1, IN), DATA + 0x100, 13, TRB_NORMAL << 10 | TRB_INTERRUPT);
	ring_bell(world, ring_of(1, IN));
}

static void set_register(struct world *world, struct fuzz_input *input)
{
	static const uint16_t windows[] = {XHCI_OPERATIONAL, XHCI_PORTS_AT, XHCI_RUNTIME, XHCI_DOORBELLS, XHCI_MSIX_TABLE, 0};
	uint16_t offset = windows[fuzz_u8(input) % 6] + fuzz_u8(input);
	uint8_t bytes[8], size = 1 << fuzz_u8(input) % 4;

	fuzz_take(input, bytes, sizeof(bytes));
	mmio_bus_write(world->mmio, GPA + offset, bytes, size);
	mmio_bus_read(world->mmio, GPA + offset, bytes, size);
}

static void move_somebody(struct world *world, struct fuzz_input *input)
{
	uint8_t what = fuzz_u8(input), value = fuzz_u8(input);

	if (!world->tablet)
		return;
	switch (what % 4) {
	case 0: hid_place(world->tablet, what & 4, value << 7); break;
	case 1: hid_turn(world->tablet, (int8_t)value); break;
	case 2: hid_press(world->tablet, value & 7, what & 8); break;
	case 3: hid_is_used(world->tablet); break;
	}
}

static struct usb_device *make_stick(void)
{
	const struct block_options options = {.format = "raw", .discard = true, .unlocked = true, .aio = BLOCK_AIO_THREADS};
	struct drive_config config = {.is_present = true};
	struct usb_device *device;
	struct error error;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	fuzz_check(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
	fuzz_check(block_open_fd(fd, "fuzz", &options, &config.block, &error) == 0);
	close(fd);
	device = usb_mass_storage_create(&config, false, &error);
	fuzz_check(device);
	return device;
}

/* Pull something out, or put it back. */
static void change_port(struct world *world, unsigned port)
{
	struct usb_device *device;
	struct error error;

	if (xhci_device_at(world->xhci, port)) {
		if (port == PORT_TABLET)
			world->tablet = NULL;
		xhci_unplug(world->xhci, port);
		return;
	}
	device = port == PORT_STICK ? make_stick() : usb_create(port == PORT_TABLET ? &hid_tablet : &hid_keyboard);
	fuzz_check(device && xhci_plug(world->xhci, device, port, &error) == (int)port);
	if (port == PORT_TABLET)
		world->tablet = device;
}

static void save_and_load(struct world *world, struct fuzz_input *input)
{
	uint8_t changes = fuzz_u8(input) & 3, *changed;
	struct state_stream saved, loaded;
	const void *bytes;
	struct error error;
	size_t size;

	xhci_device_ops.hold(world->xhci);
	state_save_begin(&saved);
	state_section_begin(&saved, "xhci", xhci_device_ops.version);
	xhci_device_ops.save(world->xhci, &saved);
	state_section_end(&saved);
	fuzz_check(state_saved(&saved, &bytes, &size, &error) == 0);
	changed = malloc(size);
	fuzz_check(changed);
	memcpy(changed, bytes, size);
	for (unsigned i = 0; i < changes; i++) {
		uint16_t at = fuzz_u16(input);

		changed[at % size] = fuzz_u8(input);
	}
	state_load_begin(&loaded, changed, size);
	state_section_begin(&loaded, "xhci", xhci_device_ops.version);
	xhci_device_ops.load(world->xhci, &loaded);
	state_section_end(&loaded);
	fuzz_check(state_loaded(&loaded, &error) == 0 || changes);
	state_end(&loaded);
	state_end(&saved);
	free(changed);
	xhci_device_ops.release(world->xhci);
}

static void drive(struct world *world, struct fuzz_input *input)
{
	unsigned steps;

	for (steps = 0; input->size && steps < STEPS_MAX; steps++) {
		uint8_t what = fuzz_u8(input);

		switch (what % 16 % STEPS) {
		case POKE: poke(world, input); break;
		case TRB: add_trb(world, input); break;
		case REQUEST: control(world, input); break;
		case STORAGE: ask_storage(world, input); break;
		case DOORBELL: {
			uint8_t slot = fuzz_u8(input);

			set(world, XHCI_DOORBELLS + 4 * slot, fuzz_u8(input));
			break;
		}
		case REGISTER: set_register(world, input); break;
		case PERSON: move_somebody(world, input); break;
		case PLUG: change_port(world, 1 + fuzz_u8(input) % PORT_LAST); break;
		case HOLD: break;
		case SAVE: save_and_load(world, input); break;
		case RESET:
			if (what & 0x40)
				xhci_device_ops.reset(world->xhci);
			begin(world);
			break;
		}
		/* Mostly in step with the medium, sometimes not. */
		if (what & 0x80)
			continue;
		xhci_device_ops.hold(world->xhci);
		xhci_device_ops.release(world->xhci);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct world world = {.pio = pio_bus_create(), .mmio = mmio_bus_create()};
	struct pci_bus_config config = {.pio = world.pio,
					.mmio = world.mmio,
					.memory = &world.memory,
					.irq = {.set = swallow_line},
					.msi = {.send = swallow_message}};
	struct error error;
	unsigned port;

	log_set_level(LOG_ERROR);
	/* Its own allocation, so that what lies beside it is noticed. */
	world.ram = aligned_alloc(4096, RAM_BYTES);
	fuzz_check(world.ram && world.pio && world.mmio);
	memset(world.ram, 0, RAM_BYTES);
	world.memory.region_count = 1;
	world.memory.regions[0] = (struct guest_region){.size_bytes = RAM_BYTES, .hva = world.ram};
	world.bus = pci_bus_create(&config, &error);
	fuzz_check(world.bus);
	world.xhci = xhci_create(world.bus, PLACE, &error);
	fuzz_check(world.xhci);
	for (port = 1; port <= PORT_LAST; port++)
		change_port(&world, port);
	xhci_device_ops.release(world.xhci);
	begin(&world);
	drive(&world, &input);
	xhci_device_ops.destroy(world.xhci);
	pci_bus_device_ops.destroy(world.bus);
	mmio_bus_destroy(world.mmio);
	pio_bus_destroy(world.pio);
	free(world.ram);
	return 0;
}
