/* What a board's firmware would tell the guest of it: the DSDT's devices, and the tables' fixed facts. */
#include <errno.h>
#include <stdlib.h>

#include "device/acpi_sleep.h"
#include "device/fw_cfg.h"
#include "device/i8042.h"
#include "device/rtc.h"
#include "device/serial16550.h"
#include "machine/acpi/tables.h"
#include "machine/board_parts.h"
#include "machine/smbios.h"

#define PCI_RESET_PORT	0xcf9
#define PCI_RESET_VALUE 0x06 /* a hard reset of all */
#define PCI_WINDOW_END	0xfebfffffu /* below the I/O APIC */

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
