#include "machine/board.h"

#include <errno.h>
#include <stdlib.h>

#include "device/acpi_pm.h"
#include "device/acpi_sleep.h"
#include "device/debug_exit.h"
#include "device/fw_cfg.h"
#include "device/i440fx.h"
#include "device/i8042.h"
#include "device/post_port.h"
#include "device/print_port.h"
#include "device/rtc.h"
#include "device/serial16550.h"
#include "machine/acpi/tables.h"
#include "machine/e820.h"
#include "machine/smbios.h"

#define SERIAL1_PORT 0x3f8
#define ACPI_PORT    0x600

#define KEYBOARD_GSI 1
#define SERIAL1_GSI  4
#define RTC_GSI	     8
#define SCI_GSI	     9

#define BOCHS_CONSOLE_PORT     0xe9
#define BOCHS_CONSOLE_READBACK 0xe9
#define SEABIOS_CONSOLE_PORT   0x402

#define PCI_RESET_PORT	0xcf9
#define PCI_RESET_VALUE 0x06 /* a hard reset of all */
#define PCI_WINDOW_END	0xfebfffffu /* below the I/O APIC */

struct board {
	struct board_config config;
	struct serial16550 *serial;
	struct print_port *debug_console, *print;
	struct rtc *rtc;
	struct fw_cfg *fw_cfg;
	uint8_t post_code;
	/* The pc's only: */
	struct i8042 *keyboard;
	struct acpi_pm *acpi_pm;
	struct pci_bus *pci;
	struct i440fx chipset;
};

static struct irq_line irq_for(const struct board *board, unsigned gsi)
{
	struct irq_line line = board->config.irq;

	line.gsi = gsi;
	return line;
}

static int add_ports(struct board *board, uint16_t first, unsigned count, const char *name,
		     const struct pio_ops *ops, void *device, struct error *error)
{
	return pio_bus_add(board->config.pio, first, count, name, ops, device, error);
}

static int add_serial(struct board *board, struct error *error)
{
	struct irq_line irq = irq_for(board, SERIAL1_GSI);

	board->serial = serial16550_create(board->config.streams.serial, &irq, error);
	if (!board->serial)
		return -ENOMEM;
	return add_ports(board, SERIAL1_PORT, SERIAL16550_PORTS, "serial port 1",
			 &serial16550_pio_ops, board->serial, error);
}

static int add_rtc(struct board *board, struct error *error)
{
	const struct ram *ram = board->config.ram;
	struct irq_line irq = irq_for(board, RTC_GSI);
	struct rtc_config config = {
		.low_end = ram->low_end,
		.above_4g_bytes = ram->high_end - RAM_HIGH_START,
		.cpus = board->config.cpus,
	};

	board->rtc = rtc_create(&config, board->config.loop, &irq, error);
	if (!board->rtc)
		return -ENOMEM;
	return add_ports(board, RTC_FIRST_PORT, RTC_PORTS, "real-time clock", &rtc_pio_ops,
			 board->rtc, error);
}

/* etc/e820 as QEMU gives it: packed entries of address, size, type. */
static int add_e820_file(struct board *board)
{
	struct {
		uint64_t gpa, size_bytes;
		uint32_t type;
	} __attribute__((packed)) file[E820_MAX_ENTRIES];
	struct e820_map map;
	unsigned i;

	e820_build(board->config.ram, &map);
	for (i = 0; i < map.count; i++) {
		file[i].gpa = map.entries[i].gpa;
		file[i].size_bytes = map.entries[i].size_bytes;
		file[i].type = map.entries[i].type;
	}
	return fw_cfg_add_file(board->fw_cfg, "etc/e820", file, map.count * sizeof(file[0]));
}

static int add_fw_cfg(struct board *board, struct error *error)
{
	uint64_t ram_bytes = board->config.ram->size_bytes;
	uint16_t cpus = board->config.cpus;

	board->fw_cfg = fw_cfg_create(&board->config.ram->memory, error);
	if (!board->fw_cfg)
		return -ENOMEM;
	if (fw_cfg_add(board->fw_cfg, FW_CFG_RAM_BYTES, &ram_bytes, sizeof(ram_bytes)) < 0 ||
	    fw_cfg_add(board->fw_cfg, FW_CFG_CPUS, &cpus, sizeof(cpus)) < 0 ||
	    fw_cfg_add(board->fw_cfg, FW_CFG_MAX_CPUS, &cpus, sizeof(cpus)) < 0 ||
	    add_e820_file(board) < 0)
		return error_set_errno(error, ENOMEM, "cannot fill the firmware configuration");
	return add_ports(board, FW_CFG_FIRST_PORT, FW_CFG_PORTS, "fw_cfg", &fw_cfg_pio_ops,
			 board->fw_cfg, error);
}

