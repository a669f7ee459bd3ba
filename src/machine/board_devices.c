/* Which devices a board has, in which order, and where they sit. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "device/acpi_sleep.h"
#include "device/debug_exit.h"
#include "device/i8042.h"
#include "device/post_port.h"
#include "device/char/print_port.h"
#include "device/rtc.h"
#include "machine/board_parts.h"
#include "util/log.h"

#define BOCHS_CONSOLE_PORT     0xe9
#define BOCHS_CONSOLE_READBACK 0xe9
#define SEABIOS_CONSOLE_PORT   0x402

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

/* rtc_config.alarm. */
static void ring_alarm(void *context)
{
	struct board *board = context;

	if (board->acpi_pm)
		acpi_pm_ring_alarm(board->acpi_pm);
}

static int add_rtc(struct board *board, struct error *error)
{
	const struct ram *ram = board->config.ram;
	struct irq_line irq = irq_for(board, RTC_GSI);
	struct rtc_config config = {
	    .low_end = ram->low_end,
	    .above_4g_bytes = ram->high_end - RAM_HIGH_START,
	    .cpus = __builtin_popcountll(board->config.present_cpus),
	    .offset_s = board->config.clock_offset_s,
	    .alarm = ring_alarm,
	    .alarm_context = board,
	};
	struct rtc *rtc;
	int result;

	rtc = rtc_create(&config, board->config.loop, &irq, error);
	if (!rtc)
		return -ENOMEM;
	board->rtc = rtc;
	result = board_add(board, "rtc", &rtc_device_ops, rtc, error);
	if (result < 0)
		return result;
	return add_ports(board, RTC_FIRST_PORT, RTC_PORTS, "real-time clock", &rtc_pio_ops, rtc,
	                 error);
}

/* etc/e820 as QEMU gives it: packed entries of address, size, type. */
static int add_e820_file(const struct board *board, struct fw_cfg *fw_cfg)
{
	struct {
		uint64_t gpa, size_bytes;
		uint32_t type;
	} __attribute__((packed)) file[E820_MAX_ENTRIES];
	struct e820_map map;
	unsigned i;

	if (board_has_firmware(board))
		e820_build_for_firmware(board->config.ram, &map);
	else
		e820_build(board->config.ram, &map);
	for (i = 0; i < map.count; i++) {
		file[i].gpa = map.entries[i].gpa;
		file[i].size_bytes = map.entries[i].size_bytes;
		file[i].type = map.entries[i].type;
	}
	return fw_cfg_add_file(fw_cfg, "etc/e820", file, map.count * sizeof(file[0]));
}

static int add_fw_cfg(struct board *board, struct error *error)
{
	uint64_t ram_bytes = board->config.ram->size_bytes;
	const struct board_config *config = &board->config;
	uint16_t cpus = __builtin_popcountll(config->present_cpus), max_cpus = board->apic_ids[config->max_cpus - 1] + 1;
	struct fw_cfg *fw_cfg;
	unsigned i;
	int result;

	fw_cfg = fw_cfg_create(&board->config.ram->memory, error);
	if (!fw_cfg)
		return -ENOMEM;
	result = board_add(board, "fw_cfg", &fw_cfg_device_ops, fw_cfg, error);
	if (result < 0)
		return result;
	board->fw_cfg = fw_cfg;
	if (fw_cfg_add(fw_cfg, FW_CFG_RAM_BYTES, &ram_bytes, sizeof(ram_bytes)) < 0 ||
	    fw_cfg_add(fw_cfg, FW_CFG_CPUS, &cpus, sizeof(cpus)) < 0 ||
	    fw_cfg_add(fw_cfg, FW_CFG_MAX_CPUS, &max_cpus, sizeof(max_cpus)) < 0 ||
	    add_e820_file(board, fw_cfg) < 0)
		return error_set_errno(error, ENOMEM, "cannot fill the firmware configuration");
	if (config->smbios && config->smbios->has_uuid &&
	    fw_cfg_add(fw_cfg, FW_CFG_UUID, config->smbios->uuid, sizeof(config->smbios->uuid)) < 0)
		return error_set_errno(error, ENOMEM, "cannot fill the firmware configuration");
	for (i = 0; i < config->file_count; i++)
		if (fw_cfg_add_file(fw_cfg, config->files[i].name, config->files[i].data,
				    config->files[i].size) < 0)
			return error_set(error, EINVAL, "the file %.60s has no room in fw_cfg", config->files[i].name);
	return add_ports(board, FW_CFG_FIRST_PORT, FW_CFG_PORTS, "fw_cfg", &fw_cfg_pio_ops, fw_cfg,
	                 error);
}

