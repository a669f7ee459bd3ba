/* The bus: configuration accesses by ports and by memory, and the functions on it. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/bus/pci_bridge.h"
#include "device/bus/pci_parts.h"

#define OFFSET_RESET_CONTROL 1 /* port 0xcf9, byte accesses only */
#define OFFSET_DATA	     4

#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_MASK   0x80fffffcu

/* Reset control register (Intel PIIX3 data sheet, RC). */
#define RESET_SYSTEM 0x02
#define RESET_CPU    0x04

#define ECAM_SHIFT	 12 /* bytes of configuration space a function */

static uint32_t read_function(struct pci_function *function, unsigned offset, unsigned size)
{
	uint32_t value, ones = size == 4 ? UINT32_MAX : (1u << (8 * size)) - 1;

	/* What a conventional one has not reads as ones, and of PCI Express nobody has anything there. */
	if (!function || offset + size > PCI_CONFIG_BYTES)
		return function && function->express ? 0 : ones;
	if (function->config_reading)
		function->config_reading(function, offset, size);
	pthread_mutex_lock(&function->lock);
	if (function->msi && pci_overlaps(offset, size, function->msi + PCI_MSI_PENDING, 4))
		pci_irqfds_collect(function);
	value = pci_get(function, offset, size);
	pthread_mutex_unlock(&function->lock);
	return value;
}

static void write_function(struct pci_function *function, unsigned offset, unsigned size,
			   uint32_t value)
{
	unsigned i;
	uint8_t mask, byte;

	if (!function || offset + size > PCI_CONFIG_BYTES)
		return;
	pthread_mutex_lock(&function->lock);
	for (i = 0; i < size; i++) {
		mask = function->writable[offset + i];
		byte = value >> (8 * i);
		function->config[offset + i] = (function->config[offset + i] & ~mask) | (byte & mask);
		function->config[offset + i] &= ~(byte & function->cleared_by_ones[offset + i]);
	}
	pci_update_pin(function);
	pci_update_messages(function);
	pthread_mutex_unlock(&function->lock);
	if (pci_overlaps(offset, size, PCI_COMMAND, 2) ||
	    pci_overlaps(offset, size, PCI_BAR(0), 4 * PCI_BARS) ||
	    (function->rom && pci_overlaps(offset, size, PCI_ROM, 4)))
		pci_windows_update(function);
	if (function->secondary && (pci_overlaps(offset, size, PCI_COMMAND, 2) ||
				    pci_overlaps(offset, size, PCI_BRIDGE_IO_BASE,
						 PCI_BRIDGE_WINDOWS_END - PCI_BRIDGE_IO_BASE)))
		pci_windows_update_behind(function->secondary);
	if (function->config_written)
		function->config_written(function, offset, size);
}

/* The tree stays as it is while a function is accessed. */
uint32_t pci_config_read(struct pci_bus *bus, unsigned slot_function, unsigned offset,
			 unsigned size)
{
	uint32_t value;

	pthread_rwlock_rdlock(&bus->root->tree_lock);
	value = read_function(bus->functions[slot_function], offset, size);
	pthread_rwlock_unlock(&bus->root->tree_lock);
	return value;
}

void pci_config_write(struct pci_bus *bus, unsigned slot_function, unsigned offset, unsigned size,
		      uint32_t value)
{
	pthread_rwlock_rdlock(&bus->root->tree_lock);
	write_function(bus->functions[slot_function], offset, size, value);
	pthread_rwlock_unlock(&bus->root->tree_lock);
}

/* The same by bus number: `address` is bus, slot and function. */
static uint32_t read_address(struct pci_bus *root, unsigned address, unsigned offset, unsigned size)
{
	struct pci_bus *bus;
	uint32_t value;

	pthread_rwlock_rdlock(&root->tree_lock);
	bus = pci_bus_numbered(root, address >> 8);
	value = read_function(bus ? bus->functions[address & 0xff] : NULL, offset, size);
	pthread_rwlock_unlock(&root->tree_lock);
	return value;
}

static void write_address(struct pci_bus *root, unsigned address, unsigned offset, unsigned size,
			  uint32_t value)
{
	struct pci_bus *bus;

	pthread_rwlock_rdlock(&root->tree_lock);
	bus = pci_bus_numbered(root, address >> 8);
	if (bus)
		write_function(bus->functions[address & 0xff], offset, size, value);
	pthread_rwlock_unlock(&root->tree_lock);
}

