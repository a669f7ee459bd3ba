#include "device/bus/pci.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define OFFSET_RESET_CONTROL 1 /* port 0xcf9, byte accesses only */
#define OFFSET_DATA	     4

#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_MASK   0x80fffffcu

/* Reset control register (Intel PIIX3 data sheet, RC). */
#define RESET_SYSTEM 0x02
#define RESET_CPU    0x04

#define CONFIG_VENDOR	   0x00
#define CONFIG_DEVICE	   0x02
#define CONFIG_REVISION	   0x08
#define CONFIG_CLASS	   0x09
#define CONFIG_HEADER_TYPE 0x0e

#define HEADER_MULTI_FUNCTION 0x80
#define FUNCTIONS	      256

struct pci_bus {
	pthread_mutex_t lock; /* guards everything below and the functions' bytes */
	struct power power;
	uint32_t address;
	uint8_t reset_control;
	struct pci_function *functions[FUNCTIONS]; /* of bus 0; not owned */
};

/* The function that the address register names, or NULL. */
static struct pci_function *addressed(const struct pci_bus *bus)
{
	if (!(bus->address & ADDRESS_ENABLE) || (bus->address >> 16 & 0xff) != 0)
		return NULL;
	return bus->functions[bus->address >> 8 & 0xff];
}

static uint32_t pci_bus_read(void *device, uint16_t offset, unsigned size)
{
	struct pci_bus *bus = device;
	struct pci_function *function;
	uint32_t value = 0xffffffff;

	pthread_mutex_lock(&bus->lock);
	if (offset >= OFFSET_DATA) {
		function = addressed(bus);
		if (function)
			memcpy(&value,
			       function->config + (bus->address & 0xfc) + (offset - OFFSET_DATA),
			       size);
	} else if (offset == 0 && size == 4) {
		value = bus->address;
	} else if (offset == OFFSET_RESET_CONTROL && size == 1) {
		value = bus->reset_control;
	}
	pthread_mutex_unlock(&bus->lock);
	return value;
}

static void write_config(struct pci_function *function, unsigned offset, unsigned size,
			 uint32_t value)
{
	unsigned i;
	uint8_t mask;

	for (i = 0; i < size; i++) {
		mask = function->writable[offset + i];
		function->config[offset + i] =
			(function->config[offset + i] & ~mask) | ((value >> (8 * i)) & mask);
	}
	if (function->config_written)
		function->config_written(function, offset, size);
}

static void write_reset_control(struct pci_bus *bus, uint8_t value)
{
	/* The rising edge of RCPU resets, whichever kind SRST chose. */
	if ((value & RESET_CPU) && !(bus->reset_control & RESET_CPU))
		power_request(&bus->power, POWER_RESET, 0);
	bus->reset_control = value & RESET_SYSTEM;
}

static void pci_bus_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct pci_bus *bus = device;
	struct pci_function *function;

	pthread_mutex_lock(&bus->lock);
	if (offset >= OFFSET_DATA) {
		function = addressed(bus);
		if (function)
			write_config(function, (bus->address & 0xfc) + (offset - OFFSET_DATA), size,
				     value);
	} else if (offset == 0 && size == 4) {
		bus->address = value & ADDRESS_MASK;
	} else if (offset == OFFSET_RESET_CONTROL && size == 1) {
		write_reset_control(bus, value);
	}
	pthread_mutex_unlock(&bus->lock);
}

/* The data port passes on what lies inside one doubleword: offset + size stays within the range. */
const struct pio_ops pci_bus_pio_ops = {
	.read = pci_bus_read,
	.write = pci_bus_write,
	.widest_access = 4,
};

void pci_function_identify(struct pci_function *function, uint16_t vendor, uint16_t device,
			   uint32_t class_code, uint8_t revision)
{
	memcpy(function->config + CONFIG_VENDOR, &vendor, 2);
	memcpy(function->config + CONFIG_DEVICE, &device, 2);
	function->config[CONFIG_REVISION] = revision;
	memcpy(function->config + CONFIG_CLASS, &class_code, 3);
}

void pci_bus_add(struct pci_bus *bus, unsigned slot_function, struct pci_function *function)
{
	unsigned first = slot_function & ~7u;

	if (slot_function != first && bus->functions[first]) {
		bus->functions[first]->config[CONFIG_HEADER_TYPE] |= HEADER_MULTI_FUNCTION;
		bus->functions[first]->initial[CONFIG_HEADER_TYPE] |= HEADER_MULTI_FUNCTION;
	}
	memcpy(function->initial, function->config, sizeof(function->initial));
	bus->functions[slot_function] = function;
}

static void pci_bus_reset(void *device)
{
	struct pci_bus *bus = device;
	struct pci_function *function;
	unsigned i;

	pthread_mutex_lock(&bus->lock);
	bus->address = 0;
	bus->reset_control = 0;
	for (i = 0; i < FUNCTIONS; i++) {
		function = bus->functions[i];
		if (function)
			memcpy(function->config, function->initial, sizeof(function->config));
	}
	pthread_mutex_unlock(&bus->lock);
}

void pci_function_transfer(struct pci_bus *bus, struct pci_function *function, uint8_t *config,
			   struct state_stream *state)
{
	bool is_ours = true;
	unsigned i;

	pthread_mutex_lock(&bus->lock);
	memcpy(config, function->config, PCI_CONFIG_BYTES);
	pthread_mutex_unlock(&bus->lock);
	state_bytes(state, "config", config, PCI_CONFIG_BYTES);
	for (i = 0; i < PCI_CONFIG_BYTES; i++)
		is_ours = is_ours &&
			  !((config[i] ^ function->initial[i]) & ~function->writable[i]);
	state_check(state, "config", is_ours);
}

void pci_function_restore(struct pci_bus *bus, struct pci_function *function,
			  const uint8_t *config)
{
	pthread_mutex_lock(&bus->lock);
	memcpy(function->config, config, PCI_CONFIG_BYTES);
	pthread_mutex_unlock(&bus->lock);
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

	pthread_mutex_lock(&bus->lock);
	transfer(state, bus);
	pthread_mutex_unlock(&bus->lock);
}

static void pci_bus_load(void *device, struct state_stream *state)
{
	struct pci_bus *bus = device, loaded = {.address = 0};

	transfer(state, &loaded);
	if (!state_complete(state))
		return;
	pthread_mutex_lock(&bus->lock);
	bus->address = loaded.address;
	bus->reset_control = loaded.reset_control;
	pthread_mutex_unlock(&bus->lock);
}

static void pci_bus_destroy(void *device)
{
	struct pci_bus *bus = device;

	pthread_mutex_destroy(&bus->lock);
	free(bus);
}

const struct device_ops pci_bus_device_ops = {
	.version = 1,
	.reset = pci_bus_reset,
	.save = pci_bus_save,
	.load = pci_bus_load,
	.destroy = pci_bus_destroy,
};

struct pci_bus *pci_bus_create(const struct power *power, struct error *error)
{
	struct pci_bus *bus = calloc(1, sizeof(*bus));

	if (!bus) {
		error_set_errno(error, ENOMEM, "cannot create the PCI bus");
		return NULL;
	}
	pthread_mutex_init(&bus->lock, NULL);
	bus->power = *power;
	return bus;
}
