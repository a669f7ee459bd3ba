/* A root port as software goes about it: bus numbers and windows lead to what is behind it; a device that comes and
 * goes while the guest runs is told by the slot's registers and a message. */
#include "device_fixture.h"

#include "device/bus/pci_bridge.h"
#include "device/pci_testdev.h"
#include "device/pcie_root_port.h"

#define PORT	   PCI_SLOT_FUNCTION(2, 0)
#define BAR_GPA	   0xc0100000ull
#define EXPRESS_ID 0x10

static struct rig {
	struct fixture fixture;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct pci_bus *bus;
	struct pcie_root_port *port;
	bool levels[24];
	unsigned messages, switched_off;
	uint32_t data;
} rig;

static void set_line(void *context, unsigned gsi, bool level)
{
	(void)context;
	rig.levels[gsi] = level;
}

static void send_message(void *context, uint64_t address, uint32_t data)
{
	(void)context;
	assert_int_equal(address, 0xfee00000);
	rig.messages++;
	rig.data = data;
}

static void note_off(void *context, unsigned slot_function)
{
	(void)context;
	assert_int_equal(slot_function, PORT);
	rig.switched_off++;
}

static uint32_t get(unsigned function, unsigned offset, unsigned size)
{
	return pci_config_read(rig.bus, function, offset, size);
}

static void set(unsigned function, unsigned offset, unsigned size, uint32_t value)
{
	pci_config_write(rig.bus, function, offset, size, value);
}

static unsigned capability(uint8_t id)
{
	unsigned at = get(PORT, PCI_CAPABILITIES, 1);

	while (at && get(PORT, at, 1) != id)
		at = get(PORT, at + 1, 1);
	assert_true(at);
	return at;
}

static int set_up(void **state)
{
	struct pci_bus_config config = {.irq = {.set = set_line}, .msi = {.send = send_message}};
	struct pcie_root_port_config port = {.slot_function = PORT, .port = 16, .slot_number = 3,
					     .switched_off = note_off};
	struct error error;
	unsigned link;

	(void)state;
	memset(&rig, 0, sizeof(rig));
	config.pio = rig.pio = pio_bus_create();
	config.mmio = rig.mmio = mmio_bus_create();
	port.bus = rig.bus = pci_bus_create(&config, &error);
	rig.port = pcie_root_port_create(&port, &error);
	for (link = 0; link < PCI_PINS; link++)
		pci_bus_route(rig.bus, link, 10 + link);
	pcie_root_port_device_ops.reset(rig.port);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	pcie_root_port_device_ops.destroy(rig.port);
	pci_bus_device_ops.destroy(rig.bus);
	mmio_bus_destroy(rig.mmio);
	pio_bus_destroy(rig.pio);
	return 0;
}

static struct pci_testdev *plug(void)
{
	struct error error;

	return pci_testdev_create(pcie_root_port_bus(rig.port), 0, NULL, 0, &error);
}

static uint32_t by_memory(unsigned bus, unsigned function, unsigned offset)
{
	return pci_bus_ecam_ops.read(rig.bus, bus << 20 | function << 12 | offset, 4);
}

