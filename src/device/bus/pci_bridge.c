#include "device/bus/pci_bridge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/bus/pci_parts.h"

#define COMMAND_WRITABLE (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |               \
			  PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

/* Which bits of the windows' registers are an address's; the others say how wide it may be. */
#define IO_BITS	       0xf0
#define IO_SHIFT       8 /* they are bits 15 to 12 */
#define IO_LAST	       0xfff
#define MEMORY_BITS    0xfff0
#define MEMORY_SHIFT   16 /* bits 31 to 20 */
#define MEMORY_LAST    0xfffff
#define PREFETCH_64    0x0001
#define CONTROL_BITS   0x0003 /* parity and system errors, which there are none of */

#define EXPRESS_VERSION	     2
#define EXPRESS_TYPE_SHIFT   4
#define EXPRESS_SLOT_THERE   0x0100
#define DEVICE_ROLE_ERRORS   0x8000u
#define DEVICE_CONTROL_BITS  0x7fff /* but the reset of a function */
#define LINK_SPEED_2_5	     0x1
#define LINK_WIDTH_1	     0x10
#define LINK_REPORTS_ACTIVE  (1u << 20)
#define LINK_PORT_SHIFT	     24
#define LINK_CONTROL_BITS    0x00c3
#define LINK2_SPEED_2_5	     0x2

void pci_bridge_describe(struct pci_function *function)
{
	uint8_t *writable = function->writable;

	function->config[PCI_HEADER_TYPE] = PCI_HEADER_BRIDGE;
	pci_put(writable, PCI_COMMAND, 2, COMMAND_WRITABLE);
	memset(writable + PCI_BRIDGE_PRIMARY, 0xff, 3);
	writable[PCI_BRIDGE_IO_BASE] = writable[PCI_BRIDGE_IO_LIMIT] = IO_BITS;
	pci_put(writable, PCI_BRIDGE_MEMORY_BASE, 2, MEMORY_BITS);
	pci_put(writable, PCI_BRIDGE_MEMORY_LIMIT, 2, MEMORY_BITS);
	pci_put(writable, PCI_BRIDGE_PREFETCH_BASE, 2, MEMORY_BITS);
	pci_put(writable, PCI_BRIDGE_PREFETCH_LIMIT, 2, MEMORY_BITS);
	function->config[PCI_BRIDGE_PREFETCH_BASE] = PREFETCH_64;
	function->config[PCI_BRIDGE_PREFETCH_LIMIT] = PREFETCH_64;
	pci_put(writable, PCI_BRIDGE_PREFETCH_BASE_HIGH, 4, UINT32_MAX);
	pci_put(writable, PCI_BRIDGE_PREFETCH_LIMIT_HIGH, 4, UINT32_MAX);
	pci_put(writable, PCI_BRIDGE_CONTROL, 2, CONTROL_BITS);
}

void pci_add_express(struct pci_function *function, unsigned type, uint8_t port)
{
	uint8_t at = pci_add_capability(function, PCI_CAPABILITY_EXPRESS, PCI_EXPRESS_BYTES);
	bool is_port = type == PCI_EXPRESS_ROOT_PORT;
	uint8_t *config = function->config, *writable = function->writable;

	pci_put(config, at + PCI_EXPRESS_FLAGS, 2,
		EXPRESS_VERSION | type << EXPRESS_TYPE_SHIFT | (is_port ? EXPRESS_SLOT_THERE : 0));
	pci_put(config, at + PCI_EXPRESS_DEVICE, 4, DEVICE_ROLE_ERRORS);
	pci_put(writable, at + PCI_EXPRESS_DEVICE_CONTROL, 2, DEVICE_CONTROL_BITS);
	function->express = at;
	/* What is integrated in a root complex has no link. */
	if (type == PCI_EXPRESS_INTEGRATED)
		return;
	pci_put(config, at + PCI_EXPRESS_LINK, 4,
		LINK_SPEED_2_5 | LINK_WIDTH_1 | (is_port ? LINK_REPORTS_ACTIVE : 0) |
			(uint32_t)port << LINK_PORT_SHIFT);
	pci_put(writable, at + PCI_EXPRESS_LINK_CONTROL, 2, LINK_CONTROL_BITS);
	pci_put(config, at + PCI_EXPRESS_LINK_STATUS, 2, LINK_SPEED_2_5 | LINK_WIDTH_1);
	pci_put(config, at + PCI_EXPRESS_LINK2, 4, LINK2_SPEED_2_5);
	pci_put(config, at + PCI_EXPRESS_LINK_CONTROL2, 2, LINK_SPEED_2_5);
}

