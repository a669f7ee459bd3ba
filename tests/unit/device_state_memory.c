/* Saved and loaded: what answers as memory: a ROM, the display, flash memory. */
#include "device_state.h"

#include "device/display/vga.h"
#include "device/pflash.h"
#include "device/rom.h"

/* --- ROM --- */

static void rom_open(struct world *world)
{
	static const uint8_t bytes[ROM_ALIGNMENT] = {1, 2, 3};
	struct error error;

	adopt(world, "firmware", &rom_device_ops,
	      rom_create(NULL, 0, 0xfffff000, bytes, sizeof(bytes), &error));
}

/* As another kvik's firmware would be. */
static void rom_stir(struct world *world)
{
	memcpy((uint8_t *)rom_bytes(world->device.device), "another", 7);
}

static size_t rom_look(struct world *world, uint8_t *seen)
{
	memcpy(seen, rom_bytes(world->device.device), 16);
	return 16;
}

/* --- display --- */

static void vga_open(struct world *world)
{
	struct error error;

	state_create_pci(world);
	adopt(world, "vga", &vga_device_ops,
	      vga_create(world->pci, PCI_SLOT_FUNCTION(5, 0), false, NULL, 0, &error));
}

static void vga_stir(struct world *world)
{
	static const uint8_t writes[][2] = {{0x12, 0x01}, {0x14, 4}, {0x15, 0x06}, {0x1e, 6}, {0x1f, 5},
					    {0x24, 0x0c}, {0x25, 7},  {0x18, 3}, {0x19, 1}, {0x19, 2},
					    {0x19, 3}, {0x19, 4}, {0x10, 0x20}};
	void *device = world->device.device;
	unsigned i;

	state_set_config(world, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	state_set_config(world, PCI_BAR(0), 4, 0xd0000000);
	for (i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
		vga_pio_ops.write(device, writes[i][0], 1, writes[i][1]);
	vga_window_ops.write(device, 0, 4, 0x12345678);
	vga_window_ops.read(device, 0, 1);
	vga_dispi_pio_ops.write(device, 0, 2, 1);
	vga_dispi_pio_ops.write(device, 1, 2, 1024);
}

static size_t vga_look(struct world *world, uint8_t *seen)
{
	void *device = world->device.device;
	uint32_t value;
	unsigned i;

	for (i = 0; i < 64; i++) {
		value = pci_config_read(world->pci, PCI_SLOT_FUNCTION(5, 0), i * 4, 4);
		memcpy(seen + i * 4, &value, 4);
	}
	value = vga_dispi_pio_ops.read(device, 1, 2);
	memcpy(seen + 256, &value, 4);
	read_ports(&vga_pio_ops, device, 0x10, 16, seen + 260);
	for (i = 0; i < 8; i++)
		seen[276 + i] = vga_window_ops.read(device, i, 1);
	return 284;
}

/* --- flash memory --- */

static void flash_open(struct world *world)
{
	static const uint8_t bytes[2 * PFLASH_BLOCK_BYTES] = {1, 2, 3};
	const struct pflash_config config = {.gpa = 0xffc00000, .fd = -1};
	struct error error;

	adopt(world, "variables", &pflash_device_ops,
	      pflash_create(&config, bytes, sizeof(bytes), &error));
}

/* A block is erased, and a byte is to be programmed next. */
static void flash_stir(struct world *world)
{
	void *device = world->device.device;

	pflash_mmio_ops.write(device, PFLASH_BLOCK_BYTES, 1, 0x20);
	pflash_mmio_ops.write(device, PFLASH_BLOCK_BYTES, 1, 0xd0);
	pflash_mmio_ops.write(device, 0, 1, 0x50);
	pflash_mmio_ops.write(device, 1, 1, 0x10);
}

static size_t flash_look(struct world *world, uint8_t *seen)
{
	void *device = world->device.device;
	unsigned i;

	seen[0] = pflash_mmio_ops.read(device, 1, 1);
	pflash_mmio_ops.write(device, 1, 1, 0);
	seen[1] = pflash_mmio_ops.read(device, 1, 1);
	pflash_mmio_ops.write(device, 1, 1, 0xff);
	for (i = 0; i < 16; i++)
		seen[2 + i] = pflash_mmio_ops.read(device, PFLASH_BLOCK_BYTES - 8 + i, 1);
	seen[18] = pflash_mmio_ops.read(device, 1, 1);
	return 19;
}

const struct subject state_memory_subjects[] = {
    {"ROM", rom_open, rom_stir, rom_look},
    {"display", vga_open, vga_stir, vga_look, .is_large = true},
    {"flash memory", flash_open, flash_stir, flash_look},
    {NULL},
};