/* Bus, slot and function that the address register names; -1: none. And the register. */
static int addressed(struct pci_bus *bus, unsigned *offset)
{
	uint32_t address;

	pthread_mutex_lock(&bus->port_lock);
	address = bus->address;
	pthread_mutex_unlock(&bus->port_lock);
	*offset = address & 0xfc;
	return address & ADDRESS_ENABLE ? (int)(address >> 8 & 0xffff) : -1;
}

static uint32_t port_read(void *device, uint16_t offset, unsigned size)
{
	struct pci_bus *bus = device;
	uint32_t value = UINT32_MAX;
	unsigned at;
	int address;

	if (offset >= OFFSET_DATA) {
		address = addressed(bus, &at);
		if (address >= 0)
			value = read_address(bus, address, at + offset - OFFSET_DATA, size);
		return value;
	}
	pthread_mutex_lock(&bus->port_lock);
	if (offset == 0 && size == 4)
		value = bus->address;
	else if (offset == OFFSET_RESET_CONTROL && size == 1)
		value = bus->reset_control;
	pthread_mutex_unlock(&bus->port_lock);
	return value;
}

/* With the lock of the ports held. */
static void write_reset_control(struct pci_bus *bus, uint8_t value)
{
	/* The rising edge of RCPU resets, whichever kind SRST chose. */
	if ((value & RESET_CPU) && !(bus->reset_control & RESET_CPU))
		power_request(&bus->config.power, POWER_RESET, 0);
	bus->reset_control = value & RESET_SYSTEM;
}

static void port_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct pci_bus *bus = device;
	unsigned at;
	int address;

	if (offset >= OFFSET_DATA) {
		address = addressed(bus, &at);
		if (address >= 0)
			write_address(bus, address, at + offset - OFFSET_DATA, size, value);
		return;
	}
	pthread_mutex_lock(&bus->port_lock);
	if (offset == 0 && size == 4)
		bus->address = value & ADDRESS_MASK;
	else if (offset == OFFSET_RESET_CONTROL && size == 1)
		write_reset_control(bus, value);
	pthread_mutex_unlock(&bus->port_lock);
}

/* The data port passes on what lies inside one doubleword: offset + size stays within the range. */
const struct pio_ops pci_bus_pio_ops = {
	.read = port_read,
	.write = port_write,
	.widest_access = 4,
};

/* The most of an access that lies inside one doubleword. */
static unsigned piece_of(uint64_t offset, unsigned size)
{
	unsigned room = 4 - (offset & 3);

	if (size <= room)
		return size;
	return room == 3 ? 1 : room;
}

static _Thread_local unsigned ecam_depth;

bool pci_bus_is_in_ecam(void)
{
	return ecam_depth;
}

static uint64_t ecam_read(void *device, uint64_t offset, unsigned size)
{
	uint64_t value = 0;
	unsigned done, piece;

	ecam_depth++;
	for (done = 0; done < size; done += piece) {
		piece = piece_of(offset + done, size - done);
		value |= (uint64_t)read_address(device, (offset + done) >> ECAM_SHIFT,
						(offset + done) & ((1 << ECAM_SHIFT) - 1), piece)
			 << (8 * done);
	}
	ecam_depth--;
	return value;
}

static void ecam_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	unsigned done, piece;

	ecam_depth++;
	for (done = 0; done < size; done += piece) {
		piece = piece_of(offset + done, size - done);
		write_address(device, (offset + done) >> ECAM_SHIFT,
			      (offset + done) & ((1 << ECAM_SHIFT) - 1), piece,
			      value >> (8 * done));
	}
	ecam_depth--;
}

const struct mmio_ops pci_bus_ecam_ops = {.read = ecam_read, .write = ecam_write};

void pci_bus_add(struct pci_bus *bus, unsigned slot_function, struct pci_function *function)
{
	struct pci_function *first = bus->functions[slot_function & ~7u];

	assert(!bus->functions[slot_function]);
	function->bus = bus;
	function->slot_function = slot_function;
	pci_windows_describe(function);
	if (bus->bridge && bus->bridge->express)
		pci_add_express(function, PCI_EXPRESS_ENDPOINT, 0);
	else if (function->is_express)
		pci_add_express(function, PCI_EXPRESS_INTEGRATED, 0);
	if ((slot_function & 7) && first) {
		first->config[PCI_HEADER_TYPE] |= PCI_HEADER_MULTI_FUNCTION;
		first->initial[PCI_HEADER_TYPE] |= PCI_HEADER_MULTI_FUNCTION;
	}
	memcpy(function->initial, function->config, sizeof(function->initial));
	pthread_rwlock_wrlock(&bus->root->tree_lock);
	bus->functions[slot_function] = function;
	pthread_rwlock_unlock(&bus->root->tree_lock);
}

