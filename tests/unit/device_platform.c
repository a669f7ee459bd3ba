/* The small devices of the boards: keyboard controller, ACPI registers, PCI, fw_cfg, debug exit. */
#include <endian.h>
#include <errno.h>

#include "device/acpi_pm.h"
#include "device/acpi_sleep.h"
#include "device/bus/pci.h"
#include "device/debug_exit.h"
#include "device/fw_cfg.h"
#include "device/i440fx.h"
#include "device/i8042.h"
#include "device_fixture.h"

static void test_i8042_probe(void **state)
{
	struct fixture fixture, aux;
	struct error error;
	struct i8042 *controller;

	(void)state;
	fixture_init(&fixture);
	fixture_init(&aux);
	controller = i8042_create(&fixture.irq, &aux.irq, &fixture.power, &error);
	i8042_command_pio_ops.write(controller, 0, 1, 0xaa);
	assert_int_equal(i8042_command_pio_ops.read(controller, 0, 1) & 0x0d, 0x0d);
	assert_int_equal(i8042_data_pio_ops.read(controller, 0, 1), 0x55);
	assert_int_equal(i8042_command_pio_ops.read(controller, 0, 1) & 0x01, 0);
	i8042_command_pio_ops.write(controller, 0, 1, 0x60);
	i8042_data_pio_ops.write(controller, 0, 1, 0x05);
	i8042_command_pio_ops.write(controller, 0, 1, 0x20);
	assert_int_equal(i8042_data_pio_ops.read(controller, 0, 1), 0x05);
	/* The keyboard: reset, then identify; an edge for every byte. */
	fixture.irq_rises = 0;
	i8042_data_pio_ops.write(controller, 0, 1, 0xff);
	assert_int_equal(i8042_data_pio_ops.read(controller, 0, 1), 0xfa);
	assert_int_equal(i8042_data_pio_ops.read(controller, 0, 1), 0xaa);
	assert_int_equal(fixture.irq_rises, 2);
	i8042_data_pio_ops.write(controller, 0, 1, 0xf2);
	assert_int_equal(i8042_data_pio_ops.read(controller, 0, 1), 0xfa);
	assert_int_equal(i8042_data_pio_ops.read(controller, 0, 1), 0xab);
	assert_int_equal(i8042_data_pio_ops.read(controller, 0, 1), 0x83);
	assert_int_equal(fixture.requests, 0);
	i8042_device_ops.destroy(controller);
}

static void test_i8042_reset_lines(void **state)
{
	struct fixture fixture, aux;
	struct error error;
	struct i8042 *controller;

	(void)state;
	fixture_init(&fixture);
	fixture_init(&aux);
	controller = i8042_create(&fixture.irq, &aux.irq, &fixture.power, &error);
	i8042_command_pio_ops.write(controller, 0, 1, 0xff); /* pulses nothing */
	assert_int_equal(fixture.requests, 0);
	i8042_command_pio_ops.write(controller, 0, 1, 0xfe);
	assert_int_equal(fixture.requests, 1);
	assert_int_equal(fixture.request, POWER_RESET);
	i8042_command_pio_ops.write(controller, 0, 1, 0xd1);
	i8042_data_pio_ops.write(controller, 0, 1, 0xdf);
	assert_int_equal(fixture.requests, 1);
	assert_int_equal(i8042_system_pio_ops.read(controller, 0, 1), 0x02);
	i8042_system_pio_ops.write(controller, 0, 1, 0x00);
	assert_int_equal(i8042_system_pio_ops.read(controller, 0, 1), 0x00);
	i8042_system_pio_ops.write(controller, 0, 1, 0x01);
	assert_int_equal(fixture.requests, 2);
	i8042_device_ops.destroy(controller);
}

/* Have software enable these events, and sleep. */
static void fall_asleep(struct acpi_pm *pm, struct fixture *fixture, uint16_t events)
{
	acpi_pm_device_ops.reset(pm);
	acpi_pm_pio_ops.write(pm, 2, 2, events);
	acpi_pm_pio_ops.write(pm, 4, 2, ACPI_PM_SLEEP_TYPE_S3 << 10 | 1 << 13);
	assert_int_equal(fixture->request, POWER_SLEEP);
}

