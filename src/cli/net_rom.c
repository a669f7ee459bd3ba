#include "cli/net_rom.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "device/bus/pci_rom.h"
#include "util/file.h"

/* Where Debian, Fedora, Arch and QEMU itself have them. */
static const char *const folders[] = {"/usr/lib/ipxe/qemu", "/usr/share/ipxe/qemu", "/usr/share/qemu",
				      "/usr/local/share/qemu"};

#define FOLDERS (sizeof(folders) / sizeof(folders[0]))

int net_rom_read(const char *name, struct board_net *net, struct error *error)
{
	/* These have images for a BIOS and for UEFI. */
	static const char *const roms[] = {
		[BOARD_NET_VIRTIO] = "efi-virtio.rom",
		[BOARD_NET_E1000] = "efi-e1000.rom",
		[BOARD_NET_E1000E] = "efi-e1000e.rom",
	};
	const char *own = roms[net->model], *file = name ? name : own;
	char path[512];
	unsigned i;

	if (strchr(file, '/'))
		return file_read(file, "expansion ROM", PCI_ROM_BYTES_MAX, &net->rom, &net->rom_size, error);
	for (i = 0; i < FOLDERS; i++) {
		snprintf(path, sizeof(path), "%s/%.100s", folders[i], file);
		if (access(path, R_OK) < 0)
			continue;
		net->rom_is_adapted = !name || strcmp(name, own) == 0;
		return file_read(path, "expansion ROM", PCI_ROM_BYTES_MAX, &net->rom, &net->rom_size, error);
	}
	if (name && access(name, R_OK) == 0)
		return file_read(name, "expansion ROM", PCI_ROM_BYTES_MAX, &net->rom, &net->rom_size, error);
	return error_set(error, ENOENT, "the network card's ROM is not installed (%s/%.100s): install ipxe-qemu, or name a "
					"file", folders[0], file);
}
