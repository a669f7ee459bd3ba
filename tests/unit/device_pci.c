/* The PCI bus, with functions made up for it: windows, pins, messages, capabilities, ECAM, state. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "device/bus/pci_irqfd.h"
#include "device/bus/pci_rom.h"

#define IO_BAR	  0
#define TABLE_BAR 1
#define WIDE_BAR  2

#define TABLE	0x800
#define PBA	0xd00
#define VECTORS 70

#define FIRST  PCI_SLOT_FUNCTION(2, 0)
#define SECOND PCI_SLOT_FUNCTION(3, 0)

/* A device whose registers are all one number. */
struct thing {
	struct pci_function function;
	uint32_t value;
	unsigned activated, deactivated;
	uint64_t at;
	unsigned written;
	/* An access to the I/O BAR waits in here while this is set. */
	_Atomic bool holds, is_inside, is_gone, used_after;
};

static struct {
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct pci_bus *bus;
	struct thing first, second;
	bool levels[256];
	unsigned messages;
	uint64_t address;
	uint32_t data;
	/* The target's places for eventfds. */
	struct place {
		bool is_claimed, is_connected;
		int eventfd;
		uint64_t address;
		uint32_t data;
	} places[4];
	unsigned routings;
	int route_result;
	uint8_t ram[4096];
	struct guest_memory memory;
} rig;

static uint32_t io_read(void *device, uint16_t offset, unsigned size)
{
	struct thing *thing = device;

	(void)size;
	if (thing->holds) {
		thing->is_inside = true;
		while (thing->holds)
			usleep(100);
		thing->used_after = thing->is_gone;
	}
	return thing->value + offset;
}

static void io_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct thing *thing = device;

	(void)offset;
	(void)size;
	thing->value = value;
}

static uint64_t memory_read(void *device, uint64_t offset, unsigned size)
{
	(void)size;
	return ((struct thing *)device)->value + offset;
}

static void memory_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	io_write(device, offset, size, value);
}

static const struct pio_ops io_ops = {io_read, io_write, 4};
static const struct mmio_ops memory_ops = {memory_read, memory_write};

static void activate(struct pci_function *function, unsigned bar, uint64_t address)
{
	struct thing *thing = function->bars[bar].device;

	thing->activated++;
	thing->at = address;
}

static void deactivate(struct pci_function *function, unsigned bar, uint64_t address)
{
	struct thing *thing = function->bars[bar].device;

	assert_true(thing->at == address);
	thing->deactivated++;
	thing->is_gone = true;
}

static void written(struct pci_function *function, unsigned offset, unsigned size)
{
	(void)offset;
	(void)size;
	/* No lock is held: a device may look at its own space. */
	pci_config_get(function, PCI_VENDOR, 2);
	((struct thing *)function->bars[IO_BAR].device)->written++;
}

static void thing_create(struct thing *thing, unsigned slot_function, uint8_t pin)
{
	struct pci_function *function = &thing->function;
	struct error error;

	memset(thing, 0, sizeof(*thing));
	pci_function_init(function, 0x1234, 0x5678, 0xff0000, 1);
	pci_function_set_subsystem(function, 0x1af4, 0x1100);
	pci_function_set_pin(function, pin);
	function->bars[IO_BAR] = (struct pci_bar){
		.kind = PCI_BAR_IO, .size_bytes = 16, .name = "thing I/O", .pio = &io_ops,
		.device = thing, .activate = activate, .deactivate = deactivate};
	function->bars[TABLE_BAR] = (struct pci_bar){
		.kind = PCI_BAR_MEMORY32, .size_bytes = 4096, .name = "thing table",
		.mmio = &memory_ops, .device = thing};
	function->bars[WIDE_BAR] = (struct pci_bar){
		.kind = PCI_BAR_MEMORY64, .is_prefetchable = true, .size_bytes = 1 << 20,
		.name = "thing memory", .mmio = &memory_ops, .device = thing};
	function->config_written = written;
	pci_add_msi(function, 4);
	assert_int_equal(pci_add_msix(function, VECTORS, TABLE_BAR, TABLE, PBA, &error), 0);
	pci_bus_add(rig.bus, slot_function, function);
}

static void set_line(void *context, unsigned gsi, bool level)
{
	(void)context;
	rig.levels[gsi] = level;
}

static void send(void *context, uint64_t address, uint32_t data)
{
	(void)context;
	rig.messages++;
	rig.address = address;
	rig.data = data;
}

#define FIRST_GSI 24

static int claim(void *context, struct error *error)
{
	unsigned i;

	(void)context;
	for (i = 0; i < 4 && rig.places[i].is_claimed; i++)
		;
	if (i == 4)
		return error_set(error, ENOSPC, "no place");
	rig.places[i] = (struct place){.is_claimed = true};
	return FIRST_GSI + i;
}

static void release(void *context, unsigned gsi)
{
	struct place *place = &rig.places[gsi - FIRST_GSI];

	(void)context;
	assert_true(place->is_claimed && !place->is_connected);
	place->is_claimed = false;
}

