/* Dirty bitmaps of disks that devices use (block/dirty.h), as monitors have them. */
#ifndef KVIK_CLI_QEMU_BITMAPS_H
#define KVIK_CLI_QEMU_BITMAPS_H

#include "cli/qemu/hotplug_state.h"

/*
 * For hotplug_change: the arguments of block-dirty-bitmap-VERB with the VERB as "verb"; of "clear" with "is-kept" only what was
 * set is put aside until "restore" or "forget". 0, or -errno and `error`.
 */
int bitmaps_change(struct hotplug *hotplug, const json_t *arguments, struct error *error);

/* A disk's, for a backup. NULL and `error`: there is none of that name. */
struct block_bitmap *bitmaps_find(const struct drive *drive, const char *name, struct error *error);

#endif
