/* What monitors do to disks that devices use: another size, images on top, and what was done with them. All on the I/O
 * thread. */
#ifndef KVIK_CLI_QEMU_DISKS_H
#define KVIK_CLI_QEMU_DISKS_H

#include "cli/qemu/hotplug_state.h"

/* block_resize, for hotplug_change. 0, or -errno and `error`. */
int disks_resize(struct hotplug *hotplug, const json_t *arguments, struct error *error);
/* transaction, likewise: images are put on top of all its disks at one moment, or of none. */
int disks_put_on_top(struct hotplug *hotplug, const json_t *arguments, struct error *error);

/* monitor_facts.read_block_counts, with a struct line. */
json_t *disks_read_counts(void *context, bool of_nodes);

#endif
