/* Disks that a monitor gives to others by NBD (block/nbd_server.h): nbd-server-start, block-export-add and their like. All
 * on the I/O thread. */
#ifndef KVIK_CLI_QEMU_SERVED_H
#define KVIK_CLI_QEMU_SERVED_H

#include "cli/qemu/hotplug_state.h"

/* For hotplug_change, with the arguments of nbd-server-start, nbd-server-stop, block-export-add and block-export-del. 0, or
 * -errno and `error`. */
int served_start(struct hotplug *hotplug, const json_t *arguments, struct error *error);
int served_stop(struct hotplug *hotplug, const json_t *arguments, struct error *error);
int served_add(struct hotplug *hotplug, const json_t *arguments, struct error *error);
int served_remove(struct hotplug *hotplug, const json_t *arguments, struct error *error);

/* monitor_facts.read_exports, with a struct hotplug: query-block-exports' answer. */
json_t *served_describe(void *context);

/* End it, if there is one, before the monitors and disks go. */
void served_end(struct hotplug *hotplug);

#endif
