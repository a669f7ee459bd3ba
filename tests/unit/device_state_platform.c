/* Saved and loaded: the serial port, clock, keyboard controller, ACPI, fw_cfg and ports of a platform. */
#include "device_state.h"

#include "device/acpi_pm.h"
#include "device/acpi_sleep.h"
#include "device/char/print_port.h"
#include "device/char/serial16550.h"
#include "device/debug_exit.h"
#include "device/fw_cfg.h"
#include "device/i8042.h"
#include "device/post_port.h"
#include "device/rtc.h"
#include "device/vmcoreinfo.h"

static uint64_t fixed_now(void *context)
{
	(void)context;
	return 1709215198000000000ull;
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

const struct subject state_platform_subjects[] = {
    {"serial port", serial_create, serial_stir, serial_look},
    {"clock", clock_create, clock_stir, clock_look},
    {"stopped clock", clock_create, stopped_clock_stir, clock_look},
    {"keyboard controller", keyboard_create, keyboard_stir, keyboard_look},
    {"ACPI registers", acpi_create, acpi_stir, acpi_look},
    {"ACPI sleep", sleep_create, no_stir, no_look},
    {"fw_cfg", firmware_create, firmware_stir, firmware_look},
    {"POST port", post_create, post_stir, post_look},
    {"print port", print_create, no_stir, no_look},
    {"debug exit", exit_create, no_stir, no_look},
    {"vmcoreinfo", vmcoreinfo_open, vmcoreinfo_stir, vmcoreinfo_look},
    {NULL},
};
