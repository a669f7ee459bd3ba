/* Saved and loaded: the PCI bus, chipsets, and functions of a few registers. */
#include "device_state.h"

#include "device/pc_testdev.h"
#include "device/pci_exercise.h"
#include "device/pci_testdev.h"
#include "device/pcie_root_port.h"
#include "device/pvpanic.h"

/* --- PCI --- */

void state_create_pci(struct world *world)
{
	struct pci_bus_config config = {
	    .power = world->fixture.power,
	    .irq = world->fixture.irq,
	    .memory = &world->memory,
	};
	struct error error;

	config.pio = world->pio = pio_bus_create();
	config.mmio = world->mmio = mmio_bus_create();
	world->pci = pci_bus_create(&config, &error);
	adopt(world, "pci", &pci_bus_device_ops, world->pci);
	i440fx_init(&world->chipset, world->pci, &(struct i440fx_wiring){.sci_irq = 9});
}

static void chipset_create(struct world *world)
{
	state_create_pci(world);
	adopt(world, "i440fx", &i440fx_device_ops, &world->chipset);
}

static void q35_create(struct world *world)
{
	struct pci_bus_config config = {.power = world->fixture.power, .irq = world->fixture.irq,
					.link_of = q35_link_of};
	struct error error;

	config.pio = world->pio = pio_bus_create();
	config.mmio = world->mmio = mmio_bus_create();
	world->pci = pci_bus_create(&config, &error);
	adopt(world, "pci", &pci_bus_device_ops, world->pci);
	q35_init(&world->q35, world->pci, &(struct q35_wiring){.place_pm = NULL});
	adopt(world, "q35", &q35_device_ops, &world->q35);
}

static void q35_stir(struct world *world)
{
	static const uint8_t links[Q35_LINKS] = {5, 9, 10, 11, 5, 9, 10, 11};

	q35_set_up(&world->q35, links, 0xb000, 0xe0000000);
	pci_config_write(world->pci, 0, 0x92, 1, 0x21);
	q35_apm_pio_ops.write(&world->q35, 0, 1, 0x12);
	q35_root_complex_ops.write(&world->q35, 0x3410, 4, 0x60);
	pci_config_write(world->pci, PCI_SLOT_FUNCTION(31, 3), 0x20, 4, 0xc000);
	pci_config_write(world->pci, PCI_SLOT_FUNCTION(31, 3), PCI_COMMAND, 2, PCI_COMMAND_IO);
	pio_bus_write(world->pio, 0xc004, 1, 0xa1);
	pio_bus_write(world->pio, 0xc002, 1, 0x48);
}

static size_t q35_look(struct world *world, uint8_t *seen)
{
	static const unsigned functions[] = {0, PCI_SLOT_FUNCTION(31, 0), PCI_SLOT_FUNCTION(31, 3)};
	size_t size = 0;
	unsigned i;

	for (i = 0; i < 3 * 256; i++)
		seen[size++] = pci_config_read(world->pci, functions[i / 256], i % 256, 1);
	for (i = 0; i < 4; i++)
		seen[size++] = q35_root_complex_ops.read(&world->q35, 0x3410 + i, 1);
	/* The status last: reading changes it. */
	for (i = 32; i-- > 0;)
		seen[size++] = pio_bus_read(world->pio, 0xc000 + i, 1);
	return size + read_ports(&q35_apm_pio_ops, &world->q35, 0, 2, seen + size);
}

static void root_port_open(struct world *world)
{
	struct pcie_root_port_config config = {.slot_function = PCI_SLOT_FUNCTION(2, 0), .slot_number = 3};
	struct error error;

	state_create_pci(world);
	config.bus = world->pci;
	adopt(world, "root-port0", &pcie_root_port_device_ops, pcie_root_port_create(&config, &error));
}