/* Alarms and the power button wake a machine whose software wants that, whenever they come. */
static void test_acpi_waking(void **state)
{
	struct fixture fixture;
	struct error error;
	struct event_loop *loop = event_loop_create(&error);
	struct acpi_pm *pm;

	(void)state;
	fixture_init(&fixture);
	pm = acpi_pm_create(loop, &fixture.irq, &fixture.power, true, &error);
	/* Nobody sleeps; and nobody wants it. */
	acpi_pm_ring_alarm(pm);
	assert_int_equal(acpi_pm_pio_ops.read(pm, 0, 2), 0x400);
	assert_false(fixture.irq_level);
	acpi_pm_pio_ops.write(pm, 0, 2, 0x400);
	fall_asleep(pm, &fixture, 0);
	acpi_pm_ring_alarm(pm);
	acpi_pm_fell_asleep(pm);
	assert_int_equal(fixture.request, POWER_SLEEP);
	/* While it sleeps. */
	fall_asleep(pm, &fixture, 0x400);
	acpi_pm_fell_asleep(pm);
	acpi_pm_press_power_button(pm);
	assert_int_equal(fixture.request, POWER_SLEEP);
	acpi_pm_ring_alarm(pm);
	assert_int_equal(fixture.request, POWER_WAKE);
	assert_int_equal(fixture.request_status, ACPI_PM_WOKEN_BY_ALARM);
	acpi_pm_device_ops.reset(pm);
	acpi_pm_woke(pm, ACPI_PM_WOKEN_BY_ALARM);
	assert_int_equal(acpi_pm_pio_ops.read(pm, 0, 2), 0x8400);
	fixture.request = POWER_OFF;
	acpi_pm_fell_asleep(pm); /* it does not */
	assert_int_equal(fixture.request, POWER_OFF);
	/* While it falls asleep the machine may not listen yet. */
	fall_asleep(pm, &fixture, 0x500);
	acpi_pm_ring_alarm(pm);
	fixture.request = POWER_OFF;
	acpi_pm_fell_asleep(pm);
	assert_int_equal(fixture.request, POWER_WAKE);
	assert_int_equal(fixture.request_status, ACPI_PM_WOKEN_BY_ALARM);
	fall_asleep(pm, &fixture, 0x500);
	acpi_pm_press_power_button(pm);
	fixture.request = POWER_OFF;
	acpi_pm_fell_asleep(pm);
	assert_int_equal(fixture.request, POWER_WAKE);
	assert_int_equal(fixture.request_status, ACPI_PM_WOKEN_BY_BUTTON);
	/* Just before it: software is interrupted, and if it sleeps all the same it wakes. */
	acpi_pm_device_ops.reset(pm);
	acpi_pm_pio_ops.write(pm, 2, 2, 0x400);
	acpi_pm_ring_alarm(pm);
	assert_true(fixture.irq_level);
	acpi_pm_pio_ops.write(pm, 4, 2, ACPI_PM_SLEEP_TYPE_S3 << 10 | 1 << 13);
	assert_int_equal(fixture.request, POWER_SLEEP);
	acpi_pm_fell_asleep(pm);
	assert_int_equal(fixture.request, POWER_WAKE);
	acpi_pm_device_ops.destroy(pm);
	event_loop_destroy(loop);
}

