/*
 * Messages of functions: MSI (PCI Local Bus 3.0 §6.8.1) and MSI-X (§6.8.2), and what becomes of a
 * vector that is sent.
 *
 * A message is a write by the function as a bus master: without that right nothing is sent. A vector
 * that is masked stays pending, and is sent when it is unmasked.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/bus/pci_parts.h"

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

bool pci_messages_are_on(const struct pci_function *function)
{
	return msi_is_on(function) || msix_is_on(function);
}

bool pci_has_messages(struct pci_function *function)
{
	bool result;

	pthread_mutex_lock(&function->lock);
	result = pci_messages_are_on(function);
	pthread_mutex_unlock(&function->lock);
	return result;
}

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

void pci_msix_clear(struct pci_function *function)
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
	       pba_offset + PCI_MSIX_PBA_BYTES(vectors) <= bytes);
	assert(table_offset + vectors * PCI_MSIX_ENTRY_BYTES <= pba_offset ||
	       pba_offset + PCI_MSIX_PBA_BYTES(vectors) <= table_offset);
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
	pci_msix_clear(function);
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

void pci_send_unmasked(struct pci_function *function)
{
	if (msix_is_on(function))
		msix_send_unmasked(function);
	else if (msi_is_on(function))
		msi_send_unmasked(function);
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