void pci_bus_remove(struct pci_function *function)
{
	struct pci_bus *bus = function->bus;

	if (!bus || bus->functions[function->slot_function] != function)
		return;
	/* Where nobody finds it nobody opens its windows again. */
	pthread_rwlock_wrlock(&bus->root->tree_lock);
	bus->functions[function->slot_function] = NULL;
	pthread_rwlock_unlock(&bus->root->tree_lock);
	pci_windows_remove(function);
	pci_set_intx(function, false);
}

void pci_function_destroy(struct pci_function *function)
{
	pci_bus_remove(function);
	free(function->msix_table);
	function->msix_table = NULL;
	free(function->rom);
	function->rom = NULL;
	pthread_mutex_destroy(&function->lock);
}

struct pci_function *pci_bus_at(const struct pci_bus *bus, unsigned slot_function)
{
	return slot_function < PCI_FUNCTIONS ? bus->functions[slot_function] : NULL;
}

int pci_bus_free_slot(const struct pci_bus *bus)
{
	unsigned slot, i;

	for (slot = 1; slot < PCI_SLOTS; slot++) {
		for (i = 0; i < 8 && !bus->functions[PCI_SLOT_FUNCTION(slot, i)]; i++)
			;
		if (i == 8)
			return slot;
	}
	return -1;
}

static void reset_functions(struct pci_bus *bus)
{
	unsigned i;

	for (i = 0; i < PCI_FUNCTIONS; i++)
		if (bus->functions[i])
			pci_function_reset(bus->functions[i]);
}

static void pci_bus_reset(void *device)
{
	struct pci_bus *bus = device, *below;

	pthread_mutex_lock(&bus->port_lock);
	bus->address = 0;
	bus->reset_control = 0;
	pthread_mutex_unlock(&bus->port_lock);
	reset_functions(bus);
	for (below = bus->next; below; below = below->next)
		reset_functions(below);
}

static void transfer(struct state_stream *state, struct pci_bus *bus)
{
	state_u32(state, "address", &bus->address);
	state_check(state, "address", !(bus->address & ~ADDRESS_MASK));
	state_u8(state, "reset_control", &bus->reset_control);
	state_check(state, "reset_control", !(bus->reset_control & ~RESET_SYSTEM));
}

static void pci_bus_save(void *device, struct state_stream *state)
{
	struct pci_bus *bus = device;

	pthread_mutex_lock(&bus->port_lock);
	transfer(state, bus);
	pthread_mutex_unlock(&bus->port_lock);
}

static void pci_bus_load(void *device, struct state_stream *state)
{
	struct pci_bus *bus = device, loaded = {.address = 0};

	transfer(state, &loaded);
	if (!state_complete(state))
		return;
	pthread_mutex_lock(&bus->port_lock);
	bus->address = loaded.address;
	bus->reset_control = loaded.reset_control;
	pthread_mutex_unlock(&bus->port_lock);
}

static void pci_bus_destroy(void *device)
{
	struct pci_bus *bus = device;

	pthread_mutex_destroy(&bus->link_lock);
	pthread_mutex_destroy(&bus->port_lock);
	pthread_mutex_destroy(&bus->window_lock);
	pthread_rwlock_destroy(&bus->tree_lock);
	free(bus);
}

const struct device_ops pci_bus_device_ops = {
	.version = 1,
	.reset = pci_bus_reset,
	.save = pci_bus_save,
	.load = pci_bus_load,
	.destroy = pci_bus_destroy,
};

struct pci_bus *pci_bus_create(const struct pci_bus_config *config, struct error *error)
{
	struct pci_bus *bus = calloc(1, sizeof(*bus));

	if (!bus) {
		error_set_errno(error, ENOMEM, "cannot create the PCI bus");
		return NULL;
	}
	bus->root = bus;
	pthread_rwlock_init(&bus->tree_lock, NULL);
	pthread_mutex_init(&bus->window_lock, NULL);
	pthread_mutex_init(&bus->port_lock, NULL);
	pthread_mutex_init(&bus->link_lock, NULL);
	memset(bus->link_gsi, PCI_NO_GSI, sizeof(bus->link_gsi));
	memset(bus->wired_gsi, PCI_NO_GSI, sizeof(bus->wired_gsi));
	bus->config = *config;
	return bus;
}
