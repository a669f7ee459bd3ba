/* Consoles that come, go and lead elsewhere while the machine is there: chardev-add and its like. */
#ifndef KVIK_CLI_QEMU_CHARDEV_CHANGES_H
#define KVIK_CLI_QEMU_CHARDEV_CHANGES_H

#include <jansson.h>

#include "util/error.h"

/* monitor_facts.read_chardevs and change_chardev; `context` is a struct hotplug. */
json_t *chardev_changes_describe(void *context);
json_t *chardev_changes_make(void *context, const char *command, const json_t *arguments, struct error *error);

#endif
