#include "machine/pci_setup.h"

#include <stdlib.h>

#include "util/log.h"

/* A BAR as sizing found it; or what a bridge is to forward. */
struct bar_request {
	unsigned slot_function, index;
	bool is_io, is_64;
	bool is_window;
	uint64_t size;
};

/* Of a bus: a bridge has two windows in place of BARs. */
#define REQUESTS_MAX (PCI_FUNCTIONS * PCI_BARS)

#define WINDOW_IO_BYTES	    0x1000ull
#define WINDOW_MEMORY_BYTES (2ull << 20) /* at least: what is plugged in needs some, too */
#define BUS_LAST	    0xff

static uint32_t read_bar(struct pci_bus *bus, unsigned slot_function, unsigned index)
{
	return pci_config_read(bus, slot_function, PCI_BAR(index), 4);
}

static void write_bar(struct pci_bus *bus, unsigned slot_function, unsigned index, uint32_t value)
{
	pci_config_write(bus, slot_function, PCI_BAR(index), 4, value);
}

/* Size a BAR (PCI Local Bus 3.0 §6.2.5.1); decoding is off. How many registers it takes. */
static unsigned size_bar(struct pci_bus *bus, unsigned slot_function, unsigned index,
			 struct bar_request *request)
{
	uint64_t mask;
	uint32_t low;

	write_bar(bus, slot_function, index, UINT32_MAX);
	low = read_bar(bus, slot_function, index);
	write_bar(bus, slot_function, index, 0);
	*request = (struct bar_request){slot_function, index, .is_io = low & PCI_BAR_SPACE_IO};
	if (!low)
		return 1;
	if (request->is_io) {
		request->size = ~(low & ~PCI_BAR_IO_FLAGS) + 1;
		return 1;
	}
	request->is_64 = low & PCI_BAR_MEMORY_64;
	mask = low & ~(uint64_t)PCI_BAR_MEMORY_FLAGS;
	if (!request->is_64) {
		request->size = (uint32_t)~mask + 1ull;
		return 1;
	}
	write_bar(bus, slot_function, index + 1, UINT32_MAX);
	mask |= (uint64_t)read_bar(bus, slot_function, index + 1) << 32;
	write_bar(bus, slot_function, index + 1, 0);
	request->size = ~mask + 1;
	return 2;
}

/* Large ones first, so that alignment leaves no gaps; then by their place. */
static int compare(const void *a, const void *b)
{
	const struct bar_request *first = a, *second = b;

	if (first->size != second->size)
		return first->size < second->size ? 1 : -1;
	if (first->slot_function != second->slot_function)
		return first->slot_function < second->slot_function ? -1 : 1;
	return first->index < second->index ? -1 : 1;
}

/* Take `size` bytes from [*first, end), aligned; 0: there is no room. */
static uint64_t take(uint64_t *first, uint64_t end, uint64_t size)
{
	uint64_t at = (*first + size - 1) & ~(size - 1);

	if (at < *first || at > end || size > end - at)
		return 0;
	*first = at + size;
	return at;
}

static struct pci_bus *bus_behind(struct pci_bus *bus, unsigned slot_function)
{
	return pci_bus_at(bus, slot_function)->secondary;
}

/* The bridge forwards what is between; base above limit: nothing. */
static void open_window(struct pci_bus *bus, const struct bar_request *request, uint64_t at)
{
	uint64_t last = at + request->size - 1;

	if (request->is_io) {
		pci_config_write(bus, request->slot_function, PCI_BRIDGE_IO_BASE, 1, at >> 8);
		pci_config_write(bus, request->slot_function, PCI_BRIDGE_IO_LIMIT, 1, last >> 8);
		return;
	}
	pci_config_write(bus, request->slot_function, PCI_BRIDGE_MEMORY_BASE, 2, at >> 16);
	pci_config_write(bus, request->slot_function, PCI_BRIDGE_MEMORY_LIMIT, 2, last >> 16);
}

static void close_windows(struct pci_bus *bus, unsigned slot_function)
{
	pci_config_write(bus, slot_function, PCI_BRIDGE_IO_BASE, 2, 0x00f0);
	pci_config_write(bus, slot_function, PCI_BRIDGE_MEMORY_BASE, 4, 0x0000fff0);
	pci_config_write(bus, slot_function, PCI_BRIDGE_PREFETCH_BASE, 4, 0x0000fff0);
}

static void place_bus(struct pci_bus *bus, struct pci_layout left);

static void place(struct pci_bus *bus, struct pci_layout *left, const struct bar_request *request)
{
	uint64_t at;

	if (request->is_io) {
		at = take(&left->io_first, left->io_end, request->size);
	} else {
		at = take(&left->low_first, left->low_end, request->size);
		if (!at && request->is_64)
			at = take(&left->high_first, left->high_end, request->size);
	}
	if (!at) {
		log_warning("no room for BAR %u of PCI function %02x.%u, which has 0x%llx bytes",
			    request->index, request->slot_function >> 3, request->slot_function & 7,
			    (unsigned long long)request->size);
		return;
	}
	if (request->is_window) {
		open_window(bus, request, at);
		return;
	}
	write_bar(bus, request->slot_function, request->index, at);
	if (request->is_64)
		write_bar(bus, request->slot_function, request->index + 1, at >> 32);
}

static unsigned size_bus(struct pci_bus *bus, struct bar_request *requests);

static uint64_t power_of_two(uint64_t size)
{
	return size <= 1 ? 1 : 1ull << (64 - __builtin_clzll(size - 1));
}