static int add_debug_console(struct board *board, struct error *error)
{
	static const uint16_t ports[] = {BOCHS_CONSOLE_PORT, SEABIOS_CONSOLE_PORT};
	unsigned i;
	int result = 0;

	board->debug_console = print_port_create(board->config.streams.debug_console,
						 BOCHS_CONSOLE_READBACK, error);
	if (!board->debug_console)
		return -ENOMEM;
	for (i = 0; i < 2 && result == 0; i++) {
		/* A print port at the same place takes the console's. */
		if (board->config.print_port != ports[i])
			result = add_ports(board, ports[i], 1, "debug console", &print_port_pio_ops,
					   board->debug_console, error);
	}
	return result;
}

static int add_debug_ports(struct board *board, struct error *error)
{
	const struct board_config *config = &board->config;
	int result;

	result = add_ports(board, POST_PORT_FIRST, POST_PORT_PORTS, "POST code port",
			   &post_port_pio_ops, &board->post_code, error);
	if (result == 0 && config->debug_exit_port >= 0)
		result = add_ports(board, config->debug_exit_port, DEBUG_EXIT_PORTS, "debug exit",
				   &debug_exit_pio_ops, &board->config.power, error);
	if (result == 0 && config->print_port >= 0) {
		board->print = print_port_create(config->streams.print, 0xff, error);
		if (!board->print)
			return -ENOMEM;
		result = add_ports(board, config->print_port, 1, "print port", &print_port_pio_ops,
				   board->print, error);
	}
	if (result == 0 && config->streams.debug_console)
		result = add_debug_console(board, error);
	return result;
}

static int add_keyboard(struct board *board, struct error *error)
{
	struct irq_line irq = irq_for(board, KEYBOARD_GSI);
	int result;

	board->keyboard = i8042_create(&irq, &board->config.power, error);
	if (!board->keyboard)
		return -ENOMEM;
	result = add_ports(board, I8042_DATA_PORT, 1, "keyboard controller", &i8042_data_pio_ops,
			   board->keyboard, error);
	if (result == 0)
		result = add_ports(board, I8042_COMMAND_PORT, 1, "keyboard controller",
				   &i8042_command_pio_ops, board->keyboard, error);
	if (result == 0)
		result = add_ports(board, I8042_SYSTEM_PORT, 1, "system control port A",
				   &i8042_system_pio_ops, board->keyboard, error);
	return result;
}

static int add_pci(struct board *board, struct error *error)
{
	board->pci = pci_bus_create(&board->config.power, error);
	if (!board->pci)
		return -ENOMEM;
	i440fx_init(&board->chipset, board->pci, ACPI_PORT, SCI_GSI);
	return add_ports(board, PCI_CONFIG_PORT, PCI_CONFIG_PORTS, "PCI configuration",
			 &pci_bus_pio_ops, board->pci, error);
}

static int add_acpi(struct board *board, struct error *error)
{
	struct irq_line sci = irq_for(board, SCI_GSI);

	if (board->config.kind == BOARD_MICROVM)
		return add_ports(board, ACPI_PORT, ACPI_SLEEP_PORTS, "ACPI registers",
				 &acpi_sleep_pio_ops, &board->config.power, error);
	board->acpi_pm = acpi_pm_create(board->config.loop, &sci, &board->config.power, error);
	if (!board->acpi_pm)
		return -ENOMEM;
	return add_ports(board, ACPI_PORT, ACPI_PM_PORTS, "ACPI registers", &acpi_pm_pio_ops,
			 board->acpi_pm, error);
}

struct board *board_create(const struct board_config *config, struct error *error)
{
	struct board *board = calloc(1, sizeof(*board));

	if (!board) {
		error_set_errno(error, ENOMEM, "cannot create the board");
		return NULL;
	}
	board->config = *config;
	/* The ports that the user chose come last: a clash is theirs to solve. */
	if (add_serial(board, error) < 0 || add_rtc(board, error) < 0 ||
	    add_fw_cfg(board, error) < 0 || add_acpi(board, error) < 0)
		goto fail;
	if (config->kind == BOARD_PC &&
	    (add_keyboard(board, error) < 0 || add_pci(board, error) < 0))
		goto fail;
	if (add_debug_ports(board, error) < 0)
		goto fail;
	return board;

fail:
	board_destroy(board);
	return NULL;
}

void board_destroy(struct board *board)
{
	if (!board)
		return;
	pci_bus_destroy(board->pci);
	i8042_destroy(board->keyboard);
	print_port_destroy(board->debug_console);
	print_port_destroy(board->print);
	acpi_pm_destroy(board->acpi_pm);
	fw_cfg_destroy(board->fw_cfg);
	rtc_destroy(board->rtc);
	serial16550_destroy(board->serial);
	free(board);
}

void board_reset(struct board *board)
{
	serial16550_reset(board->serial);
	rtc_reset(board->rtc);
	fw_cfg_reset(board->fw_cfg);
	board->post_code = 0;
	if (board->config.kind != BOARD_PC)
		return;
	acpi_pm_reset(board->acpi_pm);
	i8042_reset(board->keyboard);
	pci_bus_reset(board->pci);
}

