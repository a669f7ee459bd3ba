/* What stands on what while it is in use: images that monitors put on top, and nodes that name others. */
#ifndef KVIK_CLI_QEMU_DRIVE_CHAIN_H
#define KVIK_CLI_QEMU_DRIVE_CHAIN_H

#include "cli/qemu/drives.h"

/* A device's disk is another node from now on; what it was is free. */
void drive_replace(struct drives *drives, struct drive *old, struct drive *now);
/* A device's disk is one of the images below now; those that were on top are free. */
void drive_uncover(struct drives *drives, struct drive *drive);
/* A device's disk needs some of the images below its topmost no longer: their nodes are free. */
void drive_let_go_below(struct drives *drives, struct drive *drive);
/* It was put on top of `below`, whose device has it from now on. */
void drive_put_on(struct drive *drive, struct drive *below);

/* The device with that id has gone, and its image is closed; or it never came. */
void drive_release(struct drives *drives, struct drive *drive);
/* Forget one that nobody uses. 0, or -ENOENT, -EBUSY and `error`. */
int drives_remove(struct drives *drives, const char *name, struct error *error);

#endif