static void test_acpi_power_off(void **state)
{
	struct fixture fixture;
	struct error error;
	struct event_loop *loop = event_loop_create(&error);
	struct acpi_pm *pm;

	(void)state;
	fixture_init(&fixture);
	pm = acpi_pm_create(loop, &fixture.irq, &fixture.power, true, &error);
	assert_int_equal(acpi_pm_pio_ops.read(pm, 4, 2), 1); /* SCI_EN */
	acpi_pm_pio_ops.write(pm, 4, 2, 3 << 10 | 1 << 13);
	assert_int_equal(fixture.requests, 0);
	acpi_pm_pio_ops.write(pm, 4, 2, ACPI_PM_SLEEP_TYPE_S5 << 10);
	assert_int_equal(fixture.requests, 0);
	acpi_pm_pio_ops.write(pm, 2, 2, 0);
	acpi_pm_pio_ops.write(pm, 4, 2, ACPI_PM_SLEEP_TYPE_S5 << 10 | 1 << 13);
	assert_int_equal(fixture.requests, 1);
	assert_int_equal(fixture.request, POWER_OFF);
	/* The power button: status, then the SCI once it is enabled; cleared by writing a one. */
	acpi_pm_press_power_button(pm);
	assert_int_equal(acpi_pm_pio_ops.read(pm, 0, 2) & 0x100, 0x100);
	assert_false(fixture.irq_level);
	acpi_pm_pio_ops.write(pm, 3, 1, 0x01);
	assert_int_equal(acpi_pm_pio_ops.read(pm, 2, 2), 0x100);
	assert_true(fixture.irq_level);
	acpi_pm_pio_ops.write(pm, 0, 2, 0x100);
	assert_false(fixture.irq_level);
	acpi_pm_device_ops.destroy(pm);
	event_loop_destroy(loop);
}

static void test_acpi_timer(void **state)
{
	struct fixture fixture;
	struct error error;
	struct event_loop *loop = event_loop_create(&error);
	struct acpi_pm *pm;
	uint64_t start, elapsed_ns;
	uint32_t first, ticks;

	(void)state;
	fixture_init(&fixture);
	pm = acpi_pm_create(loop, &fixture.irq, &fixture.power, true, &error);
	start = monotonic_ns();
	first = acpi_pm_pio_ops.read(pm, 8, 4);
	while (monotonic_ns() - start < 20000000)
		continue;
	ticks = acpi_pm_pio_ops.read(pm, 8, 4) - first;
	elapsed_ns = monotonic_ns() - start;
	assert_in_range(ticks, 20000000ull * 3579545 / 1000000000 - 20,
			elapsed_ns * 3579545 / 1000000000 + 20);
	assert_true(acpi_pm_pio_ops.read(pm, 8, 4) < 1 << 24);
	acpi_pm_device_ops.destroy(pm);
	event_loop_destroy(loop);
}

static void test_acpi_sleep(void **state)
{
	struct fixture fixture;

	(void)state;
	fixture_init(&fixture);
	acpi_sleep_pio_ops.write(&fixture.power, ACPI_SLEEP_CONTROL_OFFSET, 1, 5 << 2);
	assert_int_equal(fixture.requests, 0);
	acpi_sleep_pio_ops.write(&fixture.power, ACPI_SLEEP_CONTROL_OFFSET, 1, 5 << 2 | 0x20);
	assert_int_equal(fixture.request, POWER_OFF);
	acpi_sleep_pio_ops.write(&fixture.power, ACPI_SLEEP_RESET_OFFSET, 1, 1);
	assert_int_equal(fixture.request, POWER_RESET);
	assert_int_equal(fixture.requests, 2);
}

static uint32_t config_read(struct pci_bus *bus, uint32_t address, unsigned size)
{
	pci_bus_pio_ops.write(bus, 0, 4, 0x80000000 | (address & ~3u));
	return pci_bus_pio_ops.read(bus, 4 + (address & 3), size) &
	       (size == 4 ? 0xffffffff : (1u << 8 * size) - 1);
}

/* What hangs on the chipset. */
struct wires {
	uint8_t access[PAM_SEGMENTS];
	uint16_t pm_port;
};

static void keep_shadow(void *context, const uint8_t access[PAM_SEGMENTS])
{
	struct wires *wires = context;

	memcpy(wires->access, access, sizeof(wires->access));
}

static void keep_pm(void *context, uint16_t port)
{
	struct wires *wires = context;

	wires->pm_port = port;
}

