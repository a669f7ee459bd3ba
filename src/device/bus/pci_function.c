/* A function by itself: its description, its configuration space and its rights on the bus. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "device/bus/pci_parts.h"

#define FIRST_CAPABILITY 0x40

void pci_function_init(struct pci_function *function, uint16_t vendor, uint16_t device,
		       uint32_t class_code, uint8_t revision)
{
	memset(function, 0, sizeof(*function));
	pthread_mutex_init(&function->lock, NULL);
	function->capability_end = FIRST_CAPABILITY;
	pci_put(function->config, PCI_VENDOR, 2, vendor);
	pci_put(function->config, PCI_DEVICE, 2, device);
	pci_put(function->config, PCI_REVISION, 1, revision);
	pci_put(function->config, PCI_CLASS, 3, class_code);
}

void pci_function_set_subsystem(struct pci_function *function, uint16_t vendor, uint16_t device)
{
	pci_put(function->config, PCI_SUBSYSTEM_VENDOR, 2, vendor);
	pci_put(function->config, PCI_SUBSYSTEM, 2, device);
}

void pci_function_set_pin(struct pci_function *function, uint8_t pin)
{
	function->config[PCI_INTERRUPT_PIN] = pin;
	function->writable[PCI_INTERRUPT_LINE] = 0xff;
	function->volatile_bits[PCI_STATUS] |= PCI_STATUS_INTX;
}

uint8_t pci_add_capability(struct pci_function *function, uint8_t id, uint8_t size)
{
	unsigned at = function->capability_end, end = at + ((size + 3u) & ~3u);

	assert(end <= PCI_CONFIG_BYTES);
	function->config[at] = id;
	/* The list is from the newest to the oldest. */
	function->config[at + 1] = function->config[PCI_CAPABILITIES];
	function->config[PCI_CAPABILITIES] = at;
	function->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	function->capability_end = end < PCI_CONFIG_BYTES ? end : 0;
	return at;
}

uint32_t pci_config_get(struct pci_function *function, unsigned offset, unsigned size)
{
	uint32_t value;

	pthread_mutex_lock(&function->lock);
	value = pci_get(function, offset, size);
	pthread_mutex_unlock(&function->lock);
	return value;
}

void pci_config_set(struct pci_function *function, unsigned offset, unsigned size, uint32_t value)
{
	pthread_mutex_lock(&function->lock);
	pci_put(function->config, offset, size, value);
	pthread_mutex_unlock(&function->lock);
}

uint32_t pci_config_change(struct pci_function *function, unsigned offset, unsigned size,
			   uint32_t cleared, uint32_t set)
{
	uint32_t value;

	pthread_mutex_lock(&function->lock);
	value = (pci_get(function, offset, size) & ~cleared) | set;
	pci_put(function->config, offset, size, value);
	pthread_mutex_unlock(&function->lock);
	return value;
}

bool pci_is_master(struct pci_function *function)
{
	return pci_config_get(function, PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
}

const struct guest_memory *pci_memory(const struct pci_function *function)
{
	return function->bus->config.memory;
}

int pci_dma_read(struct pci_function *function, uint64_t gpa, void *data, size_t size)
{
	if (!pci_is_master(function))
		return -EACCES;
	return guest_memory_read(function->bus->config.memory, gpa, data, size);
}

int pci_dma_write(struct pci_function *function, uint64_t gpa, const void *data, size_t size)
{
	if (!pci_is_master(function))
		return -EACCES;
	return guest_memory_write(function->bus->config.memory, gpa, data, size);
}
