/*
 * A board that begins with firmware: its ROM below 4 GiB, whose end shadow RAM shows below 1 MiB, the flash
 * memory below that for what firmware keeps, and what fw_cfg tells it of the machine, by the keys and file names that SeaBIOS and OVMF look for (QEMU
 * docs/specs/fw_cfg.rst; SeaBIOS docs/Runtime_config.md).
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/pflash.h"
#include "device/rom.h"
#include "machine/acpi/linker.h"
#include "machine/board_parts.h"
#include "machine/smbios.h"
#include "util/log.h"

#define ROM_END	     0x100000000ull
/* By vendor and device, as SeaBIOS looks for them. */
#define VGA_ROM_FILE	    "pci1234,1111.rom"
#define VIRTIO_VGA_ROM_FILE "pci1af4,1050.rom"

static int add_rom(struct board *board, struct error *error)
{
	const struct board_config *config = &board->config;
	const struct firmware *firmware = config->firmware;
	struct rom *rom = rom_create(config->vm, SLOT_ROM, ROM_END - firmware->code_size,
				     firmware->code, firmware->code_size, error);
	int result;

	if (!rom)
		return -ENOMEM;
	result = board_add(board, "firmware", &rom_device_ops, rom, error);
	if (result == 0)
		ram_shadow_set_rom(&config->ram->shadow, rom_bytes(rom), firmware->code_size);
	return result;
}

/* Right below the ROM. */
static int add_flash(struct board *board, struct error *error)
{
	const struct firmware *firmware = board->config.firmware;
	const struct pflash_config config = {
		.vm = board->config.vm,
		.slot = SLOT_FLASH,
		.gpa = ROM_END - firmware->code_size - firmware->vars_size,
		.fd = firmware->vars_fd,
	};
	struct pflash *flash;
	int result;

	if (!firmware->vars)
		return 0;
	flash = pflash_create(&config, firmware->vars, firmware->vars_size, error);
	if (!flash)
		return -ENOMEM;
	result = board_add(board, "variables", &pflash_device_ops, flash, error);
	return result < 0 ? result
			  : mmio_bus_add(board->config.mmio, config.gpa, firmware->vars_size,
					 "flash memory", &pflash_mmio_ops, flash, error);
}

static int link_acpi(const struct board *board, struct acpi_linked *linked, struct error *error)
{
	uint8_t *bytes;
	int result = board_build_acpi(board, &bytes, error);

	if (result < 0)
		return result;
	result = acpi_link(linked, bytes, result, error);
	free(bytes);
	return result;
}

static int add_tpm_log(struct fw_cfg *fw_cfg)
{
	uint8_t *log = calloc(1, ACPI_TPM_LOG_BYTES);
	int result = log ? fw_cfg_add_file(fw_cfg, ACPI_LINKER_TPM_LOG_FILE, log, ACPI_TPM_LOG_BYTES) : -ENOMEM;

	free(log);
	return result;
}

static int add_acpi_files(struct board *board, struct error *error)
{
	struct fw_cfg *fw_cfg = board->fw_cfg;
	struct acpi_linked linked;
	int result = link_acpi(board, &linked, error);

	if (result < 0)
		return result;
	if (fw_cfg_add_file(fw_cfg, ACPI_LINKER_RSDP_FILE, linked.rsdp, sizeof(linked.rsdp)) < 0 ||
	    fw_cfg_add_file(fw_cfg, ACPI_LINKER_TABLES_FILE, linked.tables, linked.tables_size) < 0 ||
	    fw_cfg_add_file(fw_cfg, ACPI_LINKER_SCRIPT_FILE, linked.script, linked.script_size) < 0)
		result = -ENOMEM;
	if (result == 0 && linked.has_tpm_log)
		result = add_tpm_log(fw_cfg);
	acpi_linked_free(&linked);
	return result;
}

void board_renew_acpi_files(struct board *board)
{
	struct acpi_linked linked;
	struct error error;
	int result = link_acpi(board, &linked, &error);

	/* What depends on registers lies in fields of fixed sizes, and the script does not depend on them. */
	if (result == 0) {
		result = fw_cfg_renew_file(board->fw_cfg, ACPI_LINKER_TABLES_FILE, linked.tables,
					   linked.tables_size);
		if (result < 0)
			error_set(&error, -result, "the ACPI tables have changed their size");
		acpi_linked_free(&linked);
	}
	if (result < 0)
		log_error("%s", error.message);
}

