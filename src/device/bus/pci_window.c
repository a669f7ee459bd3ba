/*
 * Base address registers (PCI Local Bus 3.0 §6.2.5.1) and the windows that they open.
 *
 * Who writes a register changes it under the function's lock, and then brings the windows up to
 * date under the bus's: whoever comes last sees all that was written. A window is closed on its bus
 * first, which waits for the accesses in it, and then by the function.
 *
 * A BAR that reads as it does while software sizes it (all ones), that is 0 or that leaves its
 * address space opens no window. One that would overlap a device's range opens none either, until
 * the other has gone.
 */
#include <assert.h>

#include "device/bus/pci_parts.h"
#include "util/log.h"

#define COMMAND_WRITABLE (PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |             \
			  PCI_COMMAND_INTX_DISABLE)
#define IO_LIMIT 0x10000u

static bool is_memory(const struct pci_bar *bar)
{
	return bar->kind != PCI_BAR_IO;
}

static unsigned register_of(unsigned index)
{
	return index == PCI_ROM_BAR ? PCI_ROM : PCI_BAR(index);
}

static void describe(struct pci_function *function, unsigned index)
{
	struct pci_bar *bar = &function->bars[index];
	uint64_t mask = ~(bar->size_bytes - 1);
	uint32_t flags = PCI_BAR_SPACE_IO;

	assert((bar->size_bytes & (bar->size_bytes - 1)) == 0 && bar->size_bytes >= 4);
	if (bar->kind == PCI_BAR_ROM) {
		assert(index == PCI_ROM_BAR && bar->size_bytes > PCI_ROM_FLAGS);
		flags = 0;
		mask |= PCI_ROM_ENABLE;
	} else if (is_memory(bar)) {
		assert(bar->size_bytes >= 16 && (bar->mmio || !bar->pio));
		flags = (bar->is_prefetchable ? PCI_BAR_PREFETCHABLE : 0) |
			(bar->kind == PCI_BAR_MEMORY64 ? PCI_BAR_MEMORY_64 : 0);
	} else {
		assert(bar->size_bytes <= 256 && bar->pio);
	}
	bar->function = function;
	pci_put(function->config, register_of(index), 4, flags);
	pci_put(function->writable, register_of(index), 4, mask);
	if (bar->kind == PCI_BAR_MEMORY64) {
		assert(index + 1 < PCI_BARS && !function->bars[index + 1].kind);
		pci_put(function->writable, PCI_BAR(index + 1), 4, mask >> 32);
	}
}

void pci_windows_describe(struct pci_function *function)
{
	uint32_t command = 0;
	unsigned i;

	for (i = 0; i < PCI_WINDOWS; i++) {
		if (!function->bars[i].kind)
			continue;
		describe(function, i);
		command |= COMMAND_WRITABLE |
			   (is_memory(&function->bars[i]) ? PCI_COMMAND_MEMORY : PCI_COMMAND_IO);
	}
	if (command)
		pci_put(function->writable, PCI_COMMAND, 2, command);
}

/* Whether the registers open a window now, and where. */
static bool wanted_address(struct pci_function *function, unsigned index, uint64_t *address)
{
	const struct pci_bar *bar = &function->bars[index];
	uint64_t at, limit = IO_LIMIT, flags = is_memory(bar) ? PCI_BAR_MEMORY_FLAGS : PCI_BAR_IO_FLAGS;
	bool is_enabled;
	uint32_t command;

	pthread_mutex_lock(&function->lock);
	command = pci_get(function, PCI_COMMAND, 2);
	at = pci_get(function, register_of(index), 4);
	if (bar->kind == PCI_BAR_MEMORY64)
		at |= (uint64_t)pci_get(function, PCI_BAR(index + 1), 4) << 32;
	pthread_mutex_unlock(&function->lock);
	is_enabled = command & (is_memory(bar) ? PCI_COMMAND_MEMORY : PCI_COMMAND_IO);
	if (bar->kind == PCI_BAR_ROM) {
		is_enabled = is_enabled && (at & PCI_ROM_ENABLE);
		flags = PCI_ROM_FLAGS;
	}
	at &= ~flags;
	if (bar->kind == PCI_BAR_MEMORY64)
		limit = UINT64_MAX;
	else if (is_memory(bar))
		limit = UINT32_MAX;
	*address = at;
	return is_enabled && at && at < limit && bar->size_bytes <= limit - at &&
	       pci_bus_is_reached(function->bus, is_memory(bar), at, bar->size_bytes);
}

/* Memory of a BAR with the MSI-X table in it, or with nothing behind it. */
static uint64_t window_read(void *device, uint64_t offset, unsigned size)
{
	const struct pci_bar *bar = device;
	struct pci_function *function = bar->function;

	if (pci_msix_holds(bar, offset))
		return pci_msix_read(function, offset, size);
	return bar->mmio ? bar->mmio->read(bar->device, offset, size) : UINT64_MAX;
}

