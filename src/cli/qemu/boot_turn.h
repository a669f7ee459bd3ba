/* When firmware boots a device: what -boot and bootindex= say. */
#ifndef KVIK_CLI_QEMU_BOOT_TURN_H
#define KVIK_CLI_QEMU_BOOT_TURN_H

#include "cli/qemu/line_state.h"

/* The first time and from the first reset on, as the board has them; 0: nothing is said of it. */
struct boot_turn {
	unsigned plus_1, later_plus_1;
};

/*
 * By the device's bootindex=, or by the letter of its kind in -boot once= and order=: 'c' disks, 'd' CD-ROMs, 'n' networks.
 * `number` is the device's among its kind. 0, or -errno and `error`.
 */
int boot_turn_of(const struct line *line, const json_t *device, char letter, unsigned number, struct boot_turn *turn,
		 struct error *error);

#endif