static int add_smbios_files(struct board *board, struct error *error)
{
	const struct smbios_facts facts = board_smbios_facts(board);
	struct smbios *smbios = malloc(sizeof(*smbios));
	int result = smbios ? smbios_build(smbios, &facts, board->config.smbios, error)
			    : error_set_errno(error, ENOMEM, "SMBIOS tables");

	if (result == 0 && (fw_cfg_add_file(board->fw_cfg, "etc/smbios/smbios-anchor", smbios->entry,
					    sizeof(smbios->entry)) < 0 ||
			    fw_cfg_add_file(board->fw_cfg, "etc/smbios/smbios-tables", smbios->tables,
					    smbios->tables_size) < 0))
		result = error_set_errno(error, ENOMEM, "cannot fill the firmware configuration");
	free(smbios);
	return result;
}

static int compare_turns(const void *a, const void *b)
{
	const struct board_boot *first = a, *second = b;

	return first->turn < second->turn ? -1 : first->turn > second->turn;
}

#define BOOT_ORDER_FILE "bootorder"
#define BOOT_ORDER_BYTES ((BOARD_DISKS_MAX + BOARD_NETS_MAX) * BOARD_BOOT_PATH + 1)

/* Disks and network cards in their turns: a line each, and a NUL. How many bytes; 0: there are none. */
static size_t write_boot_order(struct board *board, char order[BOOT_ORDER_BYTES])
{
	size_t used = 0;
	unsigned i;

	qsort(board->boots, board->boot_count, sizeof(board->boots[0]), compare_turns);
	for (i = 0; i < board->boot_count; i++)
		used += snprintf(order + used, BOOT_ORDER_BYTES - used, "%s%s", used ? "\n" : "",
				 board->boots[i].path);
	return used ? used + 1 : 0;
}

static int add_boot_order(struct board *board)
{
	char order[BOOT_ORDER_BYTES];
	size_t size = write_boot_order(board, order);

	return size ? fw_cfg_add_file(board->fw_cfg, BOOT_ORDER_FILE, order, size) : 0;
}

/* The same devices in another order have the same size. */
void board_renew_boot_order(struct board *board)
{
	char order[BOOT_ORDER_BYTES];
	unsigned i;
	size_t size;

	if (!board_has_firmware(board))
		return;
	for (i = 0; i < board->boot_count; i++)
		board->boots[i].turn = board->boots[i].later_turn;
	size = write_boot_order(board, order);
	if (size && fw_cfg_renew_file(board->fw_cfg, BOOT_ORDER_FILE, order, size) < 0)
		log_error("the order of what to boot cannot be renewed");
}

/* Keys of a kernel's (QEMU include/standard-headers/linux/qemu_fw_cfg.h), in two parts: the set-up code that a Linux begins
 * with, and the rest. */
enum {
	KEY_KERNEL_SIZE = 0x08,
	KEY_INITRD_SIZE = 0x0b,
	KEY_KERNEL_DATA = 0x11,
	KEY_INITRD_DATA = 0x12,
	KEY_COMMAND_LINE_SIZE = 0x14,
	KEY_COMMAND_LINE_DATA = 0x15,
	KEY_SETUP_SIZE = 0x17,
	KEY_SETUP_DATA = 0x18,
};

#define SETUP_SECTORS_AT 0x1f1 /* Linux, Documentation/arch/x86/boot.rst: setup_sects, where 0 means 4 */
#define SECTOR_BYTES	 512

static int add_blob(struct fw_cfg *fw_cfg, uint16_t size_key, uint16_t data_key, const void *data, size_t size)
{
	const uint32_t size_le = htole32(size);
	int result = fw_cfg_add(fw_cfg, size_key, &size_le, sizeof(size_le));

	return result == 0 && size ? fw_cfg_add(fw_cfg, data_key, data, size) : result;
}

