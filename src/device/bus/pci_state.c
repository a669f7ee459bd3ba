/* A PCI function's reset, saving and loading. */
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include "device/bus/pci_parts.h"

void pci_function_reset(struct pci_function *function)
{
	pthread_mutex_lock(&function->lock);
	memcpy(function->config, function->initial, sizeof(function->config));
	pci_interrupts_reset(function);
	pthread_mutex_unlock(&function->lock);
	pci_windows_update(function);
}

static bool config_is_possible(const struct pci_function *function, const uint8_t *config)
{
	unsigned i;

	for (i = 0; i < PCI_CONFIG_BYTES; i++)
		if ((config[i] ^ function->initial[i]) &
		    ~(function->writable[i] | function->volatile_bits[i]))
			return false;
	return true;
}

static bool table_is_possible(const struct pci_function *function, const uint8_t *table)
{
	const uint8_t *control;
	unsigned i;

	for (i = 0; i < function->msix_vectors; i++) {
		control = table + i * PCI_MSIX_ENTRY_BYTES + PCI_MSIX_ENTRY_CONTROL;
		if ((control[0] & ~PCI_MSIX_MASKED) || control[1] || control[2] || control[3])
			return false;
	}
	return true;
}

static void transfer_msix(const struct pci_function *function, struct pci_function_state *saved,
			  struct state_stream *state)
{
	unsigned i, words = (function->msix_vectors + 63) / 64;

	state_bytes(state, "MSI-X table", saved->msix_table,
		    function->msix_vectors * PCI_MSIX_ENTRY_BYTES);
	state_check(state, "MSI-X table", table_is_possible(function, saved->msix_table));
	for (i = 0; i < words; i++)
		state_u64(state, "MSI-X pending bits", &saved->msix_pending[i]);
	if (function->msix_vectors % 64)
		state_check(state, "MSI-X pending bits",
			    !(saved->msix_pending[words - 1] >> (function->msix_vectors % 64)));
}

void pci_function_transfer(struct pci_function *function, struct pci_function_state *saved,
			   struct state_stream *state)
{
	size_t table_bytes = function->msix_vectors * PCI_MSIX_ENTRY_BYTES;

	memset(saved, 0, sizeof(*saved));
	if (function->msix) {
		saved->msix_table = calloc(1, table_bytes);
		if (!saved->msix_table) {
			state_fail(state, "%s", strerror(ENOMEM));
			return;
		}
	}
	pthread_mutex_lock(&function->lock);
	pci_irqfds_settle(function);
	memcpy(saved->config, function->config, sizeof(saved->config));
	saved->intx_level = function->intx_level;
	if (function->msix) {
		memcpy(saved->msix_table, function->msix_table, table_bytes);
		memcpy(saved->msix_pending, function->msix_pending, sizeof(saved->msix_pending));
	}
	pthread_mutex_unlock(&function->lock);
	state_bytes(state, "configuration space", saved->config, sizeof(saved->config));
	state_check(state, "configuration space", config_is_possible(function, saved->config));
	state_bool(state, "interrupt pin", &saved->intx_level);
	if (function->msix)
		transfer_msix(function, saved, state);
}

void pci_function_restore(struct pci_function *function, const struct pci_function_state *saved)
{
	pthread_mutex_lock(&function->lock);
	memcpy(function->config, saved->config, sizeof(function->config));
	function->intx_level = saved->intx_level;
	if (function->msix) {
		memcpy(function->msix_table, saved->msix_table,
		       function->msix_vectors * PCI_MSIX_ENTRY_BYTES);
		memcpy(function->msix_pending, saved->msix_pending, sizeof(saved->msix_pending));
	}
	/* Nothing is sent: what is pending is masked, or waits for the right to send. */
	pci_update_pin(function);
	pci_irqfds_update(function);
	pthread_mutex_unlock(&function->lock);
	pci_windows_update(function);
	if (function->secondary)
		pci_windows_update_behind(function->secondary);
}

void pci_function_state_free(struct pci_function_state *saved)
{
	free(saved->msix_table);
	saved->msix_table = NULL;
}

void pci_function_save(struct pci_function *function, struct state_stream *state)
{
	struct pci_function_state saved;

	pci_function_transfer(function, &saved, state);
	pci_function_state_free(&saved);
}
