#include "cli/qemu/line_boot.h"

#include <errno.h>
#include <string.h>

#include "cli/firmware_option.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/line_said.h"

/* The next piece of flash memory: UEFI's code, then its variables. */
static int take_flash(struct line *line, const char *path, bool is_kept, struct error *error)
{
	struct firmware_files *firmware = &line->config.boot.firmware;

	if (!path)
		return error_set(error, EINVAL, "flash memory needs a file");
	if (!firmware->code)
		firmware->code = path;
	else if (firmware->vars || firmware->vars_kept)
		return error_set(error, ENOSPC, "there are two pieces of flash memory: code and variables");
	else if (is_kept)
		firmware->vars_kept = path;
	else
		firmware->vars = path;
	return 0;
}

static int examine_flash(struct line *line, struct error *error)
{
	const json_t *one;
	const char *interface;
	bool is_kept;
	size_t i;

	json_array_foreach((json_t *)said(line, "drive"), i, one) {
		interface = keyval_text(one, "if");
		is_kept = !has(line, "snapshot") && !json_is_true(json_object_get(one, "readonly")) &&
			  !json_is_true(json_object_get(one, "snapshot"));
		if (interface && strcmp(interface, "pflash") == 0 &&
		    take_flash(line, keyval_text(one, "file"), is_kept, error) < 0)
			return -EINVAL;
	}
	json_array_foreach((json_t *)said(line, "pflash"), i, one)
		if (take_flash(line, json_string_value(one), !has(line, "snapshot"), error) < 0)
			return -EINVAL;
	return 0;
}

/* Letters of -boot, as QEMU checks them. */
static int check_order(const char *order, struct error *error)
{
	size_t i;

	for (i = 0; order && order[i]; i++) {
		if (order[i] < 'a' || order[i] > 'p')
			return error_set(error, EINVAL, "-boot: Invalid boot device '%c'", order[i]);
		if (strchr(order, order[i]) != order + i)
			return error_set(error, EINVAL, "-boot: Boot device '%c' was given twice", order[i]);
	}
	return 0;
}

/* -boot's part that firmware is told; in which turn each device comes: boot_turn_of. */
static int examine_boot_menu(struct line *line, struct error *error)
{
	const json_t *boot = said(line, "boot");
	uint64_t wait_ms = 0;

	if (check_order(keyval_text(boot, "order"), error) < 0 || check_order(keyval_text(boot, "once"), error) < 0 ||
	    keyval_number(boot, "splash-time", UINT16_MAX, &wait_ms, error) < 0)
		return -EINVAL;
	line->config.firmware_has_menu = json_is_true(json_object_get(boot, "menu"));
	line->config.boot_menu_ms = wait_ms;
	return 0;
}

/* QEMU's own files but UEFI's, wherever they lie. */
static bool is_plain_bios(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	return strncmp(name, "bios", 4) == 0 || strncmp(name, "qboot", 5) == 0;
}

int line_examine_boot(struct line *line, struct error *error)
{
	struct boot_config *boot = &line->config.boot;
	const char *bios = text(line, "bios");
	struct firmware_option firmware = {.what = "bios"};
	const struct firmware_option installed = {.what = "bios"};
	struct firmware_files other;

	boot->kernel = text(line, "kernel");
	boot->initrd = text(line, "initrd");
	boot->command_line = text(line, "append");
	if (examine_boot_menu(line, error) < 0 || examine_flash(line, error) < 0)
		return -EINVAL;
	if (!boot->kernel && (boot->initrd || boot->command_line))
		return error_set(error, EINVAL, "-append and -initrd are allowed only with -kernel");
	/* A BIOS does no more with a kernel than what is done without one. UEFI may boot it. */
	if (boot->kernel && !boot->firmware.code && (!bios || is_plain_bios(bios)))
		return 0;
	if (!board_kind_is_pc(line->type->board))
		return error_set(error, EINVAL, "nothing to boot: firmware needs -M pc or q35: use -kernel");
	if (boot->firmware.code && bios)
		return error_set(error, EINVAL, "-bios and if=pflash exclude each other");
	if (boot->firmware.code)
		return 0;
	/* Names that QEMU's own files have mean the BIOS that is installed. */
	if (bios && strcmp(bios, "bios-256k.bin") != 0 && strcmp(bios, "bios.bin") != 0)
		firmware.what = bios;
	if (firmware_option_find(&firmware, &boot->firmware, error) < 0)
		return -EINVAL;
	/* Whatever BIOS it is, the display's is the one that is installed. */
	if (!boot->firmware.vga_rom && firmware_option_find(&installed, &other, NULL) == 0) {
		boot->firmware.vga_rom = other.vga_rom;
		boot->firmware.virtio_vga_rom = other.virtio_vga_rom;
	}
	return 0;
}
