/* How virtio devices come onto a board. */
#include <errno.h>
#include <stdio.h>

#include "device/virtio/disk.h"
#include "device/virtio/network.h"
#include "device/virtio/virtio_pci.h"
#include "machine/board_parts.h"

#define CLASS_NET  0x020000 /* Ethernet */
#define CLASS_DISK 0x010000 /* a SCSI controller, as QEMU has it */

int board_choose_slot(const struct board *board, const char *name, uint64_t slot,
		      struct error *error)
{
	int free_slot = pci_bus_free_slot(board->pci);

	if (slot == PCI_ANY_SLOT) {
		if (free_slot < 0)
			return error_set(error, ENOSPC, "%s: no PCI slot is free", name);
		return free_slot;
	}
	if (pci_bus_at(board->pci, PCI_SLOT_FUNCTION(slot, 0)))
		return error_set(error, EEXIST, "%s: PCI slot %u is taken", name, (unsigned)slot);
	return slot;
}

struct virtio_host board_virtio_host(const struct board *board, bool is_packed)
{
	return (struct virtio_host){
		.memory = &board->config.ram->memory,
		.loop = board->config.loop,
		.ring_features = VIRTIO_RING_FEATURES | (is_packed ? VIRTIO_PACKED : 0),
	};
}

int board_add_virtio(struct board *board, const char *name, struct virtio_device *virtio,
		     uint32_t class_code, uint64_t slot, struct error *error)
{
	struct virtio_pci_config config = {
		.bus = board->pci,
		.class_code = class_code,
		.vm = board->config.vm,
	};
	struct virtio_pci *pci;
	int chosen = board_choose_slot(board, name, slot, error);

	if (chosen < 0) {
		virtio->kind->destroy(virtio);
		return chosen;
	}
	config.slot_function = PCI_SLOT_FUNCTION(chosen, 0);
	pci = virtio_pci_create(&config, virtio, error);
	return pci ? board_add(board, name, &virtio_pci_device_ops, pci, error) : -ENOMEM;
}

static int add_disk(struct board *board, struct board_disk *disk, unsigned number,
		    struct error *error)
{
	struct virtio_host host = board_virtio_host(board, disk->is_packed);
	unsigned queues = disk->queues ? disk->queues : board->config.cpus;
	struct virtio_device *virtio;
	char name[STATE_NAME_MAX + 1];

	if (queues > VIRTIO_DISK_QUEUES_MAX)
		queues = VIRTIO_DISK_QUEUES_MAX;
	virtio = virtio_disk_create(&host, disk->block, queues, error);
	disk->block = NULL;
	if (!virtio)
		return -EINVAL;
	snprintf(name, sizeof(name), "disk%u", number);
	return board_add_virtio(board, name, virtio, CLASS_DISK, PCI_ANY_SLOT, error);
}

int board_add_disks(struct board *board, struct error *error)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < board->config.disk_count && result == 0; i++)
		result = add_disk(board, &board->config.disks[i], i, error);
	return result;
}

static int add_net(struct board *board, struct board_net *net, unsigned number, struct error *error)
{
	struct virtio_host host = board_virtio_host(board, net->is_packed);
	struct virtio_device *virtio = virtio_network_create(&host, &net->link, net->mac, error);
	char name[STATE_NAME_MAX + 1];

	net->link = (struct net_link){.fd = -1, .helper = -1};
	if (!virtio)
		return -EINVAL;
	snprintf(name, sizeof(name), "net%u", number);
	return board_add_virtio(board, name, virtio, CLASS_NET, PCI_ANY_SLOT, error);
}

int board_add_nets(struct board *board, struct error *error)
{
	unsigned i;
	int result = 0;

	for (i = 0; i < board->config.net_count && result == 0; i++)
		result = add_net(board, &board->config.nets[i], i, error);
	return result;
}
