/* The folders of a command line that guests use by virtio-9p: -fsdev and -virtfs. */
#ifndef KVIK_CLI_QEMU_FOLDERS_H
#define KVIK_CLI_QEMU_FOLDERS_H

#include <jansson.h>

#include "cli/qemu/keyval.h"
#include "machine/board_config.h"

/* What may be said of a -fsdev, and of a -virtfs, which is a device, too. */
extern const struct property fsdev_properties[], virtfs_properties[];

/* Check what a -fsdev or -virtfs says. 0, or -errno and `error`. */
int fsdev_check(const json_t *folder, struct error *error);

/* The device of a -virtfs; the caller's. */
json_t *fsdev_device_of(const json_t *virtfs);

/* Start the share that the device names among `fsdevs` and `virtfss`, lists or NULL. 0, or -errno and `error`. */
int fsdev_open(const json_t *fsdevs, const json_t *virtfss, const json_t *device, struct board_share *share,
		struct error *error);

#endif
