/* Saved and loaded: a virtio device, by both transports. */
#include "device_state.h"

#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>

#include "device/virtio/entropy.h"
#include "device/virtio/virtio_mmio.h"
#include "device/virtio/virtio_pci.h"

/* --- a virtio device, on PCI --- */

#define VIRTIO_GPA 0x10000

static void virtio_create(struct world *world)
{
	static uint8_t ram[0x4000] __attribute__((aligned(4096)));
	struct virtio_host host = {&world->memory, world->loop, VIRTIO_RING_FEATURES | VIRTIO_PACKED};
	struct virtio_pci_config config = {.slot_function = PCI_SLOT_FUNCTION(5, 0)};
	struct virtio_device *virtio;
	struct error error;

	state_create_pci(world);
	world->memory.regions[0] = (struct guest_region){VIRTIO_GPA, sizeof(ram), ram, NULL};
	world->memory.region_count = 1;
	virtio = virtio_entropy_create(&host, &error);
	assert_non_null(virtio);
	config.bus = world->pci;
	adopt(world, "virtio-rng", &virtio_pci_device_ops, virtio_pci_create(&config, virtio, &error));
}

static void virtio_set(struct world *world, unsigned offset, unsigned size, uint64_t value)
{
	mmio_bus_write(world->mmio, 0xe0000000 + offset, (uint8_t *)&value, size);
}

static void virtio_stir(struct world *world)
{
	state_set_config(world, PCI_BAR(1), 4, 0xd0000000);
	state_set_config(world, PCI_BAR(4), 4, 0xe0000000);
	state_set_config(world, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	virtio_set(world, VIRTIO_PCI_COMMON_STATUS, 1, 3);
	virtio_set(world, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	virtio_set(world, VIRTIO_PCI_COMMON_GF, 4, 1 | 1 << (VIRTIO_F_RING_PACKED - 32));
	virtio_set(world, VIRTIO_PCI_COMMON_STATUS, 1, 3 | 8);
	virtio_set(world, VIRTIO_PCI_COMMON_MSIX, 2, 1);
	virtio_set(world, VIRTIO_PCI_COMMON_Q_MSIX, 2, 0);
	virtio_set(world, VIRTIO_PCI_COMMON_Q_SIZE, 2, 4);
	virtio_set(world, VIRTIO_PCI_COMMON_Q_DESCLO, 8, VIRTIO_GPA);
	virtio_set(world, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, VIRTIO_GPA + 0x1000);
	virtio_set(world, VIRTIO_PCI_COMMON_Q_USEDLO, 8, VIRTIO_GPA + 0x2000);
	virtio_set(world, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	virtio_set(world, VIRTIO_PCI_COMMON_STATUS, 1, 3 | 8 | 4);
}

static size_t virtio_look(struct world *world, uint8_t *seen)
{
	size_t size = 0;
	unsigned i;

	for (i = 0; i < 256; i++)
		seen[size++] = pci_config_read(world->pci, PCI_SLOT_FUNCTION(5, 0), i, 1);
	for (i = 0; i < VIRTIO_PCI_COMMON_Q_USEDHI + 4; i++)
		mmio_bus_read(world->mmio, 0xe0000000 + i, seen + size++, 1);
	mmio_bus_read(world->mmio, 0xe0001000, seen + size++, 1);
	return size;
}

/* --- the same by MMIO --- */

static void virtio_mmio_open(struct world *world)
{
	static uint8_t ram[0x4000] __attribute__((aligned(4096)));
	struct virtio_host host = {&world->memory, world->loop, VIRTIO_RING_FEATURES};
	struct virtio_mmio_config config = {.irq = world->fixture.irq};
	struct error error;

	world->memory.regions[0] = (struct guest_region){VIRTIO_GPA, sizeof(ram), ram, NULL};
	world->memory.region_count = 1;
	adopt(world, "virtio-rng", &virtio_mmio_device_ops,
	      virtio_mmio_create(&config, virtio_entropy_create(&host, &error), &error));
}

static void virtio_mmio_stir(struct world *world)
{
	static const uint32_t writes[][2] = {
		{VIRTIO_MMIO_STATUS, 3},
		{VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1},
		{VIRTIO_MMIO_DRIVER_FEATURES, 1},
		{VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1},
		{VIRTIO_MMIO_STATUS, 3 | 8},
		{VIRTIO_MMIO_QUEUE_NUM, 4},
		{VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_GPA + 2}, /* not aligned: it breaks */
		{VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_GPA + 0x1000},
		{VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_GPA + 0x2000},
		{VIRTIO_MMIO_QUEUE_READY, 1},
		{VIRTIO_MMIO_STATUS, 3 | 8 | 4},
	};
	unsigned i;

	for (i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
		virtio_mmio_ops.write(world->device.device, writes[i][0], 4, writes[i][1]);
}

static size_t virtio_mmio_look(struct world *world, uint8_t *seen)
{
	size_t size = 0;
	unsigned i;
	uint32_t value;

	seen[size++] = world->fixture.irq_level;
	for (i = 0; i < VIRTIO_MMIO_BYTES; i += 4, size += 4) {
		value = virtio_mmio_ops.read(world->device.device, i, 4);
		memcpy(seen + size, &value, 4);
	}
	virtio_mmio_ops.write(world->device.device, VIRTIO_MMIO_INTERRUPT_ACK, 4, 2);
	seen[size++] = world->fixture.irq_level;
	return size;
}

const struct subject state_virtio_subjects[] = {
    {"virtio-rng", virtio_create, virtio_stir, virtio_look},
    {"virtio-mmio", virtio_mmio_open, virtio_mmio_stir, virtio_mmio_look},
    {NULL},
};
