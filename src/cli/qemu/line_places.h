/*
 * Which devices a command line's board can have, and where they go: drivers, buses, slots, ports of USB.
 */
#ifndef KVIK_CLI_QEMU_LINE_PLACES_H
#define KVIK_CLI_QEMU_LINE_PLACES_H

#include "cli/qemu/line_state.h"

/* Look at a device that is to be: its driver, which gets its name on this board, properties and bus. 0, or -errno
 * and `error`. */
int line_check_device(struct line *line, json_t *device, struct error *error);
/* Of the root port with that id among the line's, from 1 on; 0: the bus is no port. */
unsigned line_port_number(const struct line *line, const char *bus);
/* The port of USB that a device is at, from 1 on; 0: it has none yet, or is no USB device; or -EINVAL and `error`. */
int line_usb_port(const json_t *device, struct error *error);
/* Check line->devices, and give each its place. 0, or -errno and `error`. */
int line_place_devices(struct line *line, struct error *error);
/* A device that comes while the machine is there: its place, behind a root port, on the pc's bus or at a port of USB.
 * Likewise. */
int line_place_plugged(struct line *line, json_t *device, struct error *error);

#endif