static void root_port_stir(struct world *world)
{
	const unsigned at = PCI_SLOT_FUNCTION(2, 0);

	pci_config_write(world->pci, at, PCI_BRIDGE_PRIMARY, 4, 0x00050500);
	pci_config_write(world->pci, at, PCI_BRIDGE_MEMORY_BASE, 4, 0xc010c010);
	pci_config_write(world->pci, at, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	pcie_root_port_press_button(world->device.device);
	pci_config_write(world->pci, at, 0x40 + 0x18, 2, 0x02ff); /* slot control */
}

static size_t root_port_look(struct world *world, uint8_t *seen)
{
	unsigned i;

	for (i = 0; i < 256; i++)
		seen[i] = pci_config_read(world->pci, PCI_SLOT_FUNCTION(2, 0), i, 1);
	return i;
}

static void chipset_stir(struct world *world)
{
	static const uint8_t links[PCI_PINS] = {5, 9, 10, 11};

	i440fx_set_up(&world->chipset, links, 0xb000);
	pci_config_write(world->pci, 0, 0x5a, 1, 0x21);
	i440fx_apm_pio_ops.write(&world->chipset, 0, 1, 0x12);
	i440fx_apm_pio_ops.write(&world->chipset, 1, 1, 0x34);
}

static void pci_stir(struct world *world)
{
	pci_bus_pio_ops.write(world->pci, 0, 4, 0x80000860);
	pci_bus_pio_ops.write(world->pci, 4, 4, 0x0b0a0b0a);
	pci_bus_pio_ops.write(world->pci, 1, 1, 0x02);
}

static size_t pci_look(struct world *world, uint8_t *seen)
{
	uint32_t address = pci_bus_pio_ops.read(world->pci, 0, 4);

	memcpy(seen, &address, 4);
	seen[4] = pci_bus_pio_ops.read(world->pci, 1, 1);
	return 5;
}

static size_t chipset_look(struct world *world, uint8_t *seen)
{
	static const uint32_t functions[] = {0x80000000, 0x80000800, 0x80000b00};
	size_t size = 0;
	uint32_t value;
	unsigned i;

	for (i = 0; i < 3 * 64; i++, size += 4) {
		pci_bus_pio_ops.write(world->pci, 0, 4, functions[i / 64] + i % 64 * 4);
		value = pci_bus_pio_ops.read(world->pci, 4, 4);
		memcpy(seen + size, &value, 4);
	}
	return size + read_ports(&i440fx_apm_pio_ops, &world->chipset, 0, 2, seen + size);
}

/* --- test devices --- */

void state_set_config(struct world *world, unsigned offset, unsigned size, uint32_t value)
{
	pci_config_write(world->pci, PCI_SLOT_FUNCTION(5, 0), offset, size, value);
}

static void exercise_create(struct world *world)
{
	struct error error;

	state_create_pci(world);
	adopt(world, "pci-exercise", &pci_exercise_device_ops,
	      pci_exercise_create(world->pci, PCI_SLOT_FUNCTION(5, 0), &error));
}

static void exercise_stir(struct world *world)
{
	uint32_t value = 1;

	state_set_config(world, PCI_BAR(0), 4, 0xc000);
	state_set_config(world, PCI_BAR(1), 4, 0xd0000000);
	state_set_config(world, PCI_BAR(2), 4, 0xe0000000);
	state_set_config(world, PCI_COMMAND, 2, 3);
	pio_bus_write(world->pio, 0xc004, 4, 0xabcdef01);
	pio_bus_write(world->pio, 0xc018, 4, 64);
	/* MSI-X is on with all vectors masked: eventfd 3 sends vector 5 and is signalled. */
	state_set_config(world, 0x60 + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE);
	pio_bus_write(world->pio, 0xc008, 4, 0xc0030005);
	pio_bus_write(world->pio, 0xc008, 4, 0x80030000);
	mmio_bus_write(world->mmio, 0xd000000c, (uint8_t *)&value, 4);
	mmio_bus_write(world->mmio, 0xd0001018, (uint8_t *)&value, 4);
	mmio_bus_write(world->mmio, 0xe000fffc, (uint8_t *)&value, 4);
}

static size_t exercise_look(struct world *world, uint8_t *seen)
{
	size_t size = 0;
	unsigned i;

	for (i = 0; i < 256; i++)
		seen[size++] = pci_config_read(world->pci, PCI_SLOT_FUNCTION(5, 0), i, 1);
	for (i = 0; i < 32; i++)
		seen[size++] = pio_bus_read(world->pio, 0xc000 + i, 1);
	for (i = 0; i < 128; i += 8, size += 8)
		mmio_bus_read(world->mmio, 0xd0001000 + i, seen + size, 8);
	mmio_bus_read(world->mmio, 0xe000fff8, seen + size, 8);
	size += 8;
	/* What is pending, and which vector the eventfd has. */
	mmio_bus_read(world->mmio, 0xd0001800, seen + size, 8);
	size += 8;
	pio_bus_write(world->pio, 0xc008, 4, 0x80030000);
	mmio_bus_read(world->mmio, 0xd0001800, seen + size, 8);
	return size + 8;
}

static void testdev_create(struct world *world)
{
	struct error error;

	state_create_pci(world);
	adopt(world, "pci-testdev", &pci_testdev_device_ops,
	      pci_testdev_create(world->pci, PCI_SLOT_FUNCTION(5, 0), NULL, 1 << 20, &error));
}

static void pvpanic_open(struct world *world)
{
	struct error error;

	state_create_pci(world);
	adopt(world, "pvpanic-pci", &pvpanic_pci_device_ops,
	      pvpanic_pci_create(world->pci, PCI_SLOT_FUNCTION(5, 0), &world->power, &error));
}

static void pvpanic_stir(struct world *world)
{
	state_set_config(world, PCI_BAR(0), 4, 0xd0000000);
	state_set_config(world, PCI_COMMAND, 2, 3);
}

static size_t pvpanic_look(struct world *world, uint8_t *seen)
{
	mmio_bus_read(world->mmio, 0xd0000000, seen, 2);
	return 2;
}

static void testdev_stir(struct world *world)
{
	uint8_t data = 0xce;
	unsigned i;

	state_set_config(world, PCI_BAR(0), 4, 0xd0000000);
	state_set_config(world, PCI_BAR(1), 4, 0xc000);
	state_set_config(world, PCI_COMMAND, 2, 3);
	pio_bus_write(world->pio, 0xc000, 1, 1); /* any byte, at 128 + 4 */
	for (i = 0; i < 5; i++)
		pio_bus_write(world->pio, 0xc084, 1, i);
	mmio_bus_write(world->mmio, 0xd0000801, &data, 1); /* the other window's place: no */
}

static size_t testdev_look(struct world *world, uint8_t *seen)
{
	unsigned i;

	for (i = 0; i < 48; i++)
		mmio_bus_read(world->mmio, 0xd0000000 + i, &seen[i], 1);
	return i;
}

static void pc_testdev_open(struct world *world)
{
	struct error error;

	adopt(world, "pc-testdev", &pc_testdev_device_ops,
	      pc_testdev_create(&world->fixture.irq, &world->memory, &error));
}

static void pc_testdev_stir(struct world *world)
{
	void *device = world->device.device;

	pc_testdev_pio_ops.write(device, 0, 4, 0x11223344);
	pc_testdev_byte_ops.write(device, 2, 1, 0x99);
	pc_testdev_mmio_ops.write(device, 0xfff8, 8, 0x0102030405060708);
	pc_testdev_irq_ops.write(device, 9, 1, 1);
}

static size_t pc_testdev_look(struct world *world, uint8_t *seen)
{
	void *device = world->device.device;
	uint64_t value = pc_testdev_mmio_ops.read(device, 0xfff8, 8);

	memcpy(seen, &value, 8);
	seen[8] = world->fixture.irq_level;
	return 9 + read_ports(&pc_testdev_pio_ops, device, 0, 4, seen + 9);
}

const struct subject state_pci_subjects[] = {
    {"PCI bus", state_create_pci, pci_stir, pci_look},
    {"chipset", chipset_create, chipset_stir, chipset_look},
    {"chipset of a q35", q35_create, q35_stir, q35_look},
    {"root port", root_port_open, root_port_stir, root_port_look},
    {"pci-exercise", exercise_create, exercise_stir, exercise_look},
    {"pci-testdev", testdev_create, testdev_stir, testdev_look},
    {"pc-testdev", pc_testdev_open, pc_testdev_stir, pc_testdev_look},
    {"pvpanic-pci", pvpanic_open, pvpanic_stir, pvpanic_look},
    {NULL},
};
