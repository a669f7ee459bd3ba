/* Disks and CD-ROM drives of a command line that are not virtio-blk's: IDE, AHCI, virtio-scsi, USB. */
#ifndef KVIK_CLI_QEMU_STORAGE_H
#define KVIK_CLI_QEMU_STORAGE_H

#include "cli/qemu/devices.h"
#include "cli/qemu/line_state.h"

/* -hda to -hdd and -cdrom become -drives; each -drive gets the interface that is the machine's own. 0 or -errno. */
int storage_take_short_options(struct line *line, struct error *error);
/* The device that a -drive's interface means; NULL: none. The caller's. A drive without a name gets the one that QEMU
 * gives it. 0 or -errno. */
int storage_device_of(struct line *line, struct drive *drive, json_t **device, struct error *error);

/* All controllers that devices hang on, before these. 0 or -errno. */
int storage_add_controllers(struct line *line, struct error *error);
/* One of them: its number, or -errno and `error`; it goes; whether a device hangs on it. */
int storage_add_controller(struct line *line, const struct device_driver *driver, const json_t *device, struct error *error);
void storage_forget_controller(struct line *line, unsigned number);
bool storage_is_on_controller(const json_t *device, unsigned number);
/* Whether a device of this role may hang on that bus. 0 or -errno. */
int storage_check_bus(const struct line *line, enum device_role role, const char *bus, struct error *error);
/* Open the image of a drive, and put it where its bus= and its places say. 0 or -errno. */
int storage_open(struct line *line, const struct device_driver *driver, const json_t *device,
		 struct error *error);

/* Whether there is a virtio-scsi adapter. */
bool storage_has_scsi(const struct line *line);
/* Whether what a device (usb-storage) says as drive= is a CD-ROM drive. */
bool storage_is_cdrom(struct line *line, const json_t *device);

#endif