static void test_bridge(void **state)
{
	struct pci_testdev *device = plug();
	uint32_t value = 0;

	(void)state;
	assert_int_equal(get(PORT, 0, 4), 0x000c1b36);
	assert_int_equal(get(PORT, PCI_HEADER_TYPE, 1), 1);
	/* Without numbers nothing is behind it; with them it is, by memory and by ports. */
	assert_int_equal(by_memory(1, 0, 0), 0xffffffff);
	set(PORT, PCI_BRIDGE_PRIMARY, 4, 0x00050500);
	assert_int_equal(by_memory(1, 0, 0), 0xffffffff);
	assert_int_equal(by_memory(5, 0, 0), 0x00051b36);
	assert_int_equal(by_memory(5, 8, 0), 0xffffffff);
	assert_int_equal(by_memory(5, 0, 0x100), 0); /* of PCI Express, with nothing there */
	pci_bus_pio_ops.write(rig.bus, 0, 4, 0x80050000);
	assert_int_equal(pci_bus_pio_ops.read(rig.bus, 4, 4), 0x00051b36);
	/* Its BAR opens where the bridge forwards it. */
	pci_bus_ecam_ops.write(rig.bus, 5 << 20 | PCI_BAR(0), 4, BAR_GPA);
	pci_bus_ecam_ops.write(rig.bus, 5 << 20 | PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	mmio_bus_read(rig.mmio, BAR_GPA, (uint8_t *)&value, 4);
	assert_int_equal(value, 0xffffffff);
	set(PORT, PCI_BRIDGE_MEMORY_BASE, 4, 0xc010c010);
	mmio_bus_read(rig.mmio, BAR_GPA, (uint8_t *)&value, 4);
	assert_int_equal(value, 0xffffffff);
	set(PORT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	mmio_bus_read(rig.mmio, BAR_GPA, (uint8_t *)&value, 4);
	assert_int_not_equal(value, 0xffffffff);
	/* The prefetchable window, above 4 GiB and below. */
	set(PORT, PCI_BRIDGE_MEMORY_BASE, 4, 0x0000fff0);
	mmio_bus_read(rig.mmio, BAR_GPA, (uint8_t *)&value, 4);
	assert_int_equal(value, 0xffffffff);
	set(PORT, PCI_BRIDGE_PREFETCH_BASE, 4, 0xc010c010);
	mmio_bus_read(rig.mmio, BAR_GPA, (uint8_t *)&value, 4);
	assert_int_not_equal(value, 0xffffffff);
	set(PORT, PCI_BRIDGE_PREFETCH_BASE_HIGH, 4, 1);
	mmio_bus_read(rig.mmio, BAR_GPA, (uint8_t *)&value, 4);
	assert_int_equal(value, 0xffffffff);
	pci_testdev_device_ops.destroy(device);
	assert_int_equal(by_memory(5, 0, 0), 0xffffffff);
}

static void test_pins(void **state)
{
	struct pci_function function;

	(void)state;
	/* Pin B of slot 0 behind slot 2: link (2 + 1 - 1) mod 4. */
	pci_function_init(&function, 0x1234, 1, 0xff0000, 0);
	pci_function_set_pin(&function, 2);
	pci_bus_add(pcie_root_port_bus(rig.port), 0, &function);
	pci_set_intx(&function, true);
	assert_true(rig.levels[12]);
	pci_bus_remove(&function);
	assert_false(rig.levels[12]);
	pci_function_destroy(&function);
}

static void test_slot(void **state)
{
	unsigned at = capability(EXPRESS_ID), msi = capability(PCI_CAPABILITY_MSI);
	unsigned control = at + PCI_EXPRESS_SLOT_CONTROL, status = at + PCI_EXPRESS_SLOT_STATUS;
	struct pci_testdev *device;

	(void)state;
	assert_int_equal(get(PORT, at + PCI_EXPRESS_FLAGS, 2), 0x0142);
	assert_int_equal(get(PORT, at + PCI_EXPRESS_SLOT, 4) >> 19, 3);
	assert_int_equal(get(PORT, status, 2), 0);
	assert_true(pcie_root_port_is_off(rig.port));
	set(PORT, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	set(PORT, msi + PCI_MSI_ADDRESS, 4, 0xfee00000);
	set(PORT, msi + PCI_MSI_DATA, 2, 0x41);
	set(PORT, msi + PCI_MSI_CONTROL, 2, PCI_MSI_ENABLE);
	set(PORT, control, 2, 0x07f9 | 0x1000);
	/* A device comes: it is present, and its link is up. */
	device = plug();
	pcie_root_port_changed(rig.port);
	assert_int_equal(rig.messages, 1);
	assert_int_equal(rig.data, 0x41);
	assert_int_equal(get(PORT, status, 2), 0x148);
	assert_int_equal(get(PORT, at + PCI_EXPRESS_LINK_STATUS, 2), 0x2011);
	set(PORT, status, 2, 0x0108);
	assert_int_equal(get(PORT, status, 2), 0x40);
	set(PORT, control, 2, 0x11f9); /* on */
	assert_int_equal(rig.switched_off, 0);
	/* It shall go: the button. The guest switches off: power, then the light. */
	assert_true(pcie_root_port_press_button(rig.port));
	assert_int_equal(rig.messages, 2);
	assert_int_equal(get(PORT, status, 2), 0x41);
	set(PORT, status, 2, 0x1);
	set(PORT, control, 2, 0x15f9);
	assert_int_equal(rig.switched_off, 0);
	set(PORT, control, 2, 0x17f9);
	assert_int_equal(rig.switched_off, 1);
	set(PORT, control, 2, 0x17f9); /* once */
	assert_int_equal(rig.switched_off, 1);
	pci_testdev_device_ops.destroy(device);
	pcie_root_port_changed(rig.port);
	assert_int_equal(rig.messages, 3);
	assert_int_equal(get(PORT, status, 2), 0x108);
	assert_int_equal(get(PORT, at + PCI_EXPRESS_LINK_STATUS, 2), 0x0011);
	/* Nobody listens: nothing is sent, and who presses is told. */
	set(PORT, status, 2, 0x0108);
	set(PORT, control, 2, 0);
	assert_false(pcie_root_port_press_button(rig.port));
	assert_int_equal(rig.messages, 3);
	/* By the pin while messages are off, until the event is cleared. */
	set(PORT, msi + PCI_MSI_CONTROL, 2, 0);
	set(PORT, control, 2, 0x21);
	assert_true(rig.levels[11]);
	set(PORT, status, 2, 0x1);
	set(PORT, control, 2, 0x21);
	assert_false(rig.levels[11]);
}

static void test_reset(void **state)
{
	unsigned control = capability(EXPRESS_ID) + PCI_EXPRESS_SLOT_CONTROL;
	struct pci_testdev *device = plug();

	(void)state;
	set(PORT, control, 2, 0x07ff);
	pci_bus_device_ops.reset(rig.bus);
	pcie_root_port_device_ops.reset(rig.port);
	assert_false(pcie_root_port_is_off(rig.port));
	assert_int_equal(get(PORT, control + 2, 2), 0x40);
	assert_int_equal(get(PORT, control, 2) & 0x0700, 0x0100);
	pci_testdev_device_ops.destroy(device);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bridge, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pins, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_slot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reset, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