/* What a bridge needs for all that is behind it: windows of powers of two, where anything fits aligned. */
static unsigned size_bridge(struct pci_bus *bus, unsigned slot_function, struct bar_request *requests)
{
	struct bar_request *behind = malloc(REQUESTS_MAX * sizeof(*behind));
	uint64_t io = 0, memory = 0;
	unsigned i, count, used = 0;

	close_windows(bus, slot_function);
	if (!behind)
		return 0;
	count = size_bus(bus_behind(bus, slot_function), behind);
	for (i = 0; i < count; i++) {
		if (behind[i].is_io)
			io += behind[i].size;
		else if (behind[i].size <= UINT32_MAX)
			memory += behind[i].size;
	}
	free(behind);
	if (io)
		requests[used++] = (struct bar_request){
			slot_function, PCI_BRIDGE_BARS, .is_io = true, .is_window = true,
			.size = power_of_two(io < WINDOW_IO_BYTES ? WINDOW_IO_BYTES : io)};
	requests[used++] = (struct bar_request){
		slot_function, PCI_BRIDGE_BARS + 1, .is_window = true,
		.size = power_of_two(memory < WINDOW_MEMORY_BYTES ? WINDOW_MEMORY_BYTES : memory)};
	return used;
}

static unsigned size_function(struct pci_bus *bus, unsigned slot_function, struct bar_request *requests)
{
	bool is_bridge = bus_behind(bus, slot_function);
	unsigned index, count = 0;

	for (index = 0; index < (is_bridge ? PCI_BRIDGE_BARS : PCI_BARS);) {
		index += size_bar(bus, slot_function, index, &requests[count]);
		if (requests[count].size)
			count++;
	}
	return is_bridge ? count + size_bridge(bus, slot_function, requests + count) : count;
}

static unsigned size_bus(struct pci_bus *bus, struct bar_request *requests)
{
	unsigned slot_function, count = 0;

	for (slot_function = 0; slot_function < PCI_FUNCTIONS; slot_function++)
		if (pci_bus_at(bus, slot_function))
			count += size_function(bus, slot_function, requests + count);
	return count;
}

static void tell_line(struct pci_bus *bus, const struct pci_layout *layout, unsigned slot_function)
{
	unsigned pin = pci_config_read(bus, slot_function, PCI_INTERRUPT_PIN, 1);

	/* What has a line already is wired by the chipset. */
	if (pin && !pci_config_read(bus, slot_function, PCI_INTERRUPT_LINE, 1))
		pci_config_write(bus, slot_function, PCI_INTERRUPT_LINE, 1,
				 layout->link_gsi[pci_bus_link_of(bus, slot_function >> 3, pin - 1)]);
}

/* What is behind a bridge lies in its window. */
static void place_behind(struct pci_bus *bus, const struct pci_layout *layout, unsigned slot_function)
{
	uint32_t io = pci_config_read(bus, slot_function, PCI_BRIDGE_IO_BASE, 2);
	uint32_t memory = pci_config_read(bus, slot_function, PCI_BRIDGE_MEMORY_BASE, 4);
	struct pci_layout inside = *layout;

	inside.io_first = (io & 0xf0) << 8;
	inside.io_end = (io & 0xf000) + 0x1000;
	inside.low_first = (uint64_t)(memory & 0xfff0) << 16;
	inside.low_end = (uint64_t)(memory & 0xfff00000) + 0x100000;
	inside.high_first = inside.high_end = 0;
	if (inside.io_first >= inside.io_end)
		inside.io_first = inside.io_end = 0;
	if (inside.low_first >= inside.low_end)
		inside.low_first = inside.low_end = 0;
	place_bus(bus_behind(bus, slot_function), inside);
	pci_config_write(bus, slot_function, PCI_COMMAND, 2,
			 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void place_bus(struct pci_bus *bus, struct pci_layout left)
{
	struct bar_request *requests = malloc(REQUESTS_MAX * sizeof(*requests));
	const struct pci_layout layout = left;
	unsigned count, i, slot_function;
	uint16_t command;

	if (!requests)
		return;
	count = size_bus(bus, requests);
	qsort(requests, count, sizeof(*requests), compare);
	for (i = 0; i < count; i++)
		place(bus, &left, &requests[i]);
	for (i = 0; i < count; i++) {
		if (requests[i].is_window)
			continue;
		command = pci_config_read(bus, requests[i].slot_function, PCI_COMMAND, 2);
		command |= requests[i].is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
		pci_config_write(bus, requests[i].slot_function, PCI_COMMAND, 2, command);
	}
	free(requests);
	for (slot_function = 0; slot_function < PCI_FUNCTIONS; slot_function++) {
		if (!pci_bus_at(bus, slot_function))
			continue;
		tell_line(bus, &layout, slot_function);
		if (bus_behind(bus, slot_function))
			place_behind(bus, &layout, slot_function);
	}
}

/* By depth, as software looks for them. The last number that is taken. */
static unsigned number_buses(struct pci_bus *bus, unsigned number)
{
	unsigned slot_function, next = number;

	for (slot_function = 0; slot_function < PCI_FUNCTIONS && next < BUS_LAST; slot_function++) {
		if (!pci_bus_at(bus, slot_function) || !bus_behind(bus, slot_function))
			continue;
		pci_config_write(bus, slot_function, PCI_BRIDGE_PRIMARY, 1, number);
		pci_config_write(bus, slot_function, PCI_BRIDGE_SECONDARY, 1, ++next);
		pci_config_write(bus, slot_function, PCI_BRIDGE_SUBORDINATE, 1, BUS_LAST);
		next = number_buses(bus_behind(bus, slot_function), next);
		pci_config_write(bus, slot_function, PCI_BRIDGE_SUBORDINATE, 1, next);
	}
	return next;
}

void pci_setup(struct pci_bus *bus, const struct pci_layout *layout)
{
	number_buses(bus, 0);
	place_bus(bus, *layout);
}