struct pci_bus *pci_bridge_create_bus(struct pci_function *bridge, struct error *error)
{
	struct pci_bus *bus = calloc(1, sizeof(*bus));

	if (!bus) {
		error_set_errno(error, ENOMEM, "cannot create a PCI bus");
		return NULL;
	}
	bus->root = bridge->bus->root;
	bus->config = bus->root->config;
	bus->bridge = bridge;
	bus->next = bus->root->next;
	bus->root->next = bus;
	bridge->secondary = bus;
	return bus;
}

void pci_bridge_destroy_bus(struct pci_function *bridge)
{
	struct pci_bus *bus = bridge->secondary, **at;

	if (!bus)
		return;
	for (at = &bus->root->next; *at != bus; at = &(*at)->next)
		;
	*at = bus->next;
	bridge->secondary = NULL;
	free(bus);
}

struct pci_bus *pci_bus_numbered(struct pci_bus *root, unsigned number)
{
	struct pci_bus *bus, *above;

	if (number == 0)
		return root;
	for (bus = root->next; bus; bus = bus->next) {
		if (pci_config_get(bus->bridge, PCI_BRIDGE_SECONDARY, 1) != number)
			continue;
		for (above = bus->bridge->bus; above->bridge; above = above->bridge->bus)
			if (number <= pci_config_get(above->bridge, PCI_BRIDGE_SECONDARY, 1) ||
			    number > pci_config_get(above->bridge, PCI_BRIDGE_SUBORDINATE, 1))
				break;
		if (!above->bridge)
			return bus;
	}
	return NULL;
}

/* A window of two registers of `bytes` bytes each holds the range. */
static bool holds(uint64_t base, uint64_t limit, uint64_t address, uint64_t size_bytes)
{
	return base <= limit && address >= base && address <= limit &&
	       size_bytes - 1 <= limit - address;
}

static uint64_t window_at(const uint8_t *config, unsigned at)
{
	return (uint64_t)((config[at] | config[at + 1] << 8) & MEMORY_BITS) << MEMORY_SHIFT;
}

static uint64_t high_at(const uint8_t *config, unsigned at)
{
	uint32_t value;

	memcpy(&value, config + at, sizeof(value));
	return (uint64_t)value << 32;
}

static bool forwards(struct pci_function *bridge, bool is_memory, uint64_t address,
		     uint64_t size_bytes)
{
	uint8_t config[PCI_BRIDGE_WINDOWS_END];
	uint64_t base, limit;

	pthread_mutex_lock(&bridge->lock);
	memcpy(config, bridge->config, sizeof(config));
	pthread_mutex_unlock(&bridge->lock);
	if (!(config[PCI_COMMAND] & (is_memory ? PCI_COMMAND_MEMORY : PCI_COMMAND_IO)))
		return false;
	if (!is_memory)
		return holds((config[PCI_BRIDGE_IO_BASE] & IO_BITS) << IO_SHIFT,
			     (config[PCI_BRIDGE_IO_LIMIT] & IO_BITS) << IO_SHIFT | IO_LAST, address,
			     size_bytes);
	base = window_at(config, PCI_BRIDGE_MEMORY_BASE);
	limit = window_at(config, PCI_BRIDGE_MEMORY_LIMIT) | MEMORY_LAST;
	if (holds(base, limit, address, size_bytes))
		return true;
	base = window_at(config, PCI_BRIDGE_PREFETCH_BASE) |
	       high_at(config, PCI_BRIDGE_PREFETCH_BASE_HIGH);
	limit = window_at(config, PCI_BRIDGE_PREFETCH_LIMIT) | MEMORY_LAST |
		high_at(config, PCI_BRIDGE_PREFETCH_LIMIT_HIGH);
	return holds(base, limit, address, size_bytes);
}

bool pci_bus_is_reached(const struct pci_bus *bus, bool is_memory, uint64_t address,
			uint64_t size_bytes)
{
	for (; bus->bridge; bus = bus->bridge->bus)
		if (!forwards(bus->bridge, is_memory, address, size_bytes))
			return false;
	return true;
}