static void window_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
	const struct pci_bar *bar = device;
	struct pci_function *function = bar->function;

	if (pci_msix_holds(bar, offset))
		pci_msix_write(function, offset, size, value);
	else if (bar->mmio)
		bar->mmio->write(bar->device, offset, size, value);
}

static const struct mmio_ops window_ops = {.read = window_read, .write = window_write};

/* With the windows' lock held. */
static void open_window(struct pci_function *function, unsigned index, uint64_t address)
{
	const struct pci_bus_config *config = &function->bus->config;
	struct pci_bar *bar = &function->bars[index];
	bool is_plain = bar->mmio && !(function->msix && function->msix_bar == index);
	struct error error;
	int result;

	if (bar->activate)
		bar->activate(function, index, address);
	if (!is_memory(bar))
		result = pio_bus_add(config->pio, address, bar->size_bytes, bar->name, bar->pio,
				     bar->device, &error);
	else if (is_plain)
		result = mmio_bus_add(config->mmio, address, bar->size_bytes, bar->name, bar->mmio,
				      bar->device, &error);
	else
		result = mmio_bus_add(config->mmio, address, bar->size_bytes, bar->name,
				      &window_ops, bar, &error);
	if (result < 0) {
		log_guest("PCI function %02x.%u, BAR %u: %s", function->slot_function >> 3,
			  function->slot_function & 7, index, error.message);
		if (bar->deactivate)
			bar->deactivate(function, index, address);
		return;
	}
	bar->address = address;
	bar->is_mapped = true;
}

static void close_window(struct pci_function *function, unsigned index)
{
	const struct pci_bus_config *config = &function->bus->config;
	struct pci_bar *bar = &function->bars[index];

	if (is_memory(bar))
		mmio_bus_remove(config->mmio, bar->address);
	else
		pio_bus_remove(config->pio, bar->address);
	bar->is_mapped = false;
	if (bar->deactivate)
		bar->deactivate(function, index, bar->address);
}

/* Open what should be open and isn't. */
static void open_windows(struct pci_function *function)
{
	uint64_t address;
	unsigned i;

	for (i = 0; i < PCI_WINDOWS; i++)
		if (function->bars[i].kind && !function->bars[i].is_mapped &&
		    wanted_address(function, i, &address))
			open_window(function, i, address);
}

static void open_windows_on(struct pci_bus *bus)
{
	unsigned i;

	for (i = 0; i < PCI_FUNCTIONS; i++)
		if (bus->functions[i])
			open_windows(bus->functions[i]);
}

/* Close what should be closed. Whether anything was. */
static bool close_windows(struct pci_function *function)
{
	bool has_closed = false;
	uint64_t address;
	unsigned i;

	for (i = 0; i < PCI_WINDOWS; i++) {
		if (!function->bars[i].is_mapped)
			continue;
		if (wanted_address(function, i, &address) && address == function->bars[i].address)
			continue;
		close_window(function, i);
		has_closed = true;
	}
	return has_closed;
}

static bool close_windows_behind(struct pci_bus *bus)
{
	bool has_closed = false;
	unsigned i;

	for (i = 0; i < PCI_FUNCTIONS; i++) {
		if (!bus->functions[i])
			continue;
		has_closed = close_windows(bus->functions[i]) || has_closed;
		if (bus->functions[i]->secondary)
			has_closed = close_windows_behind(bus->functions[i]->secondary) || has_closed;
	}
	return has_closed;
}

static void open_windows_behind(struct pci_bus *bus)
{
	unsigned i;

	open_windows_on(bus);
	for (i = 0; i < PCI_FUNCTIONS; i++)
		if (bus->functions[i] && bus->functions[i]->secondary)
			open_windows_behind(bus->functions[i]->secondary);
}

void pci_windows_update(struct pci_function *function)
{
	struct pci_bus *root = function->bus->root;

	pthread_mutex_lock(&root->window_lock);
	/* Where one has gone, another one may have waited for the room. */
	if (close_windows(function))
		open_windows_behind(root);
	else
		open_windows(function);
	pthread_mutex_unlock(&root->window_lock);
}

void pci_windows_update_behind(struct pci_bus *bus)
{
	struct pci_bus *root = bus->root;

	pthread_mutex_lock(&root->window_lock);
	open_windows_behind(close_windows_behind(bus) ? root : bus);
	pthread_mutex_unlock(&root->window_lock);
}

void pci_windows_remove(struct pci_function *function)
{
	struct pci_bus *root = function->bus->root;
	unsigned i;

	pthread_mutex_lock(&root->window_lock);
	for (i = 0; i < PCI_WINDOWS; i++)
		if (function->bars[i].is_mapped)
			close_window(function, i);
	pthread_mutex_unlock(&root->window_lock);
}
