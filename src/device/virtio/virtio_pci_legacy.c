/*
 * The legacy interface of virtio over PCI (virtio 1.2 §4.1.4.8; virtio 0.9.5 §2.1.2), as drivers older than
 * virtio 1.0, and firmware, know it: ports in BAR 0. Behind the registers below are the two of MSI-X's vectors
 * while that is on, and then the device's configuration.
 *
 * A queue is one number, its page; its size is the device's to say. The queue's number is written to one
 * port for all notifications: an ioeventfd for each number.
 */
#include <linux/virtio_pci.h>
#include <string.h>

#include "device/virtio/virtio_pci_parts.h"
#include "util/endian.h"
#include "util/log.h"

#define LEGACY_BAR 0

/* Without MSI-X, and with it. */
#define REGISTER_BYTES	    VIRTIO_PCI_CONFIG_OFF(0)
#define MSIX_REGISTER_BYTES VIRTIO_PCI_CONFIG_OFF(1)

static bool has_msix(struct virtio_pci *pci)
{
	return pci_config_get(&pci->function, pci->function.msix + PCI_MSIX_CONTROL, 2) & PCI_MSIX_ENABLE;
}

/* Where the device's configuration begins now. */
static unsigned config_offset(struct virtio_pci *pci)
{
	return has_msix(pci) ? MSIX_REGISTER_BYTES : REGISTER_BYTES;
}

/* All but the interrupt status, which reading changes. */
static void read_registers(struct virtio_pci *pci, uint8_t bytes[MSIX_REGISTER_BYTES])
{
	struct virtio_device *virtio = pci->virtio;
	uint16_t queue = virtio_pci_selected_queue(pci);

	memset(bytes, 0, MSIX_REGISTER_BYTES);
	put_le32(bytes + VIRTIO_PCI_HOST_FEATURES, virtio_legacy_offered(virtio));
	put_le32(bytes + VIRTIO_PCI_GUEST_FEATURES, virtio_driver_features(virtio, 0));
	put_le32(bytes + VIRTIO_PCI_QUEUE_PFN, virtio_legacy_queue(virtio, queue));
	if (queue < virtio->queue_count)
		put_le16(bytes + VIRTIO_PCI_QUEUE_NUM, virtio->queues[queue].ring.size_max);
	put_le16(bytes + VIRTIO_PCI_QUEUE_SEL, queue);
	bytes[VIRTIO_PCI_STATUS] = virtio_legacy_status(virtio);
	put_le16(bytes + VIRTIO_MSI_CONFIG_VECTOR, virtio_pci_config_vector(pci));
	put_le16(bytes + VIRTIO_MSI_QUEUE_VECTOR, virtio_pci_queue_vector(pci, queue));
}

static uint32_t legacy_read(void *device, uint16_t offset, unsigned size)
{
	struct virtio_pci *pci = device;
	unsigned config = config_offset(pci);
	uint8_t bytes[MSIX_REGISTER_BYTES + sizeof(uint32_t)] = {0};
	uint64_t value = 0;

	if (offset >= config) {
		virtio_read_config(pci->virtio, offset - config, size, (uint8_t *)&value);
		return value;
	}
	read_registers(pci, bytes);
	if (offset <= VIRTIO_PCI_ISR && VIRTIO_PCI_ISR < offset + size)
		bytes[VIRTIO_PCI_ISR] = virtio_clear_isr(pci->virtio, UINT8_MAX);
	memcpy(&value, bytes + offset, size);
	return value;
}

static void write_status(struct virtio_pci *pci, uint8_t status)
{
	virtio_legacy_set_status(pci->virtio, status);
	if (!status)
		virtio_pci_reset_registers(pci);
	/* Drivers as old as Linux 2.6.33's do not say that the device may read memory. */
	if (status & VIRTIO_CONFIG_S_DRIVER)
		pci_config_change(&pci->function, PCI_COMMAND, 2, 0, PCI_COMMAND_MASTER);
}

/* A register by its first byte, whatever the width. */
static void legacy_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	struct virtio_pci *pci = device;
	unsigned config = config_offset(pci);

	if (offset >= config) {
		virtio_write_config(pci->virtio, offset - config, size, (const uint8_t *)&value);
		return;
	}
	switch (offset) {
	case VIRTIO_PCI_GUEST_FEATURES: virtio_legacy_set_driver_features(pci->virtio, value); break;
	case VIRTIO_PCI_QUEUE_PFN:
		virtio_legacy_set_queue(pci->virtio, virtio_pci_selected_queue(pci), value);
		break;
	case VIRTIO_PCI_QUEUE_SEL: virtio_pci_select_queue(pci, value); break;
	case VIRTIO_PCI_QUEUE_NOTIFY: virtio_notify(pci->virtio, (uint16_t)value); break;
	case VIRTIO_PCI_STATUS: write_status(pci, value); break;
	case VIRTIO_MSI_CONFIG_VECTOR: virtio_pci_set_config_vector(pci, value); break;
	case VIRTIO_MSI_QUEUE_VECTOR: virtio_pci_set_queue_vector(pci, value); break;
	default: break;
	}
}

static const struct pio_ops legacy_ops = {
	.read = legacy_read,
	.write = legacy_write,
	.widest_access = 4,
};

/* --- notifications --- */

static int set_eventfd(struct virtio_pci *pci, unsigned queue, uint64_t port, uint32_t flags)
{
	struct kvm_ioeventfd request = {
		.addr = port + VIRTIO_PCI_QUEUE_NOTIFY,
		.len = sizeof(uint16_t),
		.datamatch = queue,
		.fd = pci->virtio->queues[queue].notified.fd,
		.flags = flags | KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	return kvm_vm_ioctl(pci->vm, KVM_IOEVENTFD, &request);
}

static void legacy_activate(struct pci_function *function, unsigned bar, uint64_t port)
{
	struct virtio_pci *pci = (struct virtio_pci *)function;
	unsigned count;
	int result = 0;

	(void)bar;
	if (!pci->vm || !pci->virtio->loop)
		return;
	for (count = 0; count < pci->virtio->queue_count && result == 0; count++)
		result = set_eventfd(pci, count, port, 0);
	pci->has_legacy_eventfds = result == 0;
	if (result == 0)
		return;
	/* It goes without: an access that exits does the same. */
	log_guest("%s: KVM_IOEVENTFD: %s", pci->virtio->kind->name, strerror(-result));
	for (count--; count > 0; count--)
		set_eventfd(pci, count - 1, port, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static void legacy_deactivate(struct pci_function *function, unsigned bar, uint64_t port)
{
	struct virtio_pci *pci = (struct virtio_pci *)function;
	unsigned i;

	(void)bar;
	for (i = 0; i < pci->virtio->queue_count && pci->has_legacy_eventfds; i++)
		set_eventfd(pci, i, port, KVM_IOEVENTFD_FLAG_DEASSIGN);
	pci->has_legacy_eventfds = false;
}

void virtio_pci_legacy_describe(struct virtio_pci *pci)
{
	unsigned bytes = MSIX_REGISTER_BYTES + pci->virtio->config_bytes, size = 32;

	while (size < bytes)
		size *= 2;
	pci->function.bars[LEGACY_BAR] = (struct pci_bar){
		.kind = PCI_BAR_IO, .size_bytes = size, .name = pci->virtio->kind->name,
		.pio = &legacy_ops, .device = pci,
		.activate = legacy_activate, .deactivate = legacy_deactivate};
}