static int add_debug_console(struct board *board, struct error *error)
{
	static const uint16_t ports[] = {BOCHS_CONSOLE_PORT, SEABIOS_CONSOLE_PORT};
	struct print_port *console;
	unsigned i;
	int result;

	console =
	    print_port_create(board->config.streams.debug_console, BOCHS_CONSOLE_READBACK, error);
	if (!console)
		return -ENOMEM;
	result = board_add(board, "debug-console", &print_port_device_ops, console, error);
	for (i = 0; i < 2 && result == 0; i++) {
		/* A print port or pc-testdev at the same place takes the console's. */
		if (board->config.print_port != ports[i] &&
		    !(ports[i] == BOCHS_CONSOLE_PORT && board_has_option(board, DEVICE_PC_TESTDEV)))
			result = add_ports(board, ports[i], 1, "debug console", &print_port_pio_ops,
			                   console, error);
	}
	return result;
}

static int add_print_port(struct board *board, struct error *error)
{
	struct print_port *port;
	int result;

	port = print_port_create(board->config.streams.print, 0xff, error);
	if (!port)
		return -ENOMEM;
	result = board_add(board, "print-port", &print_port_device_ops, port, error);
	if (result < 0)
		return result;
	return add_ports(board, board->config.print_port, 1, "print port", &print_port_pio_ops,
	                 port, error);
}

static int add_debug_exit(struct board *board, struct error *error)
{
	struct power *power = &board->config.power;
	int result = board_add(board, "debug-exit", &debug_exit_device_ops, power, error);

	if (result < 0)
		return result;
	return add_ports(board, board->config.debug_exit_port, DEBUG_EXIT_PORTS, "debug exit",
	                 &debug_exit_pio_ops, power, error);
}

static int add_post_port(struct board *board, struct error *error)
{
	int result = board_add(board, "post-port", &post_port_device_ops, &board->post_code, error);

	if (result < 0)
		return result;
	return add_ports(board, POST_PORT_FIRST, POST_PORT_PORTS, "POST code port",
	                 &post_port_pio_ops, &board->post_code, error);
}

static int add_debug_ports(struct board *board, struct error *error)
{
	const struct board_config *config = &board->config;
	int result = add_post_port(board, error);

	if (result == 0 && config->debug_exit_port >= 0 &&
	    !board_has_option(board, DEVICE_DEBUG_EXIT))
		result = add_debug_exit(board, error);
	if (result == 0 && config->print_port >= 0)
		result = add_print_port(board, error);
	if (result == 0 && config->streams.debug_console)
		result = add_debug_console(board, error);
	return result;
}

static int add_keyboard(struct board *board, struct error *error)
{
	struct irq_line irq = irq_for(board, KEYBOARD_GSI), mouse_irq = irq_for(board, MOUSE_GSI);
	struct i8042 *keyboard;
	int result;

	keyboard = i8042_create(&irq, &mouse_irq, &board->config.power, error);
	if (!keyboard)
		return -ENOMEM;
	board->keyboard = board->config.has_no_i8042 ? NULL : keyboard;
	result = board_add(board, "keyboard", &i8042_device_ops, keyboard, error);
	if (result == 0 && board->keyboard)
		result = add_ports(board, I8042_DATA_PORT, 1, "keyboard controller",
		                   &i8042_data_pio_ops, keyboard, error);
	if (result == 0 && board->keyboard)
		result = add_ports(board, I8042_COMMAND_PORT, 1, "keyboard controller",
		                   &i8042_command_pio_ops, keyboard, error);
	if (result == 0)
		result = add_ports(board, I8042_SYSTEM_PORT, 1, "system control port A",
		                   &i8042_system_pio_ops, keyboard, error);
	return result;
}

/* Where BARs may lie, and which GSIs the interrupt links A to D have. */
static struct pci_layout pci_layout(const struct board *board)
{
	const struct board_config *config = &board->config;
	static const uint8_t pc_links[PCI_LINKS_MAX] = {10, 10, 11, 11, 10, 10, 11, 11};
	static const uint8_t microvm_links[PCI_LINKS_MAX] = {16, 17, 18, 19};
	struct pci_layout layout = {
		.io_first = PCI_FIRST_IO_PORT,
		.io_end = 0x10000,
		.low_first = PCI_WINDOW_GPA,
		.low_end = board_is_q35(board) ? PCI_FIRMWARE_END : config->ram->layout->ecam_gpa,
	};
	uint64_t first = (ram_end(config->ram) + PCI_HIGH_ALIGNMENT - 1) & -PCI_HIGH_ALIGNMENT;
	uint64_t limit = config->physical_bits ? 1ull << config->physical_bits : 0;

