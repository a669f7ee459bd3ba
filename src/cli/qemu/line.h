/*
 * From QEMU's command line to a machine's description: what is said is looked at, in an order in which
 * one thing can name another, files are opened, and a struct machine_config is filled.
 */
#ifndef KVIK_CLI_QEMU_LINE_H
#define KVIK_CLI_QEMU_LINE_H

#include "cli/qemu/line_state.h"

/* Look at everything, and add what the line means by itself. `line->said` is there. 0, or -errno and `error`. */
int line_examine(struct line *line, struct error *error);
/* Everything but the chardevs, which outlive the machine: chardevs_close. */
void line_free(struct line *line);

#endif
