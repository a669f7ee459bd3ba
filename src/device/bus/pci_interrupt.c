/*
 * How functions interrupt: INTx pins (PCI Local Bus 3.0 §2.2.6), what a change of registers does to
 * pins and messages, and MSI-X's table and pending bits as software sees them (§6.8.2).
 */
#include "device/bus/pci_parts.h"

/* --- pins and links --- */

unsigned pci_link_of(unsigned slot, unsigned pin)
{
	return (slot + pin + PCI_PINS - 1) % PCI_PINS;
}

unsigned pci_bus_link_of(const struct pci_bus *bus, unsigned slot, unsigned pin)
{
	/* A bridge rotates the pins behind it by their slots (PCI-to-PCI Bridge 1.2 §9.1). */
	for (; bus->bridge; bus = bus->bridge->bus) {
		pin = (slot + pin) % PCI_PINS;
		slot = bus->bridge->slot_function >> 3;
	}
	return bus->config.link_of ? bus->config.link_of(slot, pin) : pci_link_of(slot, pin);
}

/* Drive a GSI: links may share it. With the links' lock held. */
static void drive_gsi(struct pci_bus *bus, uint8_t gsi)
{
	struct irq_line line = bus->config.irq;
	bool level = false;
	unsigned link;

	if (gsi == PCI_NO_GSI)
		return;
	for (link = 0; link < PCI_LINKS_MAX; link++)
		level = level || ((bus->link_gsi[link] == gsi || bus->wired_gsi[link] == gsi) &&
				  bus->link_users[link]);
	line.gsi = gsi;
	irq_line_set(&line, level);
}

void pci_bus_route(struct pci_bus *bus, unsigned link, uint8_t gsi)
{
	uint8_t old;

	pthread_mutex_lock(&bus->link_lock);
	old = bus->link_gsi[link];
	if (old != gsi) {
		bus->link_gsi[link] = gsi;
		drive_gsi(bus, old);
		drive_gsi(bus, gsi);
	}
	pthread_mutex_unlock(&bus->link_lock);
}

void pci_bus_wire(struct pci_bus *bus, unsigned link, uint8_t gsi)
{
	bus->wired_gsi[link] = gsi;
}

static void drive_link(struct pci_function *function, bool level)
{
	struct pci_bus *bus = function->bus->root;
	unsigned link = pci_bus_link_of(function->bus, function->slot_function >> 3,
					function->config[PCI_INTERRUPT_PIN] - 1u);

	pthread_mutex_lock(&bus->link_lock);
	if (level)
		bus->link_users[link]++;
	else
		bus->link_users[link]--;
	drive_gsi(bus, bus->link_gsi[link]);
	drive_gsi(bus, bus->wired_gsi[link]);
	pthread_mutex_unlock(&bus->link_lock);
}

void pci_update_pin(struct pci_function *function)
{
	bool disabled = pci_get(function, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE;
	bool driven = function->intx_level && !disabled && !pci_messages_are_on(function);

	if (!function->config[PCI_INTERRUPT_PIN])
		return;
	/* The status tells the device's wish, whatever becomes of it (§6.2.3). */
	function->config[PCI_STATUS] &= ~PCI_STATUS_INTX;
	if (function->intx_level)
		function->config[PCI_STATUS] |= PCI_STATUS_INTX;
	if (driven == function->intx_driven)
		return;
	function->intx_driven = driven;
	drive_link(function, driven);
}

void pci_set_intx(struct pci_function *function, bool level)
{
	pthread_mutex_lock(&function->lock);
	if (function->intx_level != level) {
		function->intx_level = level;
		pci_update_pin(function);
	}
	pthread_mutex_unlock(&function->lock);
}

void pci_update_messages(struct pci_function *function)
{
	pci_send_unmasked(function);
	pci_irqfds_update(function);
}

/* --- the table and the pending bits in their window --- */

static bool table_holds(const struct pci_function *function, uint64_t offset)
{
	return offset >= function->msix_table_offset &&
	       offset - function->msix_table_offset <
		       function->msix_vectors * PCI_MSIX_ENTRY_BYTES;
}

static bool pba_holds(const struct pci_function *function, uint64_t offset)
{
	return offset >= function->msix_pba_offset &&
	       offset - function->msix_pba_offset < PCI_MSIX_PBA_BYTES(function->msix_vectors);
}

bool pci_msix_holds(const struct pci_bar *bar, uint64_t offset)
{
	const struct pci_function *function = bar->function;

	return function->msix && &function->bars[function->msix_bar] == bar &&
	       (table_holds(function, offset) || pba_holds(function, offset));
}

uint64_t pci_msix_read(struct pci_function *function, uint64_t offset, unsigned size)
{
	uint64_t value = 0, bit;
	unsigned i;

	pthread_mutex_lock(&function->lock);
	if (pba_holds(function, offset) || pba_holds(function, offset + size - 1))
		pci_irqfds_collect(function);
	/* An access may leave the table or the pending bits: there it reads as zeroes. */
	for (i = 0; i < size; i++, offset++) {
		if (table_holds(function, offset)) {
			value |= (uint64_t)function->msix_table[offset - function->msix_table_offset]
				 << (8 * i);
		} else if (pba_holds(function, offset)) {
			bit = (offset - function->msix_pba_offset) * 8;
			value |= (function->msix_pending[bit / 64] >> (bit % 64) & 0xff) << (8 * i);
		}
	}
	pthread_mutex_unlock(&function->lock);
	return value;
}

void pci_msix_write(struct pci_function *function, uint64_t offset, unsigned size, uint64_t value)
{
	uint64_t at;
	unsigned i;

	pthread_mutex_lock(&function->lock);
	for (i = 0; i < size; i++, offset++) {
		if (!table_holds(function, offset))
			continue; /* the pending bits are read-only */
		at = offset - function->msix_table_offset;
		function->msix_table[at] = value >> (8 * i);
		/* Of the vector control only the mask exists. */
		if (at % PCI_MSIX_ENTRY_BYTES == PCI_MSIX_ENTRY_CONTROL)
			function->msix_table[at] &= PCI_MSIX_MASKED;
		else if (at % PCI_MSIX_ENTRY_BYTES > PCI_MSIX_ENTRY_CONTROL)
			function->msix_table[at] = 0;
	}
	pci_update_messages(function);
	pthread_mutex_unlock(&function->lock);
}

void pci_interrupts_reset(struct pci_function *function)
{
	if (function->msix_table)
		pci_msix_clear(function);
	function->intx_level = false;
	pci_update_pin(function);
	pci_irqfds_update(function);
}