/* As firmware goes about it: shadow RAM by PAM, the ACPI registers, and what both are after a reset. */
static void check_chipset(struct pci_bus *bus, struct i440fx *chipset, const struct wires *wires)
{
	static const uint8_t links[PCI_PINS] = {10, 10, 11, 11};
	unsigned i;

	for (i = 0; i < PAM_SEGMENTS; i++)
		assert_int_equal(wires->access[i], 0);
	assert_int_equal(wires->pm_port, 0);
	pci_config_write(bus, 0, 0x58, 4, 0x13322000 | 0x31 << 8);
	assert_int_equal(wires->access[12], 3);
	assert_int_equal(wires->access[0], 2);
	assert_int_equal(wires->access[1], 3);
	assert_int_equal(wires->access[2], 3);
	assert_int_equal(wires->access[3], 1);
	assert_int_equal(wires->access[4], 0);
	assert_int_equal(pci_config_read(bus, 0, 0x59, 1), 0x30); /* the low half has no segment */
	pci_config_write(bus, 0, 0x5f, 1, 0xfd);
	assert_int_equal(wires->access[10], 1);
	assert_int_equal(wires->access[11], 3);
	pci_config_write(bus, 0xb, 0x40, 4, 0xffffb03f);
	assert_int_equal(wires->pm_port, 0);
	pci_config_write(bus, 0xb, 0x80, 1, 0xff);
	assert_int_equal(wires->pm_port, 0xb000);
	i440fx_apm_pio_ops.write(chipset, 1, 1, 0x5a);
	assert_int_equal(i440fx_apm_pio_ops.read(chipset, 1, 1), 0x5a);
	pci_bus_device_ops.reset(bus);
	i440fx_device_ops.reset(chipset);
	for (i = 0; i < PAM_SEGMENTS; i++)
		assert_int_equal(wires->access[i], 0);
	assert_int_equal(wires->pm_port, 0);
	assert_int_equal(i440fx_apm_pio_ops.read(chipset, 1, 1), 0);
	i440fx_open_shadow(chipset);
	for (i = 0; i < PAM_SEGMENTS; i++)
		assert_int_equal(wires->access[i], 3);
	assert_int_equal(wires->pm_port, 0);
	i440fx_set_up(chipset, links, 0x600);
	for (i = 0; i < PAM_SEGMENTS; i++)
		assert_int_equal(wires->access[i], 3);
	assert_int_equal(wires->pm_port, 0x600);
	assert_int_equal(config_read(bus, 0x862, 1), 11);
}

static void test_pci(void **state)
{
	struct wires wires = {.pm_port = 0x1234};
	const struct i440fx_wiring wiring = {9, keep_shadow, keep_pm, &wires};
	struct fixture fixture;
	struct error error;
	struct pci_bus_config config = {.pio = NULL};
	struct i440fx chipset;
	struct pci_bus *bus;

	(void)state;
	fixture_init(&fixture);
	config.power = fixture.power;
	bus = pci_bus_create(&config, &error);
	i440fx_init(&chipset, bus, &wiring);
	i440fx_device_ops.reset(&chipset);
	check_chipset(bus, &chipset, &wires);
	assert_int_equal(config_read(bus, 0, 4), 0x12378086);
	assert_int_equal(config_read(bus, 0x800, 4), 0x70008086);
	assert_int_equal(config_read(bus, 0x80e, 1), 0x80); /* more functions follow */
	assert_int_equal(config_read(bus, 0xb00, 4), 0x71138086);
	assert_int_equal(config_read(bus, 0xb40, 2), 0x601);
	/* By these firmware knows where it is, and that it needs not set up SMIs. */
	assert_int_equal(config_read(bus, 0x2c, 4), 0x11001af4);
	assert_int_equal(config_read(bus, 0xb5b, 1), 0x02);
	assert_int_equal(config_read(bus, 0x1000, 4), 0xffffffff);
	assert_int_equal(config_read(bus, 0x10000, 4), 0xffffffff); /* another bus */
	/* Identification can't be written, interrupt routing can; a reset undoes it. */
	pci_bus_pio_ops.write(bus, 0, 4, 0x80000860);
	pci_bus_pio_ops.write(bus, 5, 1, 0x0b);
	assert_int_equal(config_read(bus, 0x861, 1), 0x0b);
	pci_bus_pio_ops.write(bus, 0, 4, 0x80000800);
	pci_bus_pio_ops.write(bus, 4, 4, 0);
	assert_int_equal(config_read(bus, 0x800, 4), 0x70008086);
	pci_bus_device_ops.reset(bus);
	assert_int_equal(config_read(bus, 0x861, 1), 0x80);
	pci_bus_pio_ops.write(bus, 1, 1, 0x02);
	assert_int_equal(fixture.requests, 0);
	pci_bus_pio_ops.write(bus, 1, 1, 0x06);
	assert_int_equal(fixture.request, POWER_RESET);
	i440fx_device_ops.destroy(&chipset);
	pci_bus_device_ops.destroy(bus);
}

