/* What people name in a monitor's commands, opened: by a process that may open it. */
#ifndef KVIK_CLI_QEMU_NAMED_FILE_H
#define KVIK_CLI_QEMU_NAMED_FILE_H

#include "monitor/facts.h"

/*
 * Open what `name` says (monitor/facts.h). A command of exec: runs in /bin/sh, with a pipe to it or from it,
 * and is nobody's child. A descriptor, close-on-exec, or -errno and `error`.
 */
int named_file_open(enum monitor_file kind, const char *name, struct error *error);

#endif
