#include "cli/firmware_option.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* SeaBIOS, as Debian, Fedora, Arch and QEMU itself install it. */
static const char *const bios_paths[] = {
	"/usr/share/seabios/bios-256k.bin",
	"/usr/share/seavgabios/bios-256k.bin",
	"/usr/share/qemu/bios-256k.bin",
	"/usr/local/share/qemu/bios-256k.bin",
};

int firmware_option_find(const char *value, const char **path, struct error *error)
{
	unsigned i;

	if (strcmp(value, "uefi") == 0)
		return error_set(error, EINVAL, "'uefi' is not there yet: use bios or a FILE");
	if (strcmp(value, "bios") != 0) {
		*path = value;
		return 0;
	}
	for (i = 0; i < sizeof(bios_paths) / sizeof(bios_paths[0]); i++) {
		if (access(bios_paths[i], R_OK) == 0) {
			*path = bios_paths[i];
			return 0;
		}
	}
	return error_set(error, ENOENT,
			 "no BIOS is installed (%s): install SeaBIOS (Debian: seabios), or name a "
			 "FILE with --firmware",
			 bios_paths[0]);
}