static void test_fw_cfg(void **state)
{
	static uint8_t ram[8192];
	struct guest_memory memory = {.regions = {{0x1000, sizeof(ram), ram}}, .region_count = 1};
	struct error error;
	struct fw_cfg *fw_cfg = fw_cfg_create(&memory, &error);
	struct {
		uint32_t control, length;
		uint64_t address;
	} dma;
	char text[5] = "";
	uint64_t gpa = 0x1000;
	unsigned i;

	(void)state;
	assert_int_equal(fw_cfg_add_file(fw_cfg, "opt/hello", "world", 5), 0);
	fw_cfg_pio_ops.write(fw_cfg, 0, 2, 0);
	for (i = 0; i < 4; i++)
		text[i] = fw_cfg_pio_ops.read(fw_cfg, 1, 1);
	assert_string_equal(text, "QEMU");
	assert_int_equal(fw_cfg_pio_ops.read(fw_cfg, 1, 1), 0); /* beyond the end */
	/* The directory: count, then size, key and name. */
	dma.control = htobe32(0x19 << 16 | 0x0a);
	dma.length = htobe32(4 + 64);
	dma.address = htobe64(0x1100);
	memcpy(ram, &dma, sizeof(dma));
	fw_cfg_pio_ops.write(fw_cfg, 4, 4, htobe32(gpa >> 32));
	fw_cfg_pio_ops.write(fw_cfg, 8, 4, htobe32(gpa));
	assert_int_equal(ram[0] | ram[1] | ram[2] | ram[3], 0);
	assert_int_equal(ram[0x103], 1);
	assert_int_equal(ram[0x107], 5);
	assert_int_equal(ram[0x109], 0x20);
	assert_string_equal((char *)ram + 0x10c, "opt/hello");
	/* A transfer that isn't all RAM fails and touches nothing. */
	dma.control = htobe32(0x20 << 16 | 0x0a);
	dma.length = htobe32(0xffffffff);
	memcpy(ram, &dma, sizeof(dma));
	memset(ram + 0x100, 0x77, 16);
	fw_cfg_pio_ops.write(fw_cfg, 8, 4, htobe32(gpa));
	assert_int_equal(ram[3], 1);
	assert_int_equal(ram[0x100], 0x77);
	/* Keys of the architecture's own, and none between them and the others. */
	assert_int_equal(fw_cfg_add(fw_cfg, FW_CFG_IRQ0_OVERRIDE, "\1", 1), 0);
	assert_int_equal(fw_cfg_add(fw_cfg, 0x7fff, "\1", 1), -EINVAL);
	assert_int_equal(fw_cfg_add(fw_cfg, 0xffff, "\1", 1), -EINVAL);
	fw_cfg_pio_ops.write(fw_cfg, 0, 2, 0x8002);
	assert_int_equal(fw_cfg_pio_ops.read(fw_cfg, 1, 1), 1);
	fw_cfg_pio_ops.write(fw_cfg, 0, 2, 0xffff);
	assert_int_equal(fw_cfg_pio_ops.read(fw_cfg, 1, 1), 0);
	/* A descriptor that isn't in RAM is nobody's. */
	fw_cfg_pio_ops.write(fw_cfg, 4, 4, 0xffffffff);
	fw_cfg_pio_ops.write(fw_cfg, 8, 4, 0xffffffff);
	fw_cfg_device_ops.destroy(fw_cfg);
}

