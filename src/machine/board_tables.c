/* What a board's firmware would tell the guest of it: the DSDT's devices, and the tables' fixed facts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "device/acpi_sleep.h"
#include "device/fw_cfg.h"
#include "device/i8042.h"
#include "device/rtc.h"
#include "device/serial16550.h"
#include "device/virtio/virtio_mmio.h"
#include "machine/acpi/tables.h"
#include "machine/board.h"
#include "machine/board_parts.h"
#include "machine/smbios.h"

#define PCI_RESET_PORT	0xcf9
#define PCI_RESET_VALUE 0x06 /* a hard reset of all */

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

/* Which GSI each slot's interrupt pins drive: level-triggered, as PCI's are (§6.2.13, _PRT). */
static void describe_pci_interrupts(struct aml *aml, const struct board *board)
{
	size_t table, row;
	unsigned slot, pin;

	aml_name_declare(aml, "_PRT");
	table = aml_package_begin(aml, PCI_SLOTS * PCI_PINS);
	for (slot = 0; slot < PCI_SLOTS; slot++) {
		for (pin = 0; pin < PCI_PINS; pin++) {
			row = aml_package_begin(aml, 4);
			aml_integer(aml, slot << 16 | 0xffff); /* any function */
			aml_integer(aml, pin);
			aml_integer(aml, 0);
			aml_integer(aml, board->pci_layout.link_gsi[pci_link_of(slot, pin)]);
			aml_end(aml, row);
		}
	}
	aml_end(aml, table);
}

/* The PCI root: its windows and its interrupts. */
static void describe_pci_root(struct aml *aml, const struct board *board)
{
	const struct pci_layout *layout = &board->pci_layout;
	struct aml_resources resources = {.used = 0};
	bool is_pc = board->config.kind == BOARD_PC;

	/* PCI Express's root is what software knows that is reached by memory alone. */
	aml_name_eisa_id(aml, "_HID", is_pc ? "PNP0A03" : "PNP0A08");
	if (!is_pc)
		aml_name_eisa_id(aml, "_CID", "PNP0A03");
	aml_name_integer(aml, "_UID", 0);
	aml_resource_bus_range(&resources, 0, 0); /* as far as the ECAM reaches */
	if (is_pc) {
		aml_resource_io(&resources, PCI_CONFIG_PORT, PCI_CONFIG_PORTS);
		aml_resource_io_range(&resources, 0, PCI_CONFIG_PORT - 1);
		aml_resource_io_range(&resources, PCI_CONFIG_PORT + PCI_CONFIG_PORTS, 0xffff);
		aml_resource_memory_range(&resources, RAM_VIDEO_HOLE, RAM_VIDEO_HOLE_END - 1);
	} else {
		aml_resource_io_range(&resources, layout->io_first, layout->io_end - 1);
	}
	aml_resource_memory_range(&resources, layout->low_first, layout->low_end - 1);
	if (layout->high_end > layout->high_first)
		aml_resource_memory_range64(&resources, layout->high_first, layout->high_end - 1);
	aml_current_resources(aml, &resources);
	describe_pci_interrupts(aml, board);
}

/* The ECAM is in nobody's window: software uses it only when some device has reserved it. */
static void describe_ecam(struct aml *aml)
{
	struct aml_resources resources = {.used = 0};
	size_t mark = aml_device_begin(aml, "ECAM");

	aml_name_eisa_id(aml, "_HID", "PNP0C02");
	aml_name_integer(aml, "_UID", 0);
	aml_resource_memory_fixed(&resources, E820_ECAM_START, PCI_ECAM_BYTES);
	aml_current_resources(aml, &resources);
	aml_end(aml, mark);
}