	if (limit > first) {
		layout.high_first = first;
		layout.high_end = limit - first < PCI_HIGH_BYTES ? limit : first + PCI_HIGH_BYTES;
	}
	/* Firmware chooses: what it may take, as far as it looks at no more than the size of RAM. */
	if (board_has_firmware(board)) {
		layout.low_first = config->ram->low_end > PCI_FIRMWARE_GPA ? config->ram->low_end
									   : PCI_FIRMWARE_GPA;
		layout.low_end = PCI_FIRMWARE_END;
		if (limit > first)
			layout.high_end = limit;
	}
	memcpy(layout.link_gsi, board_is_pc(board) ? pc_links : microvm_links,
	       sizeof(layout.link_gsi));
	return layout;
}

static int add_pci(struct board *board, struct error *error)
{
	const struct board_config *config = &board->config;
	struct pci_bus_config bus = {
		.power = config->power,
		.pio = config->pio,
		.mmio = config->mmio,
		.memory = &config->ram->memory,
		.irq = config->irq,
		.msi = config->msi,
		.link_of = board_is_q35(board) ? q35_link_of : NULL,
	};
	int result;

	board->pci_layout = pci_layout(board);
	board->pci = pci_bus_create(&bus, error);
	if (!board->pci)
		return -ENOMEM;
	result = board_add(board, "pci", &pci_bus_device_ops, board->pci, error);
	/* A q35's chipset says where. */
	if (result < 0 || board_has_firmware(board) || board_is_q35(board))
		return result;
	return mmio_bus_add(config->mmio, config->ram->layout->ecam_gpa, PCI_ECAM_BYTES, "PCI configuration",
			    &pci_bus_ecam_ops, board->pci, error);
}

/* Without a chipset that routes them the links are wired for good. */
static void wire_links(struct board *board)
{
	unsigned link;

	for (link = 0; link < PCI_PINS; link++)
		pci_bus_route(board->pci, link, board->pci_layout.link_gsi[link]);
}

/* The registers of a hardware-reduced machine. */
static int add_reduced_acpi(struct board *board, const struct irq_line *line, struct error *error)
{
	struct power *power = &board->config.power;
	int result = board_add(board, "acpi-sleep", &acpi_sleep_device_ops, power, error);

	if (result == 0)
		result = add_ports(board, ACPI_PORT, ACPI_SLEEP_PORTS, "ACPI registers", &acpi_sleep_pio_ops, power,
				   error);
	if (result < 0)
		return result;
	board->acpi_events = acpi_events_create(line, error);
	if (!board->acpi_events)
		return -ENOMEM;
	result = board_add(board, "acpi-events", &acpi_events_device_ops, board->acpi_events, error);
	if (result < 0)
		return result;
	return add_ports(board, ACPI_EVENTS_PORT, ACPI_EVENTS_PORTS, "ACPI events", &acpi_events_pio_ops,
			 board->acpi_events, error);
}

static int add_acpi(struct board *board, struct error *error)
{
	struct irq_line sci = irq_for(board, SCI_GSI);
	struct power *power = &board->config.power;
	struct acpi_pm *pm;

	if (board->config.kind == BOARD_MICROVM)
		return add_reduced_acpi(board, &sci, error);
	pm = acpi_pm_create(board->config.loop, &sci, power, !board->config.has_no_sleep, error);
	if (!pm)
		return -ENOMEM;
	/* Its ports are where the chipset says. */
	board->acpi_pm = pm;
	return board_add(board, "acpi-pm", &acpi_pm_device_ops, pm, error);
}

int board_add_devices(struct board *board, struct error *error)
{
	int result;

	/* The ports that the user chose come last: a clash is theirs to solve. */
	if ((result = board_add_serials(board, error)) < 0 || (result = add_rtc(board, error)) < 0 ||
	    (result = add_fw_cfg(board, error)) < 0 || (result = add_acpi(board, error)) < 0)
		return result;
	if (board_wants_pci(board) && (result = add_pci(board, error)) < 0)
		return result;
	if (board_is_pc(board) && ((result = add_keyboard(board, error)) < 0 ||
					       (result = board_add_chipset(board, error)) < 0 ||
					       (result = board_add_slots(board, error)) < 0 ||
					       (result = board_add_cpus(board, error)) < 0 ||
					       (result = board_add_memory(board, error)) < 0))
		return result;
	if (board->pci && board->config.kind == BOARD_MICROVM)
		wire_links(board);
	if ((result = board_add_display(board, error)) < 0 ||
	    (result = board_add_root_ports(board, error)) < 0 ||
	    (result = board_add_disks(board, error)) < 0 ||
	    (result = board_add_nets(board, error)) < 0 ||
	    (result = board_add_shares(board, error)) < 0 ||
	    (result = board_add_vsock(board, error)) < 0 ||
	    (result = board_add_usb(board, error)) < 0 ||
	    (result = board_add_console(board, error)) < 0 ||
	    (result = board_add_options(board, error)) < 0 || (result = board_add_tpm(board, error)) < 0)
		return result;
	result = add_debug_ports(board, error);
	return result < 0 || !board_has_firmware(board) ? result : board_add_firmware(board, error);
}
