/* What both interfaces of virtio over PCI show: which queue is selected, and the vectors of MSI-X. */
#include <linux/virtio_pci.h>
#include <string.h>

#include "device/virtio/virtio_pci_parts.h"

uint16_t virtio_pci_selected_queue(struct virtio_pci *pci)
{
	uint16_t queue;

	pthread_mutex_lock(&pci->lock);
	queue = pci->queue_select;
	pthread_mutex_unlock(&pci->lock);
	return queue;
}

void virtio_pci_select_queue(struct virtio_pci *pci, uint16_t queue)
{
	pthread_mutex_lock(&pci->lock);
	pci->queue_select = queue;
	pthread_mutex_unlock(&pci->lock);
}

static uint16_t possible_vector(const struct virtio_pci *pci, uint16_t vector)
{
	return vector < pci->function.msix_vectors ? vector : VIRTIO_MSI_NO_VECTOR;
}

uint16_t virtio_pci_config_vector(struct virtio_pci *pci)
{
	uint16_t vector;

	pthread_mutex_lock(&pci->lock);
	vector = pci->config_vector;
	pthread_mutex_unlock(&pci->lock);
	return vector;
}

void virtio_pci_set_config_vector(struct virtio_pci *pci, uint16_t vector)
{
	pthread_mutex_lock(&pci->lock);
	pci->config_vector = possible_vector(pci, vector);
	pthread_mutex_unlock(&pci->lock);
}

uint16_t virtio_pci_queue_vector(struct virtio_pci *pci, uint16_t queue)
{
	uint16_t vector = VIRTIO_MSI_NO_VECTOR;

	pthread_mutex_lock(&pci->lock);
	if (queue < pci->virtio->queue_count)
		vector = pci->queue_vector[queue];
	pthread_mutex_unlock(&pci->lock);
	return vector;
}

void virtio_pci_set_queue_vector(struct virtio_pci *pci, uint16_t vector)
{
	pthread_mutex_lock(&pci->lock);
	if (pci->queue_select < pci->virtio->queue_count)
		pci->queue_vector[pci->queue_select] = possible_vector(pci, vector);
	pthread_mutex_unlock(&pci->lock);
}

void virtio_pci_reset_registers(struct virtio_pci *pci)
{
	pthread_mutex_lock(&pci->lock);
	pci->device_feature_select = pci->driver_feature_select = 0;
	pci->queue_select = 0;
	pci->config_vector = VIRTIO_MSI_NO_VECTOR;
	memset(pci->queue_vector, 0xff, sizeof(pci->queue_vector));
	pthread_mutex_unlock(&pci->lock);
}
