/* -gdb and -s: where a debugger may connect. */
#ifndef KVIK_CLI_QEMU_LINE_GDB_H
#define KVIK_CLI_QEMU_LINE_GDB_H

#include "cli/qemu/line_state.h"

/* After the chardevs: line->gdb as the stub takes it (gdb.h), or NULL, and then perhaps line->gdb_chardev, a stream. 0, or -errno and `error`. */
int line_examine_gdb(struct line *line, struct error *error);

#endif
