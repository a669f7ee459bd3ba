/* blockdev-create: images that monitors have made. */
#ifndef KVIK_CLI_QEMU_NEW_IMAGE_H
#define KVIK_CLI_QEMU_NEW_IMAGE_H

#include "cli/qemu/hotplug_state.h"

/* For hotplug_change, with BlockdevCreateOptions. 0, or -errno and `error`. */
int new_image_make(struct hotplug *hotplug, const json_t *options, struct error *error);

#endif