static void describe_device(struct aml *aml, const char *name, const char *eisa_id, unsigned uid,
			    uint16_t first_port, uint8_t ports, int irq)
{
	struct aml_resources resources = {.used = 0};
	size_t mark = aml_device_begin(aml, name);

	aml_name_eisa_id(aml, "_HID", eisa_id);
	aml_name_integer(aml, "_UID", uid);
	aml_resource_io(&resources, first_port, ports);
	/* The keyboard controller's second port. */
	if (first_port == I8042_DATA_PORT)
		aml_resource_io(&resources, I8042_COMMAND_PORT, 1);
	if (irq >= 0)
		aml_resource_irq(&resources, irq);
	aml_current_resources(aml, &resources);
	aml_end(aml, mark);
}

static void describe_fw_cfg(struct aml *aml)
{
	struct aml_resources resources = {.used = 0};
	size_t mark = aml_device_begin(aml, "FWCF");

	aml_name_string(aml, "_HID", "QEMU0002");
	aml_name_integer(aml, "_STA", 0xb); /* there, but nothing to show */
	aml_resource_io(&resources, FW_CFG_FIRST_PORT, FW_CFG_PORTS);
	aml_current_resources(aml, &resources);
	aml_end(aml, mark);
}

/* The PCI root: its windows, and that no slot's interrupt pins are wired (_PRT is empty). */
static void describe_pci_root(struct aml *aml)
{
	struct aml_resources resources = {.used = 0};

	aml_name_eisa_id(aml, "_HID", "PNP0A03");
	aml_name_integer(aml, "_UID", 0);
	aml_resource_bus_range(&resources, 0, 0xff);
	aml_resource_io(&resources, PCI_CONFIG_PORT, PCI_CONFIG_PORTS);
	aml_resource_io_range(&resources, 0, PCI_CONFIG_PORT - 1);
	aml_resource_io_range(&resources, PCI_CONFIG_PORT + PCI_CONFIG_PORTS, 0xffff);
	aml_resource_memory_range(&resources, RAM_VIDEO_HOLE, RAM_VIDEO_HOLE_END - 1);
	aml_resource_memory_range(&resources, RAM_LOW_LIMIT, PCI_WINDOW_END);
	aml_current_resources(aml, &resources);
	aml_name_declare(aml, "_PRT");
	aml_end(aml, aml_package_begin(aml, 0));
}

/* The DSDT's devices. */
static void describe(struct aml *aml, const void *context)
{
	const struct board *board = context;
	size_t scope = aml_scope_begin(aml, "\\_SB"), root = 0, bridge = 0;

	if (board->config.kind == BOARD_PC) {
		root = aml_device_begin(aml, "PCI0");
		describe_pci_root(aml);
		bridge = aml_device_begin(aml, "ISA");
		aml_name_integer(aml, "_ADR", 0x10000); /* slot 1, function 0 */
		describe_device(aml, "KBD", "PNP0303", 0, I8042_DATA_PORT, 1, KEYBOARD_GSI);
	}
	describe_device(aml, "COM1", "PNP0501", 1, SERIAL1_PORT, SERIAL16550_PORTS, SERIAL1_GSI);
	describe_device(aml, "RTC", "PNP0B00", 0, RTC_FIRST_PORT, RTC_PORTS, RTC_GSI);
	describe_fw_cfg(aml);
	if (board->config.kind == BOARD_PC) {
		aml_end(aml, bridge);
		aml_end(aml, root);
	}
	aml_end(aml, scope);
}

int board_write_tables(const struct board *board, uint64_t *rsdp_gpa, struct error *error)
{
	bool is_pc = board->config.kind == BOARD_PC;
	const struct guest_memory *memory = &board->config.ram->memory;
	struct acpi_config acpi = {
		.cpus = board->config.cpus,
		.describe = describe,
		.context = board,
		.is_hardware_reduced = !is_pc,
		.pm_port = ACPI_PORT,
		.sci_irq = SCI_GSI,
		.sleep_port = ACPI_PORT,
		.reset_port = is_pc ? PCI_RESET_PORT : ACPI_PORT + ACPI_SLEEP_RESET_OFFSET,
		.reset_value = is_pc ? PCI_RESET_VALUE : ACPI_SLEEP_RESET_VALUE,
		.boot_architecture = is_pc ? ACPI_BOOT_LEGACY_DEVICES | ACPI_BOOT_8042 |
						     ACPI_BOOT_NO_VGA
					   : ACPI_BOOT_LEGACY_DEVICES | ACPI_BOOT_NO_VGA,
	};
	uint8_t *bytes = malloc(ACPI_TABLES_MAX);
	int result;

	if (!bytes)
		return error_set_errno(error, ENOMEM, "cannot build the ACPI tables");
	result = acpi_tables_build(&acpi, bytes, error);
	if (result > 0) {
		*rsdp_gpa = ACPI_TABLES_GPA;
		result = guest_memory_write(memory, ACPI_TABLES_GPA, bytes, result);
		if (result == 0)
			result = smbios_write(memory, is_pc ? "pc" : "microvm");
		if (result < 0)
			error_set(error, -result, "the guest's RAM is too small for its tables");
	}
	free(bytes);
	return result;
}
