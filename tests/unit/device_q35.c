/* The chipset of a q35 as firmware goes about it: what its registers place, where its links lead, what a reset
 * undoes; and an SMBus with nothing on it. */
#include "device_fixture.h"

#include "device/q35.h"

#define HOST  PCI_SLOT_FUNCTION(0, 0)
#define LPC   PCI_SLOT_FUNCTION(31, 0)
#define SMBUS PCI_SLOT_FUNCTION(31, 3)

static struct rig {
	struct fixture fixture;
	struct pio_bus *pio;
	struct mmio_bus *mmio;
	struct pci_bus *bus;
	struct q35 chipset;
	bool levels[24];
	uint8_t access[PAM_SEGMENTS];
	uint16_t pm_port;
	uint64_t ecam_gpa, ecam_bytes, root_complex;
} rig;

static void set_line(void *context, unsigned gsi, bool level)
{
	(void)context;
	assert_in_range(gsi, 0, 23);
	rig.levels[gsi] = level;
}

static void keep_shadow(void *context, const uint8_t access[PAM_SEGMENTS])
{
	(void)context;
	memcpy(rig.access, access, sizeof(rig.access));
}

static void keep_pm(void *context, uint16_t port)
{
	(void)context;
	rig.pm_port = port;
}

/* As a board does it. */
static void keep_ecam(void *context, uint64_t gpa, uint64_t bytes)
{
	struct error error;

	(void)context;
	if (rig.ecam_bytes)
		mmio_bus_remove(rig.mmio, rig.ecam_gpa);
	rig.ecam_gpa = gpa;
	rig.ecam_bytes = bytes;
	if (bytes)
		assert_int_equal(mmio_bus_add(rig.mmio, gpa, bytes, "ECAM", &pci_bus_ecam_ops, rig.bus,
					      &error), 0);
}

static void keep_root_complex(void *context, uint64_t gpa)
{
	(void)context;
	rig.root_complex = gpa;
}

static int set_up(void **state)
{
	const struct q35_wiring wiring = {keep_shadow, keep_pm, keep_ecam, keep_root_complex, NULL};
	struct pci_bus_config config = {.irq = {.set = set_line}, .link_of = q35_link_of};
	struct error error;

	(void)state;
	memset(&rig, 0, sizeof(rig));
	fixture_init(&rig.fixture);
	config.pio = rig.pio = pio_bus_create();
	config.mmio = rig.mmio = mmio_bus_create();
	rig.bus = pci_bus_create(&config, &error);
	q35_init(&rig.chipset, rig.bus, &wiring);
	q35_device_ops.reset(&rig.chipset);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	q35_device_ops.destroy(&rig.chipset);
	pci_bus_device_ops.destroy(rig.bus);
	mmio_bus_destroy(rig.mmio);
	pio_bus_destroy(rig.pio);
	return 0;
}

static uint32_t memory_read(uint64_t gpa, unsigned size)
{
	uint32_t value = 0;

	mmio_bus_read(rig.mmio, gpa, (uint8_t *)&value, size);
	return value;
}

static void memory_write(uint64_t gpa, unsigned size, uint32_t value)
{
	mmio_bus_write(rig.mmio, gpa, (uint8_t *)&value, size);
}

static void test_identity(void **state)
{
	(void)state;
	assert_int_equal(pci_config_read(rig.bus, HOST, 0, 4), 0x29c08086);
	assert_int_equal(pci_config_read(rig.bus, HOST, 0x2c, 4), 0x11001af4);
	assert_int_equal(pci_config_read(rig.bus, HOST, 0x9d, 1), 0x02);
	assert_int_equal(pci_config_read(rig.bus, LPC, 0, 4), 0x29188086);
	assert_int_equal(pci_config_read(rig.bus, LPC, 0xe, 1), 0x80);
	assert_int_equal(pci_config_read(rig.bus, SMBUS, 0, 4), 0x29308086);
	assert_int_equal(pci_config_read(rig.bus, PCI_SLOT_FUNCTION(31, 2), 0, 4), 0xffffffff);
}

static void test_ecam(void **state)
{
	(void)state;
	assert_int_equal(rig.ecam_bytes, 0);
	pci_config_write(rig.bus, HOST, 0x64, 4, 0);
	pci_config_write(rig.bus, HOST, 0x60, 4, 0xb0000001);
	assert_int_equal(rig.ecam_gpa, 0xb0000000);
	assert_int_equal(rig.ecam_bytes, 256 << 20);
	assert_int_equal(memory_read(0xb0000000 + (LPC << 12), 4), 0x29188086);
	assert_int_equal(memory_read(0xb0000000 + (1 << 20), 4), 0xffffffff); /* bus 1 */
	/* Smaller, with address bits that larger ones have not. */
	pci_config_write(rig.bus, HOST, 0x60, 4, 0xe4000005);
	assert_int_equal(rig.ecam_gpa, 0xe4000000);
	assert_int_equal(rig.ecam_bytes, 64 << 20);
	pci_config_write(rig.bus, HOST, 0x60, 4, 0xe4000003);
	assert_int_equal(rig.ecam_gpa, 0xe0000000);
	assert_int_equal(rig.ecam_bytes, 128 << 20);
	/* By way of itself it cannot be moved, as who moves it waits for those who are in it. */
	memory_write(0xe0000060, 4, 0xb0000001);
	assert_int_equal(rig.ecam_gpa, 0xe0000000);
	assert_int_equal(memory_read(0xe0000060, 4), 0xb0000001);
	pci_config_write(rig.bus, HOST, 0x60, 4, 0xb0000001);
	assert_int_equal(rig.ecam_gpa, 0xb0000000);
	/* Off; a size that there is not. */
	pci_config_write(rig.bus, HOST, 0x60, 4, 0xb0000000);
	assert_int_equal(rig.ecam_bytes, 0);
	pci_config_write(rig.bus, HOST, 0x60, 4, 0xb0000007);
	assert_int_equal(rig.ecam_bytes, 0);
	pci_config_write(rig.bus, HOST, 0x60, 4, 0x1);
	assert_int_equal(rig.ecam_bytes, 0);
}

