/* What monitors do to disks that devices use: another size, images on top, and what was done with them. All on the I/O
 * thread. */
#ifndef KVIK_CLI_QEMU_DISKS_H
#define KVIK_CLI_QEMU_DISKS_H

#include "cli/qemu/hotplug_state.h"

/* A disk that a device uses, by the name of its -drive, its node or its device. 0, or -ENOENT and `error`. */
int disks_find(struct hotplug *hotplug, const char *name, struct drive **drive, struct error *error);

/* block_resize, for hotplug_change. 0, or -errno and `error`. */
int disks_resize(struct hotplug *hotplug, const json_t *arguments, struct error *error);
/* transaction, likewise: images are put on top of all its disks at one moment, or of none. */
int disks_put_on_top(struct hotplug *hotplug, const json_t *arguments, struct error *error);

/* machine_observer.disk_failed, with a struct hotplug. */
struct block_failure;
void disks_failed(void *hotplug, const struct block *block, const struct block_failure *failure);

/* monitor_facts.read_block_counts, with a struct line. */
json_t *disks_read_counts(void *context, bool of_nodes);

#endif