static void describe_virtio(struct aml *aml, const struct board *board)
{
	struct aml_resources resources;
	char name[5];
	size_t mark;
	unsigned i;

	for (i = 0; i < board->virtio_count; i++) {
		snprintf(name, sizeof(name), "VR%02u", i % 100);
		resources = (struct aml_resources){.used = 0};
		mark = aml_device_begin(aml, name);
		aml_name_string(aml, "_HID", "LNRO0005");
		aml_name_integer(aml, "_UID", i);
		aml_resource_memory_fixed(&resources, VIRTIO_MMIO_GPA + i * VIRTIO_MMIO_BYTES,
					  VIRTIO_MMIO_BYTES);
		aml_resource_interrupt(&resources, board->virtio_gsi[i]);
		aml_current_resources(aml, &resources);
		aml_end(aml, mark);
	}
}

/* The DSDT's devices. */
static void describe(struct aml *aml, const void *context)
{
	const struct board *board = context;
	size_t scope = aml_scope_begin(aml, "\\_SB"), root = 0, bridge = 0;

	if (board->pci) {
		if (!board_has_firmware(board))
			describe_ecam(aml);
		root = aml_device_begin(aml, "PCI0");
		describe_pci_root(aml, board);
		if (board->config.kind == BOARD_MICROVM)
			aml_end(aml, root);
	}
	if (board->config.kind == BOARD_PC) {
		bridge = aml_device_begin(aml, "ISA");
		aml_name_integer(aml, "_ADR", 0x10000); /* slot 1, function 0 */
		describe_device(aml, "KBD", "PNP0303", 0, I8042_DATA_PORT, 1, KEYBOARD_GSI);
	}
	describe_device(aml, "COM1", "PNP0501", 1, SERIAL1_PORT, SERIAL16550_PORTS, SERIAL1_GSI);
	describe_device(aml, "RTC", "PNP0B00", 0, RTC_FIRST_PORT, RTC_PORTS, RTC_GSI);
	describe_fw_cfg(aml);
	describe_virtio(aml, board);
	if (board->config.kind == BOARD_PC) {
		aml_end(aml, bridge);
		aml_end(aml, root);
	}
	aml_end(aml, scope);
}

int board_build_acpi(const struct board *board, uint8_t **bytes, struct error *error)
{
	bool is_pc = board->config.kind == BOARD_PC;
	struct acpi_config acpi = {
		.cpus = board->config.cpus,
		.describe = describe,
		.context = board,
		.is_hardware_reduced = !is_pc,
		.pm_port = ACPI_PORT,
		.sci_irq = SCI_GSI,
		.sleep_port = ACPI_PORT,
		.ecam_gpa = board->pci && !board_has_firmware(board) ? E820_ECAM_START : 0,
		.reset_port = is_pc ? PCI_RESET_PORT : ACPI_PORT + ACPI_SLEEP_RESET_OFFSET,
		.reset_value = is_pc ? PCI_RESET_VALUE : ACPI_SLEEP_RESET_VALUE,
		.boot_architecture = ACPI_BOOT_LEGACY_DEVICES | (is_pc ? ACPI_BOOT_8042 : 0) |
				     (board->vga ? 0 : ACPI_BOOT_NO_VGA),
	};
	int result;

	*bytes = malloc(ACPI_TABLES_MAX);
	if (!*bytes)
		return error_set_errno(error, ENOMEM, "cannot build the ACPI tables");
	result = acpi_tables_build(&acpi, *bytes, error);
	if (result < 0)
		free(*bytes);
	return result;
}

int board_write_tables(const struct board *board, uint64_t *rsdp_gpa, struct error *error)
{
	const struct guest_memory *memory = &board->config.ram->memory;
	uint8_t *bytes;
	int result = board_build_acpi(board, &bytes, error);

	if (result < 0)
		return result;
	*rsdp_gpa = ACPI_TABLES_GPA;
	result = guest_memory_write(memory, ACPI_TABLES_GPA, bytes, result);
	if (result == 0)
		result = smbios_write(memory, board->config.kind == BOARD_PC ? "pc" : "microvm");
	if (result < 0)
		error_set(error, -result, "the guest's RAM is too small for its tables");
	free(bytes);
	return result;
}
