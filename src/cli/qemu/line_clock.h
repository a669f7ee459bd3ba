/* -rtc: what the clock of a command line's machine shows when it begins. */
#ifndef KVIK_CLI_QEMU_LINE_CLOCK_H
#define KVIK_CLI_QEMU_LINE_CLOCK_H

#include "cli/qemu/line_state.h"

/* 0, or -EINVAL and `error`. */
int line_examine_clock(struct line *line, struct error *error);

#endif
