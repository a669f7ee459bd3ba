#include "machine/pci_setup.h"

#include <stdlib.h>

#include "util/log.h"

/* A BAR as sizing found it. */
struct request {
	unsigned slot_function, index;
	bool is_io, is_64;
	uint64_t size;
};

#define REQUESTS_MAX (PCI_FUNCTIONS * PCI_BARS)

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
			 struct request *request)
{
	uint64_t mask;
	uint32_t low;

	write_bar(bus, slot_function, index, UINT32_MAX);
	low = read_bar(bus, slot_function, index);
	write_bar(bus, slot_function, index, 0);
	*request = (struct request){slot_function, index, .is_io = low & PCI_BAR_SPACE_IO};
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
	const struct request *first = a, *second = b;

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

static void place(struct pci_bus *bus, struct pci_layout *left, const struct request *request)
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
	write_bar(bus, request->slot_function, request->index, at);
	if (request->is_64)
		write_bar(bus, request->slot_function, request->index + 1, at >> 32);
}

static unsigned size_function(struct pci_bus *bus, unsigned slot_function, struct request *requests)
{
	unsigned index, count = 0;

	for (index = 0; index < PCI_BARS;) {
		index += size_bar(bus, slot_function, index, &requests[count]);
		if (requests[count].size)
			count++;
	}
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

void pci_setup(struct pci_bus *bus, const struct pci_layout *layout)
{
	struct request *requests = malloc(REQUESTS_MAX * sizeof(*requests));
	struct pci_layout left = *layout;
	unsigned count = 0, added, i, slot_function;
	uint16_t command;

	for (slot_function = 0; requests && slot_function < PCI_FUNCTIONS; slot_function++) {
		if (pci_config_read(bus, slot_function, PCI_VENDOR, 2) == 0xffff)
			continue;
		tell_line(bus, layout, slot_function);
		added = size_function(bus, slot_function, requests + count);
		count += added;
	}
	if (requests)
		qsort(requests, count, sizeof(*requests), compare);
	for (i = 0; i < count; i++)
		place(bus, &left, &requests[i]);
	for (i = 0; i < count; i++) {
		command = pci_config_read(bus, requests[i].slot_function, PCI_COMMAND, 2);
		command |= requests[i].is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
		pci_config_write(bus, requests[i].slot_function, PCI_COMMAND, 2, command);
	}
	free(requests);
}
