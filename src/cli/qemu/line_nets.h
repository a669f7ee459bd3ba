/* The networks of a command line: -netdev, -nic and the old -net, and the one that there is by itself. */
#ifndef KVIK_CLI_QEMU_LINE_NETS_H
#define KVIK_CLI_QEMU_LINE_NETS_H

#include "cli/qemu/line_state.h"

/* Also the cards that come with them, as devices. 0, or -errno and `error`. */
int line_examine_nets(struct line *line, struct error *error);

#endif
