/*
 * Every device saved and loaded: what a guest sees of it afterwards, and that a stream which is cut
 * short or has a bad value leaves it as it was.
 *
 * A subject is a device with a way to bring it into an uncommon state, and a way to look at all
 * that a guest can see of it (which may change it).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>

#include "device/acpi_pm.h"
#include "device/acpi_sleep.h"
#include "device/bus/pci.h"
#include "device/debug_exit.h"
#include "device/device.h"
#include "device/fw_cfg.h"
#include "device/i440fx.h"
#include "device/i8042.h"
#include "device/pc_testdev.h"
#include "device/pci_exercise.h"
#include "device/pci_testdev.h"
#include "device/display/vga.h"
#include "device/pflash.h"
#include "device/post_port.h"
#include "device/pvpanic.h"
#include "device/pcie_root_port.h"
#include "device/q35.h"
#include "device/char/print_port.h"
#include "device/rom.h"
#include "device/rtc.h"
#include "device/char/serial16550.h"
#include "device/split_irqchip.h"
#include "device/virtio/entropy.h"
#include "device/virtio/virtio_mmio.h"
#include "device/virtio/virtio_pci.h"
#include "device/vmcoreinfo.h"
#include "device_fixture.h"

#define SEEN_MAX 1024
#define BYTES_CHANGED 700

/* One device alone in its world. */
struct world {
	struct fixture fixture, aux; /* aux: of a device with two interrupts */
	struct event_loop *loop;
	struct char_stream *stream;
	struct guest_memory memory;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct pci_bus *pci;
	struct i440fx chipset;
	struct q35 q35;
	struct gsi_routes *routes;
	struct fw_cfg *fw_cfg; /* of a device that has files there */
	struct power power;
	uint8_t post_code;
	struct device device;
};

struct subject {
	const char *name;
	void (*create)(struct world *world);
	void (*stir)(struct world *world);
	size_t (*look)(struct world *world, uint8_t *seen);
};

static uint64_t fixed_now(void *context)
{
	(void)context;
	return 1709215198000000000ull;
}

static void adopt(struct world *world, const char *name, const struct device_ops *ops, void *device)
{
	assert_non_null(device);
	world->device = (struct device){.ops = ops, .device = device};
	strcpy(world->device.name, name);
}

/* All reads of a range of byte-wide ports. */
static size_t read_ports(const struct pio_ops *ops, void *device, unsigned first, unsigned count,
                         uint8_t *seen)
{
	unsigned i;

	for (i = 0; i < count; i++)
		seen[i] = ops->read(device, first + i, 1);
	return count;
}

static void drop(void *context, const uint8_t *data, size_t size)
{
	(void)context;
	(void)data;
	(void)size;
}

/* --- serial port --- */

static void serial_create(struct world *world)
{
	struct error error;

	world->stream = char_callback_create(drop, NULL, &error);
	adopt(world, "serial1", &serial16550_device_ops,
	      serial16550_create(world->stream, &world->fixture.irq, &error));
}