static void test_registers(void **state)
{
	unsigned i;

	(void)state;
	pci_config_write(rig.bus, HOST, 0x90, 2, 0x3130);
	assert_int_equal(rig.access[12], 3);
	assert_int_equal(rig.access[0], 1);
	assert_int_equal(rig.access[1], 3);
	pci_config_write(rig.bus, LPC, 0x40, 4, 0x0601);
	assert_int_equal(rig.pm_port, 0);
	pci_config_write(rig.bus, LPC, 0x44, 1, 0x80);
	assert_int_equal(rig.pm_port, 0x600);
	assert_int_equal(pci_config_read(rig.bus, LPC, 0x40, 4), 0x601);
	pci_config_write(rig.bus, LPC, 0xf0, 4, 0xfed1c001);
	assert_int_equal(rig.root_complex, 0xfed1c000);
	assert_int_equal(q35_root_complex_ops.read(&rig.chipset, 0x3140, 4), 0x32103210);
	q35_root_complex_ops.write(&rig.chipset, 0x3410, 4, 0x60);
	assert_int_equal(q35_root_complex_ops.read(&rig.chipset, 0x3410, 4), 0x60);
	pci_bus_device_ops.reset(rig.bus);
	q35_device_ops.reset(&rig.chipset);
	for (i = 0; i < PAM_SEGMENTS; i++)
		assert_int_equal(rig.access[i], 0);
	assert_int_equal(rig.pm_port, 0);
	assert_int_equal(rig.root_complex, 0);
	assert_int_equal(q35_root_complex_ops.read(&rig.chipset, 0x3410, 4), 0);
}

/* A link drives its input of the I/O APIC always, and the PICs' that it is routed to. */
static void test_links(void **state)
{
	static const uint8_t irqs[Q35_LINKS] = {10, 10, 11, 11, 10, 10, 11, 11};
	struct pci_function function;
	unsigned i;

	(void)state;
	assert_int_equal(q35_link_of(0, 0), 4);
	assert_int_equal(q35_link_of(3, 1), 4);
	assert_int_equal(q35_link_of(30, 1), 5);
	assert_int_equal(q35_link_of(31, 1), 1);
	pci_function_init(&function, 0x1234, 1, 0xff0000, 0);
	pci_function_set_pin(&function, 1);
	pci_bus_add(rig.bus, PCI_SLOT_FUNCTION(2, 0), &function);
	pci_set_intx(&function, true);
	assert_true(rig.levels[22]); /* PIRQG# */
	assert_false(rig.levels[11]);
	q35_open_shadow(&rig.chipset);
	for (i = 0; i < PAM_SEGMENTS; i++)
		assert_int_equal(rig.access[i], PAM_READ | PAM_WRITE);
	assert_int_equal(rig.pm_port, 0);
	q35_set_up(&rig.chipset, irqs, 0x600, 0xb0000000);
	assert_true(rig.levels[11]);
	assert_int_equal(rig.pm_port, 0x600);
	assert_int_equal(rig.ecam_gpa, 0xb0000000);
	pci_config_write(rig.bus, LPC, 0x6a, 1, 0x80);
	assert_false(rig.levels[11]);
	pci_config_write(rig.bus, LPC, 0x6a, 1, 0x05);
	assert_true(rig.levels[5]);
	pci_set_intx(&function, false);
	assert_false(rig.levels[5]);
	assert_false(rig.levels[22]);
	pci_function_destroy(&function);
}

static void test_smbus(void **state)
{
	(void)state;
	pci_config_write(rig.bus, SMBUS, 0x20, 4, 0xc000);
	pci_config_write(rig.bus, SMBUS, 0x04, 2, PCI_COMMAND_IO);
	pio_bus_write(rig.pio, 0xc004, 1, 0xa1);
	assert_int_equal(pio_bus_read(rig.pio, 0xc004, 1), 0xa1);
	pio_bus_write(rig.pio, 0xc002, 1, 0x48);
	assert_int_equal(pio_bus_read(rig.pio, 0xc002, 1), 0x08);
	assert_int_equal(pio_bus_read(rig.pio, 0xc000, 1), 0x04); /* nobody is there */
	assert_int_equal(pio_bus_read(rig.pio, 0xc000, 1), 0x44); /* who asked has it now */
	pio_bus_write(rig.pio, 0xc000, 1, 0xff);
	assert_int_equal(pio_bus_read(rig.pio, 0xc000, 1), 0x00);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_identity, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ecam, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_registers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_links, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_smbus, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
