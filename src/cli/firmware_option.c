#include "cli/firmware_option.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* SeaBIOS and OVMF, as Debian, Fedora, Arch and QEMU itself install them. OVMF without secure boot, which
 * needs system management mode. */
#define BIOS_FILES(folder)                                                                         \
	{.code = folder "bios-256k.bin", .vga_rom = folder "vgabios-stdvga.bin",                    \
	 .virtio_vga_rom = folder "vgabios-virtio.bin"}
static const struct firmware_files bios_files[] = {
	BIOS_FILES("/usr/share/seabios/"),
	BIOS_FILES("/usr/share/qemu/"),
	BIOS_FILES("/usr/local/share/qemu/"),
};
#undef BIOS_FILES
static const struct firmware_files uefi_files[] = {
	{.code = "/usr/share/OVMF/OVMF_CODE_4M.fd", .vars = "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{.code = "/usr/share/OVMF/OVMF_CODE.fd", .vars = "/usr/share/OVMF/OVMF_VARS.fd"},
	{.code = "/usr/share/edk2/ovmf/OVMF_CODE.fd", .vars = "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	{.code = "/usr/share/edk2/x64/OVMF_CODE.4m.fd", .vars = "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
};

int firmware_option_parse(struct firmware_option *option, const char *text, struct error *error)
{
	char *comma;

	firmware_option_free(option);
	option->text = strdup(text);
	if (!option->text)
		return error_set_errno(error, ENOMEM, "'%s'", text);
	option->what = option->text;
	comma = strstr(option->text, ",vars=");
	if (comma) {
		*comma = 0;
		option->vars = comma + strlen(",vars=");
	}
	if (!*option->what || (option->vars && !*option->vars))
		return error_set(error, EINVAL, "'%s': use bios, uefi or a FILE, and ,vars=FILE", text);
	if (option->vars && strcmp(option->what, "bios") == 0)
		return error_set(error, EINVAL, "a BIOS has no variables: use uefi");
	return 0;
}

void firmware_option_free(struct firmware_option *option)
{
	free(option->text);
	*option = (struct firmware_option){.text = NULL};
}

static int find(const struct firmware_files *list, unsigned count, const char *what,
		struct firmware_files *files, struct error *error)
{
	unsigned i;

	for (i = 0; i < count; i++) {
		if (access(list[i].code, R_OK) == 0) {
			*files = list[i];
			return 0;
		}
	}
	return error_set(error, ENOENT,
			 "%s is not installed (%s): install it, or name a FILE with --firmware", what,
			 list[0].code);
}

int firmware_option_find(const struct firmware_option *option, struct firmware_files *files,
			 struct error *error)
{
	int result = 0;

	*files = (struct firmware_files){.code = option->what};
	if (strcmp(option->what, "bios") == 0)
		result = find(bios_files, sizeof(bios_files) / sizeof(bios_files[0]),
			      "SeaBIOS (Debian's seabios)", files, error);
	else if (strcmp(option->what, "uefi") == 0)
		result = find(uefi_files, sizeof(uefi_files) / sizeof(uefi_files[0]),
			      "OVMF (Debian's ovmf)", files, error);
	files->vars_kept = option->vars;
	return result;
}