static int route(void *context, unsigned gsi, uint64_t address, uint32_t data)
{
	struct place *place = &rig.places[gsi - FIRST_GSI];

	(void)context;
	assert_true(place->is_claimed);
	rig.routings++;
	place->address = address;
	place->data = data;
	return rig.route_result;
}

static int connect_eventfd(void *context, unsigned gsi, int eventfd)
{
	struct place *place = &rig.places[gsi - FIRST_GSI];

	(void)context;
	assert_true(place->is_claimed && !place->is_connected);
	place->is_connected = true;
	place->eventfd = eventfd;
	return 0;
}

static void disconnect(void *context, unsigned gsi, int eventfd)
{
	struct place *place = &rig.places[gsi - FIRST_GSI];

	(void)context;
	assert_true(place->is_connected && place->eventfd == eventfd);
	place->is_connected = false;
}

/* What the target would send for a place by now: how often it was signalled. */
static uint64_t taken(unsigned i)
{
	uint64_t count = 0;

	assert_true(rig.places[i].is_connected);
	return read(rig.places[i].eventfd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static int setup(void **state)
{
	struct pci_bus_config config = {
		.memory = &rig.memory,
		.irq = {.set = set_line},
		.msi = {.send = send, .claim = claim, .release = release, .route = route,
			.connect = connect_eventfd, .disconnect = disconnect},
	};
	struct error error;

	(void)state;
	memset(&rig, 0, sizeof(rig));
	rig.memory.regions[0] = (struct guest_region){.size_bytes = sizeof(rig.ram), .hva = rig.ram};
	rig.memory.region_count = 1;
	config.pio = rig.pio = pio_bus_create();
	config.mmio = rig.mmio = mmio_bus_create();
	rig.bus = pci_bus_create(&config, &error);
	assert_non_null(rig.bus);
	assert_int_equal(pio_bus_add(rig.pio, PCI_CONFIG_PORT, PCI_CONFIG_PORTS, "PCI",
				     &pci_bus_pio_ops, rig.bus, &error),
			 0);
	thing_create(&rig.first, FIRST, 1);
	thing_create(&rig.second, SECOND, 2);
	rig.first.value = 0x1000;
	rig.second.value = 0x2000;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pci_function_destroy(&rig.first.function);
	pci_function_destroy(&rig.second.function);
	pci_bus_device_ops.destroy(rig.bus);
	pio_bus_destroy(rig.pio);
	mmio_bus_destroy(rig.mmio);
	return 0;
}

static uint32_t get(unsigned slot_function, unsigned offset, unsigned size)
{
	return pci_config_read(rig.bus, slot_function, offset, size);
}

static void set(unsigned slot_function, unsigned offset, unsigned size, uint32_t value)
{
	pci_config_write(rig.bus, slot_function, offset, size, value);
}

static uint64_t load(uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	mmio_bus_read(rig.mmio, gpa, (uint8_t *)&value, size);
	return value;
}

static void store(uint64_t gpa, uint64_t value, unsigned size)
{
	mmio_bus_write(rig.mmio, gpa, (uint8_t *)&value, size);
}

static uint8_t capability(unsigned slot_function, uint8_t id)
{
	uint8_t at = get(slot_function, PCI_CAPABILITIES, 1);
	unsigned steps = 0;

	while (at && get(slot_function, at, 1) != id && steps++ < 48)
		at = get(slot_function, at + 1, 1);
	assert_true(steps < 48);
	return at;
}

static void test_header(void **state)
{
	(void)state;
	assert_int_equal(get(FIRST, PCI_VENDOR, 4), 0x56781234);
	assert_int_equal(get(FIRST, PCI_SUBSYSTEM_VENDOR, 4), 0x11001af4);
	assert_int_equal(get(FIRST, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES,
			 PCI_STATUS_CAPABILITIES);
	assert_true(capability(FIRST, PCI_CAPABILITY_MSI) >= 0x40);
	assert_true(capability(FIRST, PCI_CAPABILITY_MSIX) >= 0x40);
	assert_int_equal(capability(FIRST, PCI_CAPABILITY_VENDOR), 0);
	/* What nobody has reads as ones; so does what a conventional function hasn't. */
	assert_int_equal(get(PCI_SLOT_FUNCTION(4, 0), 0, 4), 0xffffffff);
	assert_int_equal(get(FIRST, 0x100, 4), 0xffffffff);
	set(FIRST, PCI_VENDOR, 4, 0);
	assert_int_equal(get(FIRST, PCI_VENDOR, 4), 0x56781234);
	assert_int_equal(rig.first.written, 1);
	/* Sizing, with decoding off. */
	set(FIRST, PCI_BAR(IO_BAR), 4, UINT32_MAX);
	assert_int_equal(get(FIRST, PCI_BAR(IO_BAR), 4), 0xfffffff1);
	set(FIRST, PCI_BAR(TABLE_BAR), 4, UINT32_MAX);
	assert_int_equal(get(FIRST, PCI_BAR(TABLE_BAR), 4), 0xfffff000);
	set(FIRST, PCI_BAR(WIDE_BAR), 4, UINT32_MAX);
	set(FIRST, PCI_BAR(WIDE_BAR + 1), 4, UINT32_MAX);
	assert_int_equal(get(FIRST, PCI_BAR(WIDE_BAR), 4), 0xfff0000c);
	assert_int_equal(get(FIRST, PCI_BAR(WIDE_BAR + 1), 4), 0xffffffff);
	set(FIRST, PCI_BAR(5), 4, UINT32_MAX);
	assert_int_equal(get(FIRST, PCI_BAR(5), 4), 0);
}

static void test_windows(void **state)
{
	(void)state;
	set(FIRST, PCI_BAR(IO_BAR), 4, 0xc000);
	set(FIRST, PCI_BAR(TABLE_BAR), 4, 0xd0000000);
	set(FIRST, PCI_BAR(WIDE_BAR), 4, 0);
	set(FIRST, PCI_BAR(WIDE_BAR + 1), 4, 0x12);
	assert_int_equal(pio_bus_read(rig.pio, 0xc004, 4), 0xffffffff);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_IO);
	assert_int_equal(pio_bus_read(rig.pio, 0xc004, 4), 0x1004);
	assert_int_equal(rig.first.activated, 1);
	assert_int_equal(rig.first.at, 0xc000);
	assert_int_equal(load(0xd0000010, 4), 0xffffffff);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	assert_int_equal(load(0xd0000010, 4), 0x1010);
	assert_int_equal(load(0x1200000020, 4), 0x1020);
	assert_int_equal(rig.first.activated, 1);
	/* Moved: gone from there, here now. */
	set(FIRST, PCI_BAR(IO_BAR), 4, 0xc010);
	assert_int_equal(rig.first.activated, 2);
	assert_int_equal(rig.first.deactivated, 1);
	assert_int_equal(pio_bus_read(rig.pio, 0xc004, 4), 0xffffffff);
	assert_int_equal(pio_bus_read(rig.pio, 0xc014, 2), 0x1004);
	/* Sizing while it decodes, addresses that are none: no window, and no harm. */
	set(FIRST, PCI_BAR(IO_BAR), 4, UINT32_MAX);
	assert_int_equal(rig.first.deactivated, 2);
	set(FIRST, PCI_BAR(IO_BAR), 4, 0x10000);
	set(FIRST, PCI_BAR(IO_BAR), 4, 0);
	assert_int_equal(rig.first.activated, 2);
	set(FIRST, PCI_BAR(TABLE_BAR), 4, UINT32_MAX);
	assert_int_equal(load(0xfffff000, 4), 0xffffffff);
	set(FIRST, PCI_BAR(IO_BAR), 4, 0xfff0);
	assert_int_equal(pio_bus_read(rig.pio, 0xffff, 1) & 0xff, 0x0f);
	/* Decoding off. */
	set(FIRST, PCI_COMMAND, 2, 0);
	assert_int_equal(load(0x1200000020, 4), 0xffffffff);
	assert_int_equal(pio_bus_read(rig.pio, 0xffff, 1), 0xff);
}

static void test_overlap(void **state)
{
	(void)state;
	set(FIRST, PCI_BAR(TABLE_BAR), 4, 0xd0000000);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	/* In the middle of where the other is: who was there first answers. */
	set(SECOND, PCI_BAR(WIDE_BAR), 4, 0xd0000000);
	set(SECOND, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(load(0xd0000000, 4), 0x1000);
	assert_int_equal(load(0xd0008000, 4), 0xffffffff);
	set(FIRST, PCI_BAR(TABLE_BAR), 4, 0xe0000000);
	assert_int_equal(load(0xd0000000, 4), 0x2000);
	assert_int_equal(load(0xd0008000, 4), 0xa000);
	/* The configuration ports cannot be taken. */
	set(SECOND, PCI_BAR(IO_BAR), 4, PCI_CONFIG_PORT & ~15u);
	set(SECOND, PCI_COMMAND, 2, PCI_COMMAND_IO);
	pio_bus_write(rig.pio, PCI_CONFIG_PORT, 4, 0x80000000 | SECOND << 8);
	assert_int_equal(pio_bus_read(rig.pio, PCI_CONFIG_PORT + 4, 4), 0x56781234);
}

static void *hold_access(void *argument)
{
	(void)argument;
	pio_bus_read(rig.pio, 0xc000, 4);
	return NULL;
}

static void *move_window(void *argument)
{
	(void)argument;
	set(FIRST, PCI_BAR(IO_BAR), 4, 0xc800);
	return NULL;
}

static void test_moved_under_access(void **state)
{
	pthread_t accessor, mover;

	(void)state;
	set(FIRST, PCI_BAR(IO_BAR), 4, 0xc000);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_IO);
	rig.first.holds = true;
	pthread_create(&accessor, NULL, hold_access, NULL);
	while (!rig.first.is_inside)
		usleep(100);
	pthread_create(&mover, NULL, move_window, NULL);
	while (get(FIRST, PCI_BAR(IO_BAR), 4) != 0xc801)
		usleep(100);
	usleep(10000);
	/* The access goes on, and whoever moves waits for it; nobody else does. */
	assert_int_equal(rig.first.deactivated, 0);
	set(SECOND, PCI_INTERRUPT_LINE, 1, 5);
	assert_int_equal(get(SECOND, PCI_INTERRUPT_LINE, 1), 5);
	assert_int_equal(get(FIRST, PCI_VENDOR, 2), 0x1234);
	rig.first.holds = false;
	pthread_join(accessor, NULL);
	pthread_join(mover, NULL);
	assert_int_equal(rig.first.deactivated, 1);
	assert_false(rig.first.used_after);
	assert_int_equal(pio_bus_read(rig.pio, 0xc804, 4), 0x1004);
	assert_int_equal(pio_bus_read(rig.pio, 0xc004, 4), 0xffffffff);
}

static void test_pins(void **state)
{
	uint8_t msi = capability(FIRST, PCI_CAPABILITY_MSI);

	(void)state;
	/* Slot 2 pin A is link 1, slot 3 pin B is link 3. */
	pci_bus_route(rig.bus, 1, 10);
	pci_bus_route(rig.bus, 3, 10);
	pci_set_intx(&rig.first.function, true);
	assert_true(rig.levels[10]);
	assert_int_equal(get(FIRST, PCI_STATUS, 2) & PCI_STATUS_INTX, PCI_STATUS_INTX);
	pci_set_intx(&rig.second.function, true);
	pci_set_intx(&rig.first.function, false);
	assert_true(rig.levels[10]); /* shared */
	pci_bus_route(rig.bus, 3, 11);
	assert_false(rig.levels[10]);
	assert_true(rig.levels[11]);
	pci_bus_route(rig.bus, 3, PCI_NO_GSI);
	assert_false(rig.levels[11]);
	pci_bus_route(rig.bus, 3, 11);
	pci_set_intx(&rig.second.function, false);
	assert_false(rig.levels[11]);
	/* Disabled, or with messages on: the status stays, the pin falls. */
	pci_set_intx(&rig.first.function, true);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	assert_false(rig.levels[10]);
	assert_int_equal(get(FIRST, PCI_STATUS, 2) & PCI_STATUS_INTX, PCI_STATUS_INTX);
	set(FIRST, PCI_COMMAND, 2, 0);
	assert_true(rig.levels[10]);
	set(FIRST, msi + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE);
	assert_false(rig.levels[10]);
	assert_true(pci_has_messages(&rig.first.function));
	set(FIRST, msi + PCI_MSI_CONTROL, 2, 0);
	assert_true(rig.levels[10]);
	/* A reset lets go. */
	pci_bus_device_ops.reset(rig.bus);
	assert_false(rig.levels[10]);
}

static void test_msi(void **state)
{
	uint8_t at = capability(FIRST, PCI_CAPABILITY_MSI);

	(void)state;
	assert_int_equal(get(FIRST, at + PCI_MSI_CONTROL, 2), 0x0184); /* 4, 64 bits, masks */
	set(FIRST, at + PCI_MSI_ADDRESS, 4, 0xfee01003);
	assert_int_equal(get(FIRST, at + PCI_MSI_ADDRESS, 4), 0xfee01000);
	set(FIRST, at + PCI_MSI_ADDRESS + 4, 4, 0x7);
	set(FIRST, at + PCI_MSI_DATA, 2, 0x4041);
	set(FIRST, at + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE | 2 << PCI_MSI_ENABLED_SHIFT);
	pci_notify(&rig.first.function, 1);
	assert_int_equal(rig.messages, 0); /* no bus master */
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	pci_notify(&rig.first.function, 2);
	assert_int_equal(rig.messages, 1);
	assert_true(rig.address == 0x7fee01000);
	assert_int_equal(rig.data, 0x4042);
	/* Masked: pending, and sent once when unmasked. */
	set(FIRST, at + PCI_MSI_MASK, 4, UINT32_MAX);
	assert_int_equal(get(FIRST, at + PCI_MSI_MASK, 4), 0xf);
	pci_notify(&rig.first.function, 3);
	pci_notify(&rig.first.function, 3);
	assert_int_equal(rig.messages, 1);
	assert_int_equal(get(FIRST, at + PCI_MSI_PENDING, 4), 8);
	set(FIRST, at + PCI_MSI_MASK, 4, 7);
	assert_int_equal(rig.messages, 2);
	assert_int_equal(rig.data, 0x4043);
	assert_int_equal(get(FIRST, at + PCI_MSI_PENDING, 4), 0);
	/* One vector alone, and more asked for than there are. */
	set(FIRST, at + PCI_MSI_MASK, 4, 0);
	set(FIRST, at + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE);
	pci_notify(&rig.first.function, 2);
	assert_int_equal(rig.data, 0x4041);
	set(FIRST, at + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE | 5 << PCI_MSI_ENABLED_SHIFT);
	pci_notify(&rig.first.function, 31);
	assert_int_equal(rig.data, 0x4043);
}

static void test_msix(void **state)
{
	uint8_t at = capability(FIRST, PCI_CAPABILITY_MSIX);
	uint64_t table = 0xd0000000 + TABLE, pba = 0xd0000000 + PBA;

	(void)state;
	set(FIRST, PCI_BAR(TABLE_BAR), 4, 0xd0000000);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(get(FIRST, at + PCI_MSIX_CONTROL, 2), VECTORS - 1);
	assert_int_equal(get(FIRST, at + PCI_MSIX_TABLE, 4), TABLE | TABLE_BAR);
	assert_int_equal(get(FIRST, at + PCI_MSIX_PBA, 4), PBA | TABLE_BAR);
	assert_int_equal(load(table + 69 * 16 + 12, 4), PCI_MSIX_MASKED);
	store(table + 69 * 16, 0xfee00000, 8);
	store(table + 69 * 16 + 8, 0x1234, 4);
	assert_int_equal(load(table + 69 * 16 + 8, 8), 0x100001234);
	/* Not on: nothing, not even pending. */
	pci_notify(&rig.first.function, 69);
	set(FIRST, at + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE);
	assert_int_equal(rig.messages, 0);
	/* Masked, in the second word of the pending bits. */
	pci_notify(&rig.first.function, 69);
	assert_int_equal(load(pba, 8), 0);
	assert_int_equal(load(pba + 8, 8), 1 << 5);
	store(pba + 8, 0, 8);
	assert_int_equal(load(pba + 8, 4), 1 << 5);
	set(FIRST, at + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE | PCI_MSIX_FUNCTION_MASK);
	store(table + 69 * 16 + 12, 0xfffffffe, 4);
	assert_int_equal(load(table + 69 * 16 + 12, 4), 0);
	assert_int_equal(rig.messages, 0);
	set(FIRST, at + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE);
	assert_int_equal(rig.messages, 1);
	assert_true(rig.address == 0xfee00000);
	assert_int_equal(rig.data, 0x1234);
	assert_int_equal(load(pba + 8, 8), 0);
	pci_notify(&rig.first.function, 69);
	assert_int_equal(rig.messages, 2);
	pci_notify(&rig.first.function, VECTORS); /* there is none */
	assert_int_equal(rig.messages, 2);
	/* Around the table and the pending bits is the device. */
	assert_int_equal(load(table - 4, 4), 0x1000 + TABLE - 4);
	assert_int_equal(load(pba + 16, 4), 0x1000 + PBA + 16);
	/* Off again: the pin may be used. */
	pci_bus_device_ops.reset(rig.bus);
	set(FIRST, PCI_BAR(TABLE_BAR), 4, 0xd0000000);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(load(table + 69 * 16 + 12, 4), PCI_MSIX_MASKED);
	assert_int_equal(load(table + 69 * 16 + 8, 4), 0);
}

static void test_irqfd(void **state)
{
	uint8_t at = capability(FIRST, PCI_CAPABILITY_MSIX), msi = capability(FIRST, PCI_CAPABILITY_MSI);
	uint64_t entry = 0xd0000000 + TABLE + 3 * 16, pba = 0xd0000000 + PBA;
	struct pci_irqfd irqfd, other;
	struct error error;

	(void)state;
	assert_int_equal(pci_irqfd_init(&irqfd, &rig.first.function, &error), 0);
	assert_int_equal(pci_irqfd_init(&other, &rig.first.function, &error), 0);
	pci_irqfd_set_vector(&irqfd, 3);
	set(FIRST, PCI_BAR(TABLE_BAR), 4, 0xd0000000);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	store(entry, 0x7fee00000, 8);
	store(entry + 8, 0x1234, 4);
	/* Messages are off: lost. */
	pci_irqfd_signal(&irqfd);
	set(FIRST, at + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE);
	assert_int_equal(load(pba, 8), 0);
	/* Masked: pending, and the target takes it with what comes before it is unmasked. */
	pci_irqfd_signal(&irqfd);
	assert_int_equal(load(pba, 8), 8);
	pci_irqfd_signal(&irqfd);
	assert_int_equal(rig.routings, 0);
	store(entry + 12, 0, 4);
	assert_int_equal(rig.messages, 1); /* what was seen as pending */
	assert_int_equal(rig.routings, 1);
	assert_true(rig.places[0].is_connected && rig.places[0].address == 0x7fee00000);
	assert_int_equal(rig.places[0].data, 0x1234);
	assert_int_equal(taken(0), 1);
	assert_int_equal(load(pba, 8), 0);
	/* Masked and unmasked again: the route is known. Moved while it is open: it follows. */
	store(entry + 12, 1, 4);
	assert_false(rig.places[0].is_connected);
	store(entry + 12, 0, 4);
	assert_true(rig.places[0].is_connected);
	assert_int_equal(rig.routings, 1);
	store(entry + 8, 0x55, 4);
	assert_int_equal(rig.places[0].data, 0x55);
	/* A second eventfd for the same vector; another vector, without a message that can be sent. */
	pci_irqfd_set_vector(&other, 3);
	assert_true(rig.places[1].is_connected);
	assert_int_equal(rig.places[1].data, 0x55);
	store(entry + 16 + 12, 0, 4);
	rig.route_result = -EINVAL;
	pci_irqfd_set_vector(&other, 4);
	assert_false(rig.places[1].is_connected);
	rig.route_result = 0;
	store(entry + 16, 0xfee00000, 8);
	assert_true(rig.places[1].is_connected);
	pci_irqfd_set_vector(&other, VECTORS); /* there is none */
	assert_false(rig.places[1].is_connected);
	/* The whole function masked; no right to be master. */
	set(FIRST, at + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE | PCI_MSIX_FUNCTION_MASK);
	assert_false(rig.places[0].is_connected);
	pci_irqfd_signal(&irqfd);
	set(FIRST, at + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE);
	assert_int_equal(taken(0), 1);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_false(rig.places[0].is_connected);
	pci_irqfd_signal(&irqfd);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(taken(0), 0);
	/* A signal goes with the vector that the eventfd had. */
	store(entry + 12, 1, 4);
	pci_irqfd_signal(&irqfd);
	pci_irqfd_set_vector(&irqfd, PCI_NO_VECTOR);
	assert_int_equal(load(pba, 8), 8);
	/* MSI: the vector's number is in the data. */
	pci_bus_device_ops.reset(rig.bus);
	pci_irqfd_set_vector(&irqfd, 3);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	set(FIRST, msi + PCI_MSI_ADDRESS, 4, 0xfee00000);
	set(FIRST, msi + PCI_MSI_DATA, 2, 0x40);
	set(FIRST, msi + PCI_MSI_MASK, 4, 8);
	set(FIRST, msi + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE | 2 << PCI_MSI_ENABLED_SHIFT);
	pci_irqfd_signal(&irqfd);
	assert_int_equal(get(FIRST, msi + PCI_MSI_PENDING, 4), 8);
	set(FIRST, msi + PCI_MSI_MASK, 4, 0);
	assert_int_equal(rig.data, 0x43);
	assert_int_equal(rig.places[0].data, 0x43);
	assert_true(rig.places[0].is_connected);
	pci_bus_device_ops.reset(rig.bus);
	assert_false(rig.places[0].is_connected);
	pci_irqfd_destroy(&other);
	pci_irqfd_destroy(&irqfd);
	assert_false(rig.places[0].is_claimed || rig.places[1].is_claimed);
}

/* Saving leaves no interrupt behind: what is signalled and not yet taken is sent before. */
static void test_irqfd_saved(void **unused)
{
	uint8_t at = capability(FIRST, PCI_CAPABILITY_MSIX);
	struct pci_function_state saved;
	struct state_stream state;
	struct pci_irqfd irqfd;
	struct error error;

	(void)unused;
	assert_int_equal(pci_irqfd_init(&irqfd, &rig.first.function, &error), 0);
	pci_irqfd_set_vector(&irqfd, 0);
	set(FIRST, PCI_BAR(TABLE_BAR), 4, 0xd0000000);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	set(FIRST, at + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE);
	store(0xd0000000 + TABLE + 8, 0x77, 4);
	store(0xd0000000 + TABLE + 12, 0, 4);
	pci_irqfd_signal(&irqfd);
	state_save_begin(&state);
	state_section_begin(&state, "thing", 1);
	pci_function_transfer(&rig.first.function, &saved, &state);
	assert_int_equal(rig.messages, 1);
	assert_int_equal(rig.data, 0x77);
	assert_int_equal(taken(0), 0);
	pci_function_state_free(&saved);
	/* A masked one is saved as pending. */
	store(0xd0000000 + TABLE + 12, 1, 4);
	pci_irqfd_signal(&irqfd);
	pci_function_transfer(&rig.first.function, &saved, &state);
	assert_int_equal(saved.msix_pending[0], 1);
	pci_function_state_free(&saved);
	state_section_end(&state);
	state_end(&state);
	pci_irqfd_destroy(&irqfd);
}

static uint64_t ecam(unsigned slot_function, unsigned offset, unsigned size)
{
	uint64_t mask = size == 8 ? UINT64_MAX : (1ull << (8 * size)) - 1;

	return pci_bus_ecam_ops.read(rig.bus, (uint64_t)slot_function << 12 | offset, size) & mask;
}

static void test_ecam(void **state)
{
	(void)state;
	assert_true(ecam(FIRST, 0, 4) == 0x56781234);
	assert_true(ecam(FIRST, 2, 2) == 0x5678);
	assert_true(ecam(FIRST, 0, 8) == 0x0010000056781234);
	assert_true(ecam(FIRST, 1, 4) == 0x00567812); /* over two doublewords */
	assert_true(ecam(FIRST, 0x100, 4) == 0xffffffff);
	assert_true(ecam(255, 0, 4) == 0xffffffff);
	pci_bus_ecam_ops.write(rig.bus, SECOND << 12 | PCI_INTERRUPT_LINE, 1, 0x77);
	assert_int_equal(get(SECOND, PCI_INTERRUPT_LINE, 1), 0x77);
}

static void test_dma(void **state)
{
	uint32_t value = 0x12345678, back = 0;

	(void)state;
	assert_int_equal(pci_dma_write(&rig.first.function, 0x100, &value, 4), -EACCES);
	assert_int_equal(pci_dma_read(&rig.first.function, 0x100, &back, 4), -EACCES);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(pci_dma_write(&rig.first.function, 0x100, &value, 4), 0);
	assert_int_equal(pci_dma_read(&rig.first.function, 0x100, &back, 4), 0);
	assert_int_equal(back, value);
	assert_int_equal(pci_dma_write(&rig.first.function, 0xffe, &value, 4), -EFAULT);
}

/* A section with the first function; whether it is good. */
static int transfer(struct state_stream *state, struct error *error)
{
	struct pci_function_state saved;
	int result;

	state_section_begin(state, "thing", 1);
	pci_function_transfer(&rig.first.function, &saved, state);
	if (state->is_loading && state_complete(state))
		pci_function_restore(&rig.first.function, &saved);
	state_section_end(state);
	pci_function_state_free(&saved);
	result = state->is_loading ? state_loaded(state, error) : 0;
	return result;
}

static void test_state(void **unused)
{
	static const size_t header = 1 + 5 + 4 + 4;
	uint8_t at = capability(FIRST, PCI_CAPABILITY_MSIX), *copy;
	struct state_stream state, again;
	struct error error;
	const void *bytes;
	size_t size;

	(void)unused;
	pci_bus_route(rig.bus, 1, 10);
	set(FIRST, PCI_BAR(TABLE_BAR), 4, 0xd0000000);
	set(FIRST, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	set(FIRST, at + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE);
	store(0xd0000000 + TABLE + 8, 0x99, 4);
	pci_notify(&rig.first.function, 0);
	pci_set_intx(&rig.first.function, true);
	state_save_begin(&state);
	transfer(&state, &error);
	assert_int_equal(state_saved(&state, &bytes, &size, &error), 0);
	pci_bus_device_ops.reset(rig.bus);
	assert_int_equal(load(0xd0000000 + TABLE + 8, 4), 0xffffffff);
	state_load_begin(&again, bytes, size);
	assert_int_equal(transfer(&again, &error), 0);
	/* The window, the table and what is pending are back; sending goes on from there. */
	assert_int_equal(load(0xd0000000 + TABLE + 8, 4), 0x99);
	assert_int_equal(load(0xd0000000 + PBA, 4), 1);
	assert_int_equal(rig.messages, 0);
	store(0xd0000000 + TABLE + 12, 0, 4);
	assert_int_equal(rig.messages, 1);
	set(FIRST, at + PCI_MSIX_CONTROL, 2, 0);
	assert_true(rig.levels[10]);
	/* Another function's identity, a vector control that cannot be, a vector that isn't there. */
	copy = malloc(size);
	memcpy(copy, bytes, size);
	copy[header + 5 + PCI_VENDOR] ^= 1;
	state_load_begin(&again, copy, size);
	assert_true(transfer(&again, &error) < 0);
	assert_string_equal(error.message, "the saved state of thing: configuration space has a value "
					   "that it cannot have");
	memcpy(copy, bytes, size);
	copy[header + 5 + PCI_CONFIG_BYTES + 2 + 5 + PCI_MSIX_ENTRY_CONTROL] = 2;
	state_load_begin(&again, copy, size);
	assert_true(transfer(&again, &error) < 0);
	assert_string_equal(error.message, "the saved state of thing: MSI-X table has a value that it "
					   "cannot have");
	memcpy(copy, bytes, size);
	copy[size - 1] = 1;
	state_load_begin(&again, copy, size);
	assert_true(transfer(&again, &error) < 0);
	assert_string_equal(error.message, "the saved state of thing: MSI-X pending bits has a value "
					   "that it cannot have");
	free(copy);
	state_end(&state);
}

/* Two images in a list, for another device: one for a PC, whose bytes add up to 0, and one for UEFI. */
static void fill_rom(uint8_t rom[2560])
{
	uint8_t sum = 0;
	unsigned i;

	memset(rom, 0x11, 2560);
	for (i = 0; i < 2; i++) {
		uint8_t *image = rom + 1024 * i;

		memcpy(image, "\x55\xaa", 2);
		memcpy(image + 0x18, "\x40\0", 2);
		memcpy(image + 0x40, "PCIR\x86\x80\x0e\x10", 8);
		memcpy(image + 0x50, i ? "\x03\0\0\0\x03\x80" : "\x02\0\0\0\0\0", 6);
	}
	for (i = 0; i < 1024; i++)
		sum += rom[i];
	rom[6] -= sum;
}

static uint32_t rom_at(uint64_t address)
{
	uint32_t value = 0;

	mmio_bus_read(rig.mmio, address, (uint8_t *)&value, sizeof(value));
	return value;
}

static void test_rom(void **state)
{
	struct pci_function function;
	struct pci_function_state saved;
	struct error error;
	uint8_t bytes[2560], sum = 0;
	struct pci_rom rom = {bytes, sizeof(bytes), true};
	unsigned i, at = PCI_SLOT_FUNCTION(5, 0);

	(void)state;
	fill_rom(bytes);
	pci_function_init(&function, 0x1234, 0x5678, 0x020000, 1);
	rom.size_bytes = PCI_ROM_BYTES_MAX + 1;
	assert_true(pci_function_set_rom(&function, &rom, &error) < 0);
	rom.size_bytes = sizeof(bytes);
	assert_int_equal(pci_function_set_rom(&function, &rom, &error), 0);
	pci_bus_add(rig.bus, at, &function);
	/* It is sized as a BAR is, but for its lowest bit. */
	assert_int_equal(pci_config_read(rig.bus, at, PCI_ROM, 4), 0);
	pci_config_write(rig.bus, at, PCI_ROM, 4, 0xfffffffe);
	assert_int_equal(pci_config_read(rig.bus, at, PCI_ROM, 4), 0xfffff000);
	/* It opens when both bits are set. */
	pci_config_write(rig.bus, at, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	pci_config_write(rig.bus, at, PCI_ROM, 4, 0xe0000000);
	assert_int_equal(rom_at(0xe0000000), 0xffffffff);
	pci_config_write(rig.bus, at, PCI_ROM, 4, 0xe0000001);
	assert_int_equal(rom_at(0xe0000000) & 0xffff, 0xaa55);
	assert_int_equal(rom_at(0xe0000800), 0x11111111);
	assert_int_equal(rom_at(0xe0000a00), 0xffffffff); /* behind what is in it */
	/* Its images name this device now, and the first still adds up. */
	assert_int_equal(rom_at(0xe0000044), 0x56781234);
	assert_int_equal(rom_at(0xe0000444), 0x56781234);
	for (i = 0; i < 1024; i += 4) {
		uint32_t word = rom_at(0xe0000000 + i);

		sum += word + (word >> 8) + (word >> 16) + (word >> 24);
	}
	assert_int_equal(sum, 0);
	/* It is not written to. */
	mmio_bus_write(rig.mmio, 0xe0000000, (const uint8_t[]){1, 2, 3, 4}, 4);
	assert_int_equal(rom_at(0xe0000000) & 0xffff, 0xaa55);
	/* Its place is saved, and goes at a reset. */
	memset(&saved, 0, sizeof(saved));
	memcpy(saved.config, function.config, sizeof(saved.config));
	pci_function_reset(&function);
	assert_int_equal(rom_at(0xe0000000), 0xffffffff);
	pci_function_restore(&function, &saved);
	assert_int_equal(rom_at(0xe0000000) & 0xffff, 0xaa55);
	pci_config_write(rig.bus, at, PCI_COMMAND, 2, 0);
	assert_int_equal(rom_at(0xe0000000), 0xffffffff);
	pci_function_destroy(&function);
}

/* Lists that lie are left as they are. */
static void test_rom_lies(void **state)
{
	struct pci_function function;
	struct error error;
	uint8_t bytes[2560];
	struct pci_rom rom = {bytes, sizeof(bytes), true};
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		fill_rom(bytes);
		if (i == 0)
			memcpy(bytes + 0x18, "\xff\xff", 2); /* its data lies outside */
		else if (i == 1)
			memcpy(bytes + 0x50, "\xff\xff", 2); /* it is longer than the ROM */
		else if (i == 2)
			memcpy(bytes + 0x50, "\0\0", 2); /* it has no length */
		else
			rom.size_bytes = 0x19; /* it ends in the header */
		pci_function_init(&function, 0x1234, 0x5678, 0x020000, 1);
		assert_int_equal(pci_function_set_rom(&function, &rom, &error), 0);
		assert_int_equal(function.rom[0x444] == 0x86 || i == 3, true);
		pci_function_destroy(&function);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_header, setup, teardown),
		cmocka_unit_test_setup_teardown(test_windows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overlap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved_under_access, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pins, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msi, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msix, setup, teardown),
		cmocka_unit_test_setup_teardown(test_irqfd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_irqfd_saved, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ecam, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dma, setup, teardown),
		cmocka_unit_test_setup_teardown(test_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rom, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rom_lies, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
