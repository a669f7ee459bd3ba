/* Where a machine's consoles and monitors lead: -serial, -monitor, -qmp, -mon, -chardev, -debugcon. */
#ifndef KVIK_CLI_QEMU_LINE_CONSOLES_H
#define KVIK_CLI_QEMU_LINE_CONSOLES_H

#include "cli/qemu/line_state.h"

/* 0, or -errno and `error`. */
int line_examine_consoles(struct line *line, struct error *error);

#endif
