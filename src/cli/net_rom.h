/*
 * Expansion ROMs of network cards, by which firmware boots from a network: iPXE's, as the ipxe-qemu package installs
 * them, or a file that was named.
 */
#ifndef KVIK_CLI_NET_ROM_H
#define KVIK_CLI_NET_ROM_H

#include "machine/board.h"
#include "util/error.h"

/*
 * Read the ROM for a card of net's model. `name` is a path, or the name that a file of that package has (efi-e1000.rom);
 * NULL: the model's own. 0, or -errno and `error`: -ENOENT when it is not there.
 */
int net_rom_read(const char *name, struct board_net *net, struct error *error);

#endif
