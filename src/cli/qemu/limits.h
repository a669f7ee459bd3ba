/* Limits of disks, as -drive and block_set_io_throttle say them. */
#ifndef KVIK_CLI_QEMU_LIMITS_H
#define KVIK_CLI_QEMU_LIMITS_H

#include <jansson.h>

#include "cli/qemu/hotplug_state.h"

/* drive_open, with the limits that a -drive says. 0, or -errno and `error`. */
int limits_open(struct drives *drives, struct drive *drive, const json_t *device, bool is_cdrom, struct block **block,
		struct error *error);

/* block_set_io_throttle, for hotplug_change. Likewise. */
int limits_set(struct hotplug *hotplug, const json_t *arguments, struct error *error);

#endif