static void serial_stir(struct world *world)
{
	static const uint8_t writes[][2] = {{3, 0x83}, {0, 0x34}, {1, 0x12}, {3, 0x1b}, {2, 0x81},
	                                    {4, 0x0b}, {7, 0x77}, {1, 0x0f}, {0, 'x'}};
	unsigned i;

	for (i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
		serial16550_pio_ops.write(world->device.device, writes[i][0], 1, writes[i][1]);
	char_callback_input(world->stream, (const uint8_t *)"abcdefghij", 10);
	for (i = 0; i < 3; i++)
		serial16550_pio_ops.read(world->device.device, 0, 1);
	world->stream->reader.receive_break(world->stream->reader.context);
}

static size_t serial_look(struct world *world, uint8_t *seen)
{
	static const uint8_t registers[] = {2, 5, 6, 3, 4, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 5, 2};
	size_t size = 0;
	unsigned i;

	seen[size++] = world->fixture.irq_level;
	for (i = 0; i < sizeof(registers); i++)
		seen[size++] = serial16550_pio_ops.read(world->device.device, registers[i], 1);
	serial16550_pio_ops.write(world->device.device, 3, 1, 0x80);
	return size + read_ports(&serial16550_pio_ops, world->device.device, 0, 2, seen + size);
}

/* --- real-time clock --- */

static void clock_create(struct world *world)
{
	struct rtc_config config = {.low_end = 1 << 26, .cpus = 1, .now_ns = fixed_now};
	struct error error;

	adopt(world, "rtc", &rtc_device_ops,
	      rtc_create(&config, world->loop, &world->fixture.irq, &error));
}

static void clock_write(struct world *world, uint8_t index, uint8_t value)
{
	rtc_pio_ops.write(world->device.device, 0, 1, index);
	rtc_pio_ops.write(world->device.device, 1, 1, value);
}

static void clock_stir(struct world *world)
{
	clock_write(world, 0x0b, 0x86); /* stopped, binary, 24 hours */
	clock_write(world, 0x04, 3);
	clock_write(world, 0x09, 31);
	clock_write(world, 0x0b, 0x06);
	clock_write(world, 0x05, 0xff);
	clock_write(world, 0x50, 0xa5);
	rtc_pio_ops.write(world->device.device, 0, 1, 0x50);
}

static size_t clock_look(struct world *world, uint8_t *seen)
{
	unsigned i;

	seen[0] = rtc_pio_ops.read(world->device.device, 1, 1);
	for (i = 0; i < 128; i++) {
		rtc_pio_ops.write(world->device.device, 0, 1, i);
		seen[1 + i] = rtc_pio_ops.read(world->device.device, 1, 1);
	}
	seen[129] = world->fixture.irq_level;
	return 130;
}

static void stopped_clock_stir(struct world *world)
{
	clock_write(world, 0x0b, 0x82);
	clock_write(world, 0x02, 0x59);
	clock_write(world, 0x07, 0x31);
}

/* --- keyboard controller --- */

static void keyboard_create(struct world *world)
{
	struct error error;

	adopt(world, "keyboard", &i8042_device_ops,
	      i8042_create(&world->fixture.irq, &world->aux.irq, &world->fixture.power, &error));
}

static void keyboard_stir(struct world *world)
{
	void *device = world->device.device;

	i8042_data_pio_ops.write(device, 0, 1, 0xf2);
	i8042_data_pio_ops.read(device, 0, 1);
	i8042_command_pio_ops.write(device, 0, 1, 0x60);
	i8042_data_pio_ops.write(device, 0, 1, 0x47); /* both interrupts, translation */
	i8042_command_pio_ops.write(device, 0, 1, 0xd4);
	i8042_data_pio_ops.write(device, 0, 1, 0xf4); /* the mouse reports */
	i8042_move(device, 1000, -3, 0);
	i8042_press(device, MOUSE_RIGHT, true);
	i8042_key(device, key_by_name("q", 1), true);
	i8042_key(device, key_by_name("ctrl_r", 6), false);
	i8042_data_pio_ops.write(device, 0, 1, 0xf0);    /* awaits a scan code set */
	i8042_command_pio_ops.write(device, 0, 1, 0x65); /* awaits a RAM byte */
	i8042_system_pio_ops.write(device, 0, 1, 0);
}

static size_t keyboard_look(struct world *world, uint8_t *seen)
{
	void *device = world->device.device;
	size_t size = 0;
	unsigned i;

	seen[size++] = world->fixture.irq_level;
	seen[size++] = i8042_command_pio_ops.read(device, 0, 1);
	seen[size++] = i8042_system_pio_ops.read(device, 0, 1);
	i8042_data_pio_ops.write(device, 0, 1, 0x99); /* to RAM */
	i8042_data_pio_ops.write(device, 0, 1, 0x01); /* the set */
	seen[size++] = world->aux.irq_level;
	for (i = 0; i < 40; i++) {
		seen[size++] = i8042_data_pio_ops.read(device, 0, 1);
		seen[size++] = i8042_command_pio_ops.read(device, 0, 1);
	}
	for (i = 0; i < 32; i++) {
		i8042_command_pio_ops.write(device, 0, 1, 0x20 + i);
		seen[size++] = i8042_data_pio_ops.read(device, 0, 1);
	}
	i8042_data_pio_ops.write(device, 0, 1, 0xf0);
	i8042_data_pio_ops.write(device, 0, 1, 0);
	for (i = 0; i < 3; i++)
		seen[size++] = i8042_data_pio_ops.read(device, 0, 1);
	return size;
}

/* --- ACPI --- */

static void acpi_create(struct world *world)
{
	struct error error;

	adopt(world, "acpi-pm", &acpi_pm_device_ops,
	      acpi_pm_create(world->loop, &world->fixture.irq, &world->fixture.power, true, &error));
}

static void acpi_stir(struct world *world)
{
	acpi_pm_press_power_button(world->device.device);
	acpi_pm_pio_ops.write(world->device.device, 2, 2, 0x0120);
	acpi_pm_pio_ops.write(world->device.device, 4, 2, 0x0c02);
	acpi_pm_pio_ops.write(world->device.device, 14, 2, 0x8001);
}

static size_t acpi_look(struct world *world, uint8_t *seen)
{
	seen[0] = world->fixture.irq_level;
	read_ports(&acpi_pm_pio_ops, world->device.device, 0, 8, seen + 1);
	return 9 + read_ports(&acpi_pm_pio_ops, world->device.device, 12, 4, seen + 9);
}

/* --- fw_cfg --- */

static void firmware_create(struct world *world)
{
	struct error error;
	struct fw_cfg *fw_cfg = fw_cfg_create(&world->memory, &error);

	adopt(world, "fw_cfg", &fw_cfg_device_ops, fw_cfg);
	assert_int_equal(fw_cfg_add_file(fw_cfg, "etc/test", "0123456789", 10), 0);
}

static void firmware_stir(struct world *world)
{
	fw_cfg_pio_ops.write(world->device.device, 0, 2, 0x20);
	fw_cfg_pio_ops.read(world->device.device, 1, 1);
	fw_cfg_pio_ops.read(world->device.device, 1, 1);
	fw_cfg_pio_ops.write(world->device.device, 4, 4, 0x01000000);
}

static size_t firmware_look(struct world *world, uint8_t *seen)
{
	unsigned i;

	for (i = 0; i < 12; i++)
		seen[i] = fw_cfg_pio_ops.read(world->device.device, 1, 1);
	return 12;
}

/* --- vmcoreinfo --- */

static void vmcoreinfo_open(struct world *world)
{
	struct error error;

	world->fw_cfg = fw_cfg_create(&world->memory, &error);
	adopt(world, "vmcoreinfo", &vmcoreinfo_device_ops, vmcoreinfo_create(world->fw_cfg, &error));
}

static void vmcoreinfo_stir(struct world *world)
{
	/* As the guest writes it: both formats, the size, the address. */
	static const uint8_t content[16] = {1, 0, 1, 0, 0x34, 0x12, 0, 0, 0x78, 0x56, 0x34, 0x12, 1};

	assert_int_equal(fw_cfg_renew_file(world->fw_cfg, "etc/vmcoreinfo", content, sizeof(content)), 0);
}

static size_t vmcoreinfo_look(struct world *world, uint8_t *seen)
{
	uint64_t gpa = 0;
	uint32_t size = 0;

	seen[0] = vmcoreinfo_find(world->device.device, &gpa, &size);
	memcpy(seen + 1, &gpa, sizeof(gpa));
	memcpy(seen + 9, &size, sizeof(size));
	return 13;
}

/* --- PCI --- */

static void pci_create(struct world *world)
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
	pci_create(world);
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

	pci_create(world);
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

static void set_config(struct world *world, unsigned offset, unsigned size, uint32_t value)
{
	pci_config_write(world->pci, PCI_SLOT_FUNCTION(5, 0), offset, size, value);
}

static void exercise_create(struct world *world)
{
	struct error error;

	pci_create(world);
	adopt(world, "pci-exercise", &pci_exercise_device_ops,
	      pci_exercise_create(world->pci, PCI_SLOT_FUNCTION(5, 0), &error));
}

static void exercise_stir(struct world *world)
{
	uint32_t value = 1;

	set_config(world, PCI_BAR(0), 4, 0xc000);
	set_config(world, PCI_BAR(1), 4, 0xd0000000);
	set_config(world, PCI_BAR(2), 4, 0xe0000000);
	set_config(world, PCI_COMMAND, 2, 3);
	pio_bus_write(world->pio, 0xc004, 4, 0xabcdef01);
	pio_bus_write(world->pio, 0xc018, 4, 64);
	/* MSI-X is on with all vectors masked: eventfd 3 sends vector 5 and is signalled. */
	set_config(world, 0x60 + PCI_MSIX_CONTROL, 2, PCI_MSIX_ENABLE);
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

/* --- a virtio device, on PCI --- */

#define VIRTIO_GPA 0x10000

static void virtio_create(struct world *world)
{
	static uint8_t ram[0x4000] __attribute__((aligned(4096)));
	struct virtio_host host = {&world->memory, world->loop, VIRTIO_RING_FEATURES | VIRTIO_PACKED};
	struct virtio_pci_config config = {.slot_function = PCI_SLOT_FUNCTION(5, 0)};
	struct virtio_device *virtio;
	struct error error;

	pci_create(world);
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
	set_config(world, PCI_BAR(1), 4, 0xd0000000);
	set_config(world, PCI_BAR(4), 4, 0xe0000000);
	set_config(world, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
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

static void testdev_create(struct world *world)
{
	struct error error;

	pci_create(world);
	adopt(world, "pci-testdev", &pci_testdev_device_ops,
	      pci_testdev_create(world->pci, PCI_SLOT_FUNCTION(5, 0), NULL, 1 << 20, &error));
}

static void pvpanic_open(struct world *world)
{
	struct error error;

	pci_create(world);
	adopt(world, "pvpanic-pci", &pvpanic_pci_device_ops,
	      pvpanic_pci_create(world->pci, PCI_SLOT_FUNCTION(5, 0), &world->power, &error));
}

static void pvpanic_stir(struct world *world)
{
	set_config(world, PCI_BAR(0), 4, 0xd0000000);
	set_config(world, PCI_COMMAND, 2, 3);
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

	set_config(world, PCI_BAR(0), 4, 0xd0000000);
	set_config(world, PCI_BAR(1), 4, 0xc000);
	set_config(world, PCI_COMMAND, 2, 3);
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

/* --- ports with little or no state --- */

static void post_create(struct world *world)
{
	adopt(world, "post-port", &post_port_device_ops, &world->post_code);
}

static void post_stir(struct world *world)
{
	post_port_pio_ops.write(world->device.device, 0, 1, 0x42);
}

static size_t post_look(struct world *world, uint8_t *seen)
{
	return read_ports(&post_port_pio_ops, world->device.device, 0, 1, seen);
}

static void print_create(struct world *world)
{
	struct error error;

	world->stream = char_none_create(&error);
	adopt(world, "print-port", &print_port_device_ops,
	      print_port_create(world->stream, 0xe9, &error));
}

static void exit_create(struct world *world)
{
	adopt(world, "debug-exit", &debug_exit_device_ops, &world->fixture.power);
}

static void sleep_create(struct world *world)
{
	adopt(world, "acpi-sleep", &acpi_sleep_device_ops, &world->fixture.power);
}

static void no_stir(struct world *world)
{
	(void)world;
}

static size_t no_look(struct world *world, uint8_t *seen)
{
	(void)world;
	(void)seen;
	return 0;
}

/* --- interrupt controllers --- */

static int fake_ioctl(int fd, unsigned long request, void *argument)
{
	(void)fd;
	(void)argument;
	return request == KVM_SIGNAL_MSI;
}

static void no_kick(void *context)
{
	(void)context;
}

static const struct kvm_backend backend = {.name = "fake", .ioctl = fake_ioctl};
static const struct kvm_system kvm = {.backend = &backend};
static const struct kvm_vm vm = {.system = &kvm};

static void irqchip_create(struct world *world)
{
	struct error error;

	world->routes = gsi_routes_create(&vm, &error);
	adopt(world, "irqchip", &split_irqchip_device_ops,
	      split_irqchip_create(&vm, world->routes, world->loop, no_kick, NULL, &error));
}

static void irqchip_stir(struct world *world)
{
	static const uint8_t pic[][2] = {{0, 0x11}, {1, 0x20}, {1, 0x04},
	                                 {1, 0x03}, {1, 0xa0}, {0, 0x0b}};
	static const uint8_t pit[][2] = {{3, 0x34}, {0, 0x10}, {0, 0x27},
	                                 {3, 0xb0}, {2, 0x05}, {3, 0x40}};
	void *device = world->device.device;
	unsigned i;

	for (i = 0; i < sizeof(pic) / sizeof(pic[0]); i++)
		split_irqchip_master_pio_ops.write(device, pic[i][0], 1, pic[i][1]);
	split_irqchip_elcr_pio_ops.write(device, 1, 1, 0x0c);
	for (i = 0; i < sizeof(pit) / sizeof(pit[0]); i++)
		split_irqchip_pit_pio_ops.write(device, pit[i][0], 1, pit[i][1]);
	split_irqchip_port_61_pio_ops.write(device, 0, 1, 0x02);
	split_irqchip_ioapic_mmio_ops.write(device, 0, 4, 0x24);
	split_irqchip_ioapic_mmio_ops.write(device, 0x10, 4,
	                                    0x8031); /* pin 10: level, vector 0x31 */
	split_irqchip_set_line(device, 10, true);
	split_irqchip_set_line(device, 4, true);
}

static size_t irqchip_look(struct world *world, uint8_t *seen)
{
	void *device = world->device.device;
	size_t size = 0;
	unsigned i;
	uint32_t value;

	size += read_ports(&split_irqchip_master_pio_ops, device, 0, 2, seen + size);
	size += read_ports(&split_irqchip_slave_pio_ops, device, 0, 2, seen + size);
	size += read_ports(&split_irqchip_elcr_pio_ops, device, 0, 2, seen + size);
	seen[size++] = split_irqchip_port_61_pio_ops.read(device, 0, 1) & 0x03;
	/* The high byte of channel 2, whose low byte is awaited. */
	split_irqchip_pit_pio_ops.write(device, 3, 1, 0xe8); /* read back its status */
	seen[size++] = split_irqchip_pit_pio_ops.read(device, 2, 1) & 0x3f;
	for (i = 0x10; i < 0x40; i++) {
		split_irqchip_ioapic_mmio_ops.write(device, 0, 4, i);
		value = split_irqchip_ioapic_mmio_ops.read(device, 0x10, 4);
		memcpy(seen + size, &value, 4);
		size += 4;
	}
	return size;
}

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

	pci_create(world);
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

	set_config(world, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	set_config(world, PCI_BAR(0), 4, 0xd0000000);
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

static const struct subject subjects[] = {
    {"serial port", serial_create, serial_stir, serial_look},
    {"clock", clock_create, clock_stir, clock_look},
    {"stopped clock", clock_create, stopped_clock_stir, clock_look},
    {"keyboard controller", keyboard_create, keyboard_stir, keyboard_look},
    {"ACPI registers", acpi_create, acpi_stir, acpi_look},
    {"ACPI sleep", sleep_create, no_stir, no_look},
    {"fw_cfg", firmware_create, firmware_stir, firmware_look},
    {"PCI bus", pci_create, pci_stir, pci_look},
    {"chipset", chipset_create, chipset_stir, chipset_look},
    {"chipset of a q35", q35_create, q35_stir, q35_look},
    {"root port", root_port_open, root_port_stir, root_port_look},
    {"ROM", rom_open, rom_stir, rom_look},
    {"display", vga_open, vga_stir, vga_look},
    {"flash memory", flash_open, flash_stir, flash_look},
    {"pci-exercise", exercise_create, exercise_stir, exercise_look},
    {"virtio-rng", virtio_create, virtio_stir, virtio_look},
    {"virtio-mmio", virtio_mmio_open, virtio_mmio_stir, virtio_mmio_look},
    {"pci-testdev", testdev_create, testdev_stir, testdev_look},
    {"pc-testdev", pc_testdev_open, pc_testdev_stir, pc_testdev_look},
    {"POST port", post_create, post_stir, post_look},
    {"print port", print_create, no_stir, no_look},
    {"debug exit", exit_create, no_stir, no_look},
    {"vmcoreinfo", vmcoreinfo_open, vmcoreinfo_stir, vmcoreinfo_look},
    {"pvpanic-pci", pvpanic_open, pvpanic_stir, pvpanic_look},
    {"interrupt controllers", irqchip_create, irqchip_stir, irqchip_look},
};

static struct world *world_open(const struct subject *subject)
{
	struct world *world = calloc(1, sizeof(*world));
	struct error error;

	fixture_init(&world->fixture);
	fixture_init(&world->aux);
	world->loop = event_loop_create(&error);
	subject->create(world);
	return world;
}

static void world_close(struct world *world)
{
	if (world->pci && world->device.device != world->pci &&
	    world->device.device != &world->chipset)
		device_destroy(&world->device);
	if (world->pci) {
		i440fx_device_ops.destroy(&world->chipset);
		pci_bus_device_ops.destroy(world->pci);
		pio_bus_destroy(world->pio);
		mmio_bus_destroy(world->mmio);
	} else {
		device_destroy(&world->device);
	}
	if (world->fw_cfg)
		fw_cfg_device_ops.destroy(world->fw_cfg);
	gsi_routes_destroy(world->routes);
	char_destroy(world->stream);
	event_loop_destroy(world->loop);
	free(world);
}

static void save(const struct world *world, struct state_stream *state, const uint8_t **bytes,
                 size_t *size)
{
	const void *saved;

	state_save_begin(state);
	device_save(&world->device, state);
	assert_int_equal(state_saved(state, &saved, size, NULL), 0);
	*bytes = saved;
}

static int load(const struct world *world, const uint8_t *bytes, size_t size, struct error *error)
{
	struct state_stream state;

	state_load_begin(&state, bytes, size);
	device_load(&world->device, &state);
	return state_loaded(&state, error);
}

static void check_subject(const struct subject *subject)
{
	struct world *first = world_open(subject), *second = world_open(subject);
	uint8_t seen_first[SEEN_MAX] = {0}, seen_second[SEEN_MAX] = {0};
	struct state_stream state;
	const uint8_t *bytes;
	size_t size, seen;
	struct error error = {.message = ""};

	subject->stir(first);
	save(first, &state, &bytes, &size);
	if (load(second, bytes, size, &error) < 0)
		fail_msg("%s: %s", subject->name, error.message);
	state_end(&state);
	seen = subject->look(first, seen_first);
	assert_int_equal(subject->look(second, seen_second), seen);
	if (memcmp(seen_first, seen_second, seen))
		print_error("%s differs\n", subject->name);
	assert_memory_equal(seen_first, seen_second, seen);
	/* And it isn't what a new one shows, or the test would show nothing. */
	if (seen) {
		struct world *fresh = world_open(subject);

		subject->look(fresh, seen_second);
		assert_memory_not_equal(seen_first, seen_second, seen);
		world_close(fresh);
	}
	world_close(first);
	world_close(second);
}

static void test_saved_and_loaded(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++)
		check_subject(&subjects[i]);
}

/* Cut short at every place: refused, with the device's name, and the device is what it was. */
static void test_truncated(void **test)
{
	uint8_t seen_fresh[SEEN_MAX] = {0}, seen[SEEN_MAX] = {0}, *cut;
	struct state_stream state;
	struct world *saved, *fresh, *loaded;
	struct error error;
	const uint8_t *bytes;
	size_t size, i;
	unsigned subject;

	(void)test;
	for (subject = 0; subject < sizeof(subjects) / sizeof(subjects[0]); subject++) {
		saved = world_open(&subjects[subject]);
		fresh = world_open(&subjects[subject]);
		loaded = world_open(&subjects[subject]);
		subjects[subject].stir(saved);
		save(saved, &state, &bytes, &size);
		for (i = 0; i < size; i += i < BYTES_CHANGED ? 1 : 4099) {
			cut = malloc(i ? i : 1);
			memcpy(cut, bytes, i);
			error.message[0] = 0;
			assert_true(load(loaded, cut, i, &error) < 0);
			if (i > 1 + strlen(saved->device.name))
				assert_non_null(strstr(error.message, saved->device.name));
			free(cut);
		}
		size = subjects[subject].look(fresh, seen_fresh);
		subjects[subject].look(loaded, seen);
		assert_memory_equal(seen, seen_fresh, size);
		state_end(&state);
		world_close(saved);
		world_close(fresh);
		world_close(loaded);
	}
}

/* Every byte changed in turn: loaded or refused, and the device still works either way. */
static void test_corrupted(void **test)
{
	static const uint8_t changes[] = {0x01, 0x80, 0xff};
	struct state_stream state;
	struct world *saved, *loaded;
	uint8_t seen[SEEN_MAX], *copy;
	struct error error;
	const uint8_t *bytes;
	size_t size, i;
	unsigned subject, change, refused;

	(void)test;
	for (subject = 0; subject < sizeof(subjects) / sizeof(subjects[0]); subject++) {
		saved = world_open(&subjects[subject]);
		subjects[subject].stir(saved);
		save(saved, &state, &bytes, &size);
		copy = malloc(size);
		/* Of large devices, most of which is memory, only the registers. */
		for (i = refused = 0; i < size * 3 && i < BYTES_CHANGED * 3; i++) {
			change = i % 3;
			memcpy(copy, bytes, size);
			copy[i / 3] ^= changes[change];
			loaded = world_open(&subjects[subject]);
			refused += load(loaded, copy, size, &error) < 0;
			subjects[subject].look(loaded, seen);
			device_reset(&loaded->device);
			world_close(loaded);
		}
		assert_true(refused > 0);
		free(copy);
		state_end(&state);
		world_close(saved);
	}
}

/* A section of `subject` with one field changed by hand is refused by name. */
static void expect_refused(unsigned subject, const char *pattern, size_t pattern_size,
                           size_t offset, uint8_t value, const char *field)
{
	struct world *world = world_open(&subjects[subject]);
	struct state_stream state;
	struct error error = {.message = ""};
	const uint8_t *bytes;
	uint8_t *copy, *at;
	size_t size;

	save(world, &state, &bytes, &size);
	copy = malloc(size);
	memcpy(copy, bytes, size);
	at = pattern_size ? memmem(copy, size, pattern, pattern_size) : copy;
	assert_non_null(at);
	at[offset] = value;
	assert_true(load(world, copy, size, &error) < 0);
	assert_non_null(strstr(error.message, field));
	assert_non_null(strstr(error.message, world->device.name));
	free(copy);
	state_end(&state);
	world_close(world);
}

static void test_bad_values(void **state)
{
	(void)state;
	/* The FIFO is the only run of bytes in a serial port: its head and count follow. */
	expect_refused(0, "\x40\x10\0\0\0", 5, 5 + 16 + 1, 16, "fifo_head");
	expect_refused(0, "\x40\x10\0\0\0", 5, 5 + 16 + 3, 2, "fifo_count"); /* FIFOs are off */
	expect_refused(3, "\x40\x10\0\0\0", 5, 5 + 16 + 1, 17, "reply_count");
	expect_refused(3, "\x40\x40\0\0\0", 5, 5 + 64 + 1, 64, "head");
	expect_refused(3, "\x40\x40\0\0\0", 5, 5 + 64 + 3, 65, "count");
	expect_refused(1, "\x40\x80\0\0\0", 5, 5 + 128 + 1, 128, "index");
	/* Beyond the item that is selected: "QEMU" has four bytes. */
	expect_refused(6, "\x02\0\0\x08", 4, 4, 5, "offset");
	/* A chipset that is another. */
	expect_refused(8, "\x86\x80\x37\x12", 4, 2, 0x38, "configuration space");
}

static void stop_loop(void *context)
{
	event_loop_stop(context);
}

/* Run the loop for some milliseconds. */
static void pass_time(struct event_loop *loop, unsigned ms)
{
	struct event_timer timer = {.expired = NULL};

	assert_int_equal(event_timer_init(&timer, loop, stop_loop, loop), 0);
	event_timer_set(&timer, monotonic_ns() + ms * 1000000ull, 0);
	assert_int_equal(event_loop_run(loop), 0);
	event_timer_destroy(&timer);
}

/* Start channel 0 in mode 0 with `count`, let time pass, and tell what is saved of the tick. */
static bool tick_after(uint16_t count, unsigned ms, uint64_t *until_ns)
{
	const struct subject *subject = &subjects[sizeof(subjects) / sizeof(subjects[0]) - 1];
	struct world *first = world_open(subject), *second = world_open(subject);
	const uint8_t writes[][2] = {{3, 0x30}, {0, count & 0xff}, {0, count >> 8}};
	struct state_stream stream;
	const uint8_t *bytes, *tick;
	struct error error;
	size_t size;
	unsigned i;
	bool is_armed;

	for (i = 0; i < 3; i++)
		split_irqchip_pit_pio_ops.write(first->device.device, writes[i][0], 1,
		                                writes[i][1]);
	pass_time(first->loop, ms);
	save(first, &stream, &bytes, &size);
	assert_int_equal(load(second, bytes, size, &error), 0);
	state_end(&stream);
	save(second, &stream, &bytes, &size);
	/* A flag, two numbers of 64 bits, a flag, a byte. */
	tick = bytes + size - 2 - 2 - 9 - 9 - 2;
	assert_int_equal(tick[0], 1);
	is_armed = tick[1];
	memcpy(until_ns, tick + 3, 8);
	state_end(&stream);
	world_close(first);
	world_close(second);
	return is_armed;
}

/* The PIT's next tick keeps its distance; a single one that has come doesn't come again. */
static void test_tick(void **state)
{
	uint64_t until_ns;
	unsigned tries = 1;

	(void)state;
	/* On a busy host the 55 ms may pass before it is saved. */
	while (!tick_after(0xffff, 5, &until_ns))
		assert_true(++tries <= 50);
	assert_in_range(until_ns, 0, 50000000);
	assert_false(tick_after(100, 5, &until_ns));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_saved_and_loaded),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_corrupted),
	    cmocka_unit_test(test_bad_values),
	    cmocka_unit_test(test_tick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
