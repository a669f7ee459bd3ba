/*
 * How functions interrupt: INTx pins (PCI Local Bus 3.0 §2.2.6), MSI (§6.8.1) and MSI-X (§6.8.2).
 *
 * A message is a write by the function as a bus master: without that right nothing is sent. A vector
 * that is masked stays pending, and is sent when it is unmasked.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/bus/pci_parts.h"

#define MSIX_PBA_BYTES(vectors) (((vectors) + 63) / 64 * 8)

/* --- pins and links --- */

unsigned pci_link_of(unsigned slot, unsigned pin)
{
	return (slot + pin + PCI_PINS - 1) % PCI_PINS;
}

/* Drive a GSI: links may share it. With the links' lock held. */
static void drive_gsi(struct pci_bus *bus, uint8_t gsi)
{
	struct irq_line line = bus->config.irq;
	bool level = false;
	unsigned link;

	if (gsi == PCI_NO_GSI)
		return;
	for (link = 0; link < PCI_PINS; link++)
		level = level || (bus->link_gsi[link] == gsi && bus->link_users[link]);
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

static void drive_link(struct pci_function *function, bool level)
{
	struct pci_bus *bus = function->bus;
	unsigned link = pci_link_of(function->slot_function >> 3,
				    function->config[PCI_INTERRUPT_PIN] - 1u);

	pthread_mutex_lock(&bus->link_lock);
	if (level)
		bus->link_users[link]++;
	else
		bus->link_users[link]--;
	drive_gsi(bus, bus->link_gsi[link]);
	pthread_mutex_unlock(&bus->link_lock);
}

static bool msi_is_on(const struct pci_function *function)
{
	return function->msi && (pci_get(function, function->msi + PCI_MSI_CONTROL, 2) &
				 PCI_MSI_ENABLE);
}

static bool msix_is_on(const struct pci_function *function)
{
	return function->msix && (pci_get(function, function->msix + PCI_MSIX_CONTROL, 2) &
				  PCI_MSIX_ENABLE);
}

void pci_update_pin(struct pci_function *function)
{
	bool disabled = pci_get(function, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE;
	bool driven = function->intx_level && !disabled && !msi_is_on(function) &&
		      !msix_is_on(function);

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

bool pci_has_messages(struct pci_function *function)
{
	bool result;

	pthread_mutex_lock(&function->lock);
	result = msi_is_on(function) || msix_is_on(function);
	pthread_mutex_unlock(&function->lock);
	return result;
}

/* --- messages --- */

void pci_add_msi(struct pci_function *function, unsigned vectors)
{
	uint8_t at = pci_add_capability(function, PCI_CAPABILITY_MSI, PCI_MSI_BYTES);
	unsigned capable = __builtin_ctz(vectors);
	uint32_t masks = vectors == 32 ? UINT32_MAX : (1u << vectors) - 1;

	assert(vectors <= 32 && (vectors & (vectors - 1)) == 0);
	pci_put(function->config, at + PCI_MSI_CONTROL, 2,
		PCI_MSI_64 | PCI_MSI_MASKS | capable << PCI_MSI_CAPABLE_SHIFT);
	pci_put(function->writable, at + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE | PCI_MSI_ENABLED_MASK);
	pci_put(function->writable, at + PCI_MSI_ADDRESS, 4, ~3u);
	pci_put(function->writable, at + PCI_MSI_ADDRESS + 4, 4, UINT32_MAX);
	pci_put(function->writable, at + PCI_MSI_DATA, 2, 0xffff);
	pci_put(function->writable, at + PCI_MSI_MASK, 4, masks);
	pci_put(function->volatile_bits, at + PCI_MSI_PENDING, 4, masks);
	function->msi = at;
}

/* How many of MSI's vectors software has taken. */
static unsigned msi_vectors(const struct pci_function *function)
{
	uint32_t control = pci_get(function, function->msi + PCI_MSI_CONTROL, 2);
	unsigned capable = control >> PCI_MSI_CAPABLE_SHIFT & 7;
	unsigned enabled = (control & PCI_MSI_ENABLED_MASK) >> PCI_MSI_ENABLED_SHIFT;

	return 1u << (enabled < capable ? enabled : capable);
}

static bool may_send(const struct pci_function *function)
{
	return pci_get(function, PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
}

static enum pci_vector_state msi_state(const struct pci_function *function, unsigned vector,
				       struct pci_message *message)
{
	unsigned at = function->msi;

	vector %= msi_vectors(function);
	if (pci_get(function, at + PCI_MSI_MASK, 4) & (1u << vector))
		return PCI_VECTOR_MASKED;
	if (!may_send(function))
		return PCI_VECTOR_OFF;
	message->address = pci_get(function, at + PCI_MSI_ADDRESS, 4) |
			   (uint64_t)pci_get(function, at + PCI_MSI_ADDRESS + 4, 4) << 32;
	message->data = (pci_get(function, at + PCI_MSI_DATA, 2) & ~(msi_vectors(function) - 1)) |
			vector;
	return PCI_VECTOR_OPEN;
}

static void msi_send_unmasked(struct pci_function *function)
{
	unsigned at = function->msi, vector;
	uint32_t pending = pci_get(function, at + PCI_MSI_PENDING, 4), left;
	struct pci_message message;

	for (left = pending; left; left &= left - 1) {
		vector = __builtin_ctz(left);
		if (vector < msi_vectors(function) &&
		    msi_state(function, vector, &message) == PCI_VECTOR_OPEN) {
			pci_message_send(function, &message);
			pending &= ~(1u << vector);
		}
	}
	pci_put(function->config, at + PCI_MSI_PENDING, 4, pending);
}

static void clear_msix(struct pci_function *function)
{
	unsigned i;

	memset(function->msix_table, 0, function->msix_vectors * PCI_MSIX_ENTRY_BYTES);
	for (i = 0; i < function->msix_vectors; i++)
		function->msix_table[i * PCI_MSIX_ENTRY_BYTES + PCI_MSIX_ENTRY_CONTROL] =
			PCI_MSIX_MASKED;
	memset(function->msix_pending, 0, sizeof(function->msix_pending));
}

int pci_add_msix(struct pci_function *function, unsigned vectors, unsigned bar,
		 uint32_t table_offset, uint32_t pba_offset, struct error *error)
{
	uint8_t at = pci_add_capability(function, PCI_CAPABILITY_MSIX, PCI_MSIX_BYTES);
	uint64_t bytes = function->bars[bar].size_bytes;

	assert(vectors && vectors <= PCI_MSIX_MAX && bar < PCI_BARS);
	assert(table_offset % 8 == 0 && pba_offset % 8 == 0);
	assert(table_offset + vectors * PCI_MSIX_ENTRY_BYTES <= bytes &&
	       pba_offset + MSIX_PBA_BYTES(vectors) <= bytes);
	assert(table_offset + vectors * PCI_MSIX_ENTRY_BYTES <= pba_offset ||
	       pba_offset + MSIX_PBA_BYTES(vectors) <= table_offset);
	function->msix_table = malloc(vectors * PCI_MSIX_ENTRY_BYTES);
	if (!function->msix_table)
		return error_set_errno(error, ENOMEM, "cannot create an MSI-X table");
	pci_put(function->config, at + PCI_MSIX_CONTROL, 2, vectors - 1);
	pci_put(function->writable, at + PCI_MSIX_CONTROL, 2,
		PCI_MSIX_ENABLE | PCI_MSIX_FUNCTION_MASK);
	pci_put(function->config, at + PCI_MSIX_TABLE, 4, table_offset | bar);
	pci_put(function->config, at + PCI_MSIX_PBA, 4, pba_offset | bar);
	function->msix = at;
	function->msix_vectors = vectors;
	function->msix_bar = bar;
	function->msix_table_offset = table_offset;
	function->msix_pba_offset = pba_offset;
	clear_msix(function);
	return 0;
}

static uint32_t entry_get(const struct pci_function *function, unsigned vector, unsigned offset)
{
	const uint8_t *at = function->msix_table + vector * PCI_MSIX_ENTRY_BYTES + offset;

	return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24;
}

static enum pci_vector_state msix_state(const struct pci_function *function, unsigned vector,
					struct pci_message *message)
{
	if (vector >= function->msix_vectors)
		return PCI_VECTOR_OFF;
	if ((pci_get(function, function->msix + PCI_MSIX_CONTROL, 2) & PCI_MSIX_FUNCTION_MASK) ||
	    (entry_get(function, vector, PCI_MSIX_ENTRY_CONTROL) & PCI_MSIX_MASKED))
		return PCI_VECTOR_MASKED;
	if (!may_send(function))
		return PCI_VECTOR_OFF;
	message->address = entry_get(function, vector, 0) |
			   (uint64_t)entry_get(function, vector, 4) << 32;
	message->data = entry_get(function, vector, PCI_MSIX_ENTRY_DATA);
	return PCI_VECTOR_OPEN;
}

static void msix_send_unmasked(struct pci_function *function)
{
	struct pci_message message;
	unsigned word, vector;
	uint64_t waiting;

	for (word = 0; word < PCI_MSIX_MAX / 64; word++) {
		for (waiting = function->msix_pending[word]; waiting; waiting &= waiting - 1) {
			vector = word * 64 + __builtin_ctzll(waiting);
			if (msix_state(function, vector, &message) != PCI_VECTOR_OPEN)
				continue;
			pci_message_send(function, &message);
			function->msix_pending[word] &= ~(1ull << (vector % 64));
		}
	}
}

/* --- messages, of whichever is on --- */

enum pci_vector_state pci_vector_state(const struct pci_function *function, unsigned vector,
				       struct pci_message *message)
{
	if (msix_is_on(function))
		return msix_state(function, vector, message);
	if (msi_is_on(function))
		return msi_state(function, vector, message);
	return PCI_VECTOR_OFF;
}

void pci_vector_set_pending(struct pci_function *function, unsigned vector)
{
	uint8_t *byte;

	if (msix_is_on(function)) {
		function->msix_pending[vector / 64] |= 1ull << (vector % 64);
	} else {
		vector %= msi_vectors(function);
		byte = &function->config[function->msi + PCI_MSI_PENDING + vector / 8];
		*byte |= 1u << (vector % 8);
	}
}

void pci_message_send(struct pci_function *function, const struct pci_message *message)
{
	const struct msi_target *target = &function->bus->config.msi;

	if (target->send)
		target->send(target->context, message->address, message->data);
}

void pci_update_messages(struct pci_function *function)
{
	if (msix_is_on(function))
		msix_send_unmasked(function);
	else if (msi_is_on(function))
		msi_send_unmasked(function);
	pci_irqfds_update(function);
}

void pci_notify(struct pci_function *function, unsigned vector)
{
	struct pci_message message;

	pthread_mutex_lock(&function->lock);
	switch (pci_vector_state(function, vector, &message)) {
	case PCI_VECTOR_OFF: break;
	case PCI_VECTOR_MASKED: pci_vector_set_pending(function, vector); break;
	case PCI_VECTOR_OPEN: pci_message_send(function, &message); break;
	}
	pthread_mutex_unlock(&function->lock);
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
	       offset - function->msix_pba_offset < MSIX_PBA_BYTES(function->msix_vectors);
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
		clear_msix(function);
	function->intx_level = false;
	pci_update_pin(function);
	pci_irqfds_update(function);
}
