/* What a command line boots: a kernel, firmware, the flash memory that holds it, and -boot. */
#ifndef KVIK_CLI_QEMU_LINE_BOOT_H
#define KVIK_CLI_QEMU_LINE_BOOT_H

#include "cli/qemu/line_state.h"

/* 0, or -errno and `error`. */
int line_examine_boot(struct line *line, struct error *error);

#endif
