/* What a board's firmware would tell the guest of it: the DSDT's devices, and the tables' fixed facts. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "device/acpi_sleep.h"
#include "device/fw_cfg.h"
#include "device/i8042.h"
#include "device/rtc.h"
#include "device/char/serial16550.h"
#include "device/virtio/virtio_mmio.h"
#include "machine/acpi/tables.h"
#include "machine/board.h"
#include "machine/board_parts.h"
#include "machine/smbios.h"

#define PCI_RESET_PORT	0xcf9
#define NOTIFY_PRESSED 0x80 /* of a button (§5.6.6, table 5.148) */
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

/* Its ports are the keyboard's. */
static void describe_mouse(struct aml *aml)
{
	struct aml_resources resources = {.used = 0};
	size_t mark = aml_device_begin(aml, "MOU");

	aml_name_eisa_id(aml, "_HID", "PNP0F13");
	aml_resource_irq(&resources, MOUSE_GSI);
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

/* pvpanic's, at which Linux's driver finds it. */
static void describe_panic(struct aml *aml, const struct board *board)
{
	struct aml_resources resources = {.used = 0};
	size_t mark;

	if (!board->panic_port)
		return;
	mark = aml_device_begin(aml, "PEVT");
	aml_name_string(aml, "_HID", "QEMU0001");
	aml_name_integer(aml, "_STA", 0xb); /* there, but nothing to show */
	aml_resource_io(&resources, board->panic_port, 1);
	aml_current_resources(aml, &resources);
	aml_end(aml, mark);
}

/* The events of a hardware-reduced machine (§5.6.9), of which there is one: its power button (§4.8.2.2.1.2). */
static void describe_events(struct aml *aml)
{
	struct aml_resources resources = {.used = 0};
	size_t mark = aml_device_begin(aml, "PWRB"), method, button;

	aml_name_eisa_id(aml, "_HID", "PNP0C0C");
	aml_name_integer(aml, "_UID", 0);
	aml_end(aml, mark);
	mark = aml_device_begin(aml, "GED");
	aml_name_string(aml, "_HID", "ACPI0013");
	aml_name_integer(aml, "_UID", 0);
	aml_resource_interrupt(&resources, SCI_GSI);
	aml_current_resources(aml, &resources);
	aml_io_region(aml, "EVRG", ACPI_EVENTS_PORT, ACPI_EVENTS_PORTS);
	method = aml_fields_begin(aml, "EVRG");
	aml_field32(aml, "EVTS");
	aml_end(aml, method);
	/* What there is is taken away before anybody is told, so that what comes then is another. */
	method = aml_method_begin(aml, "_EVT", 1);
	aml_operator(aml, AML_STORE);
	aml_name(aml, "EVTS");
	aml_operator(aml, AML_LOCAL0);
	aml_operator(aml, AML_STORE);
	aml_operator(aml, AML_LOCAL0);
	aml_name(aml, "EVTS");
	button = aml_if_begin(aml);
	aml_operator(aml, AML_AND);
	aml_operator(aml, AML_LOCAL0);
	aml_integer(aml, ACPI_EVENT_POWER_BUTTON);
	aml_no_target(aml);
	aml_operator(aml, AML_NOTIFY);
	aml_name(aml, "PWRB");
	aml_integer(aml, NOTIFY_PRESSED);
	aml_end(aml, button);
	aml_end(aml, method);
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

static void describe_serials(struct aml *aml, const struct board *board)
{
	char name[5];
	unsigned i;

	for (i = 0; i < BOARD_SERIALS_MAX; i++) {
		snprintf(name, sizeof(name), "COM%u", (i + 1) % 10);
		if (board_serial_stream(board, i))
			describe_device(aml, name, "PNP0501", i + 1, board_serials[i].port, SERIAL16550_PORTS,
					board_serials[i].gsi);
	}
}

/* The DSDT's devices. */
static void describe(struct aml *aml, const void *context)
{
	const struct board *board = context;
	size_t scope, root = 0, bridge = 0;
	uint64_t ecam_bytes;

	if (board_is_q35(board))
		board_describe_interrupt_mode(aml);
	scope = aml_scope_begin(aml, "\\_SB");
	if (board->pci) {
		if (board_ecam(board, &ecam_bytes))
			board_describe_ecam(aml, board);
		root = aml_device_begin(aml, "PCI0");
		board_describe_pci(aml, board);
		if (!board_is_pc(board))
			aml_end(aml, root);
	}
	if (board_is_pc(board)) {
		bridge = aml_device_begin(aml, "ISA");
		/* Slot 31 or 1, function 0. */
		aml_name_integer(aml, "_ADR", (board_is_q35(board) ? Q35_ICH9_SLOT : 1) << 16);
		if (board->keyboard) {
			describe_device(aml, "KBD", "PNP0303", 0, I8042_DATA_PORT, 1, KEYBOARD_GSI);
			describe_mouse(aml);
		}
	}
	describe_serials(aml, board);
	describe_device(aml, "RTC", "PNP0B00", 0, RTC_FIRST_PORT, RTC_PORTS, RTC_GSI);
	describe_fw_cfg(aml);
	describe_panic(aml, board);
	describe_virtio(aml, board);
	if (board->acpi_events)
		describe_events(aml);
	if (board_is_pc(board)) {
		aml_end(aml, bridge);
		board_describe_slots(aml, board);
		aml_end(aml, root);
	}
	board_describe_tpm(aml, board);
	board_describe_cpus(aml, board);
	board_describe_memory(aml, board);
	aml_end(aml, scope);
	board_describe_slots_event(aml, board);
	board_describe_cpus_event(aml, board);
	board_describe_memory_event(aml, board);
}

int board_build_acpi(const struct board *board, uint8_t **bytes, struct error *error)
{
	bool is_pc = board_is_pc(board);
	uint64_t ecam_bytes, ecam_gpa = board_ecam(board, &ecam_bytes);
	struct acpi_config acpi = {
		.cpus = board->config.max_cpus,
		.present_cpus = board_present_cpus(board),
		.apic_ids = board->apic_ids,
		.has_cpu_devices = board->acpi_cpus,
		.ram = board->acpi_memory ? board->config.ram : NULL,
		.describe = describe,
		.context = board,
		.is_hardware_reduced = !is_pc,
		.pm_port = ACPI_PORT,
		.sci_irq = SCI_GSI,
		.sleep_port = ACPI_PORT,
		.is_ich9 = board_is_q35(board),
		.can_sleep = is_pc && !board->config.has_no_sleep,
		.tpm = board_acpi_tpm(board),
		.has_log_area = board_has_firmware(board),
		.ecam_gpa = ecam_gpa,
		.last_bus = ecam_gpa ? ecam_bytes / PCI_ECAM_BUS_BYTES - 1 : 0,
		.reset_port = is_pc ? PCI_RESET_PORT : ACPI_PORT + ACPI_SLEEP_RESET_OFFSET,
		.reset_value = is_pc ? PCI_RESET_VALUE : ACPI_SLEEP_RESET_VALUE,
		.boot_architecture = ACPI_BOOT_LEGACY_DEVICES | (board->keyboard ? ACPI_BOOT_8042 : 0) |
				     (board_display_is_vga(board->config.display) ? 0 : ACPI_BOOT_NO_VGA),
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
	const struct smbios_facts facts = board_smbios_facts(board);
	int result = board_build_acpi(board, &bytes, error);

	if (result < 0)
		return result;
	*rsdp_gpa = ACPI_TABLES_GPA;
	result = guest_memory_write(memory, ACPI_TABLES_GPA, bytes, result);
	free(bytes);
	if (result < 0)
		return error_set(error, -result, "the guest's RAM is too small for its tables");
	return smbios_write(memory, &facts, board->config.smbios, error);
}