/* What UEFI is to boot: it puts the two parts together again, and finds an application of its own in it. */
static int add_kernel(struct board *board)
{
	const struct firmware *firmware = board->config.firmware;
	const char *command_line = firmware->command_line ? firmware->command_line : "";
	struct fw_cfg *fw_cfg = board->fw_cfg;
	size_t setup = 0;
	int result;

	if (firmware->kernel_size > SETUP_SECTORS_AT)
		setup = (firmware->kernel[SETUP_SECTORS_AT] ? firmware->kernel[SETUP_SECTORS_AT] + 1 : 5) * SECTOR_BYTES;
	if (setup > firmware->kernel_size)
		setup = 0;
	result = add_blob(fw_cfg, KEY_SETUP_SIZE, KEY_SETUP_DATA, firmware->kernel, setup);
	if (result == 0)
		result = add_blob(fw_cfg, KEY_KERNEL_SIZE, KEY_KERNEL_DATA, firmware->kernel + setup,
				  firmware->kernel_size - setup);
	if (result == 0)
		result = add_blob(fw_cfg, KEY_INITRD_SIZE, KEY_INITRD_DATA, firmware->initrd, firmware->initrd_size);
	if (result == 0)
		result = add_blob(fw_cfg, KEY_COMMAND_LINE_SIZE, KEY_COMMAND_LINE_DATA, command_line,
				  strlen(command_line) + 1);
	return result;
}

#define STATE_EXISTS 0x80

static int add_choices(struct board *board)
{
	const uint16_t menu = board->config.firmware_has_menu, serial = board_serials[0].port;
	const uint32_t for_ever = UINT32_MAX;
	const uint64_t memory_end = ram_end(board->config.ram);
	const uint8_t irq0_override = 1;
	/* S0 to S5: whether there is such a state, and its sleep type (acpi_pm.h). */
	const uint8_t states[6] = {STATE_EXISTS, 0, 0,
				   ACPI_PM_SLEEP_TYPE_S3 | (board->config.has_no_sleep ? 0 : STATE_EXISTS), 0,
				   ACPI_PM_SLEEP_TYPE_S5 | STATE_EXISTS};
	struct fw_cfg *fw_cfg = board->fw_cfg;
	int result = fw_cfg_add(fw_cfg, FW_CFG_BOOT_MENU, &menu, sizeof(menu));

	if (result == 0)
		result = fw_cfg_add(fw_cfg, FW_CFG_IRQ0_OVERRIDE, &irq0_override,
				    sizeof(irq0_override));
	if (result == 0 && menu && board->config.boot_menu_ms)
		result = fw_cfg_add_file(fw_cfg, "etc/boot-menu-wait", &board->config.boot_menu_ms,
					 sizeof(board->config.boot_menu_ms));
	/* Not a reset and another try each minute when nothing can be booted. */
	if (result == 0)
		result = fw_cfg_add_file(fw_cfg, "etc/boot-fail-wait", &for_ever, sizeof(for_ever));
	if (result == 0 && board->config.firmware_prints)
		result = fw_cfg_add_file(fw_cfg, "etc/sercon-port", &serial, sizeof(serial));
	/* PCI's high window begins behind what may become memory. */
	if (result == 0 && board->acpi_memory)
		result = fw_cfg_add_file(fw_cfg, "etc/reserved-memory-end", &memory_end, sizeof(memory_end));
	if (result == 0)
		result = fw_cfg_add_file(fw_cfg, "etc/system-states", states, sizeof(states));
	/* A BIOS takes it for the display's expansion ROM. */
	if (result == 0 && board_display_is_vga(board->config.display) && board->config.firmware->vga_rom)
		result = fw_cfg_add_file(fw_cfg, board->config.display == BOARD_VGA ? VGA_ROM_FILE : VIRTIO_VGA_ROM_FILE,
					 board->config.firmware->vga_rom, board->config.firmware->vga_rom_size);
	if (result == 0 && board->config.firmware->kernel)
		result = add_kernel(board);
	return result < 0 ? result : add_boot_order(board);
}

int board_add_firmware(struct board *board, struct error *error)
{
	int result = add_rom(board, error);

	if (result == 0)
		result = add_flash(board, error);
	if (result == 0)
		result = add_acpi_files(board, error);
	if (result < 0)
		return result;
	result = add_smbios_files(board, error);
	if (result < 0)
		return result;
	if (add_choices(board) < 0)
		return error_set_errno(error, ENOMEM, "cannot fill the firmware configuration");
	return 0;
}
