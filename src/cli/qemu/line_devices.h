/* The devices of a command line that line_places.h has placed: their files, what they are connected with, and
 * those that come and go. */
#ifndef KVIK_CLI_QEMU_LINE_DEVICES_H
#define KVIK_CLI_QEMU_LINE_DEVICES_H

#include "cli/qemu/line_state.h"

/* Open disks and networks, into line->config; they are the machine's from machine_create on. The caller is
 * the process's only thread. 0, or -errno and `error`: none is open. */
int line_open_devices(struct line *line, struct error *error);
/* Whether a device that comes while the machine is there may be called so. 0, or -errno and `error`. */
int line_check_plugged(struct line *line, json_t *device, struct error *error);
/*
 * A device that comes while the machine is there: checked, given its place, behind a root port or on the pc's bus, and opened
 * into `plug`, whose parts are in line->config and the caller's to close. It is added to line->devices. 0, or -errno
 * and `error`.
 */
int line_plug_device(struct line *line, json_t *device, struct board_plug *plug, struct error *error);
/* The slot that a device can be taken out of (BOARD_PLACE_SLOT); 0: there it stays. */
unsigned line_device_slot(const struct line *line, const json_t *device);
/* Forget a device of line->devices, which has gone. */
void line_unplug_device(struct line *line, json_t *device);

/* Connect devices with the chardevs, which are open. 0, or -errno and `error`. */
int line_connect(struct line *line, struct error *error);

#endif