/* A file that the guest writes to, whose bytes cannot become more. */
static void test_fw_cfg_write(void **state)
{
	static uint8_t ram[4096];
	struct guest_memory memory = {.regions = {{0x1000, sizeof(ram), ram}}, .region_count = 1};
	struct error error;
	struct fw_cfg *fw_cfg = fw_cfg_create(&memory, &error);
	struct {
		uint32_t control, length;
		uint64_t address;
	} dma;
	static const struct {
		uint16_t key;
		uint32_t length;
		uint64_t gpa;
		bool is_good;
	} writes[] = {
		{0x20, 4, 0x1100, false},     {0x21, 4, 0x1100, true},		{0x21, 5, 0x1100, false},
		{0x21, 4, 0xffffffff, false}, {0x21, 0xffffffff, 0x1100, false}, {0x22, 1, 0x1100, false},
	};
	char text[4];
	unsigned i;

	(void)state;
	assert_int_equal(fw_cfg_add_file(fw_cfg, "fixed", "same", 4), 0);
	assert_int_equal(fw_cfg_add_writable_file(fw_cfg, "open", "here", 4), 0);
	for (i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
		dma.control = htobe32((uint32_t)writes[i].key << 16 | 0x18);
		dma.length = htobe32(writes[i].length);
		dma.address = htobe64(writes[i].gpa);
		memcpy(ram, &dma, sizeof(dma));
		memcpy(ram + 0x100, "more", 5);
		fw_cfg_pio_ops.write(fw_cfg, 8, 4, htobe32(0x1000));
		assert_int_equal(ram[3], !writes[i].is_good);
	}
	assert_int_equal(fw_cfg_read_file(fw_cfg, "fixed", text, 4), 0);
	assert_memory_equal(text, "same", 4);
	assert_int_equal(fw_cfg_read_file(fw_cfg, "open", text, 4), 0);
	assert_memory_equal(text, "more", 4);
	assert_int_equal(fw_cfg_read_file(fw_cfg, "open", text, 3), -EINVAL);
	assert_int_equal(fw_cfg_read_file(fw_cfg, "none", text, 4), -EINVAL);
	fw_cfg_device_ops.destroy(fw_cfg);
}

static void test_debug_exit(void **state)
{
	struct fixture fixture;

	(void)state;
	fixture_init(&fixture);
	debug_exit_pio_ops.write(&fixture.power, 0, 4, 0x10);
	assert_int_equal(fixture.request, POWER_EXIT);
	assert_int_equal(fixture.request_status, 33);
}

static uint32_t read_offset(void *device, uint16_t offset, unsigned size)
{
	(void)device;
	return size << 8 | offset;
}

static void ignore_write(void *device, uint16_t offset, unsigned size, uint32_t value)
{
	(void)device;
	(void)offset;
	(void)size;
	(void)value;
}

static void test_port_bus(void **state)
{
	static const struct pio_ops bytes = {read_offset, ignore_write, 1};
	static const struct pio_ops words = {read_offset, ignore_write, 4};
	struct error error;
	struct pio_bus *bus = pio_bus_create();

	(void)state;
	assert_int_equal(pio_bus_add(bus, 0x100, 4, "bytes", &bytes, NULL, &error), 0);
	assert_int_equal(pio_bus_add(bus, 0xfffc, 4, "words", &words, NULL, &error), 0);
	assert_true(pio_bus_add(bus, 0x103, 2, "clash", &bytes, NULL, &error) < 0);
	assert_true(pio_bus_add(bus, 0xff, 2, "clash", &bytes, NULL, &error) < 0);
	assert_true(pio_bus_add(bus, 0xffff, 2, "beyond", &bytes, NULL, &error) < 0);
	assert_int_equal(pio_bus_read(bus, 0x101, 1), 0x101);
	assert_int_equal(pio_bus_read(bus, 0x102, 4), 0xffff0302); /* bytes, then nobody */
	assert_int_equal(pio_bus_read(bus, 0xfffc, 4), 0x400);
	pio_bus_write(bus, 0xffff, 4, 0); /* around the end of the port space */
	pio_bus_remove(bus, 0x100);
	assert_int_equal(pio_bus_read(bus, 0x101, 1), 0xff);
	pio_bus_destroy(bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_i8042_probe),  cmocka_unit_test(test_i8042_reset_lines),
		cmocka_unit_test(test_acpi_waking),
		cmocka_unit_test(test_acpi_power_off), cmocka_unit_test(test_acpi_timer),
		cmocka_unit_test(test_acpi_sleep),   cmocka_unit_test(test_pci),
		cmocka_unit_test(test_fw_cfg),	     cmocka_unit_test(test_debug_exit),
		cmocka_unit_test(test_fw_cfg_write),
		cmocka_unit_test(test_port_bus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
