/* What chardev-add and chardev-change say of a console, as -chardev has it, and what has to be opened for it. */
#ifndef KVIK_CLI_QEMU_CHARDEV_BACKEND_H
#define KVIK_CLI_QEMU_CHARDEV_BACKEND_H

#include <jansson.h>

#include "monitor/facts.h"

/* -chardev's options of a command's arguments: QMP's "backend", or a person's words, "line". The caller's, or NULL and
 * `error`. */
json_t *chardev_backend_options(const json_t *arguments, struct error *error);

/* What somebody has to open for it (monitor_facts.open_file), as name[size]. False: nothing, or it is not opened so. */
bool chardev_backend_names(const json_t *options, enum monitor_file *kind, char *name, size_t size);

#endif
