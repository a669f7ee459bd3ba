/* Where the gdb stub listens: the forms are told in gdb.h. */
#ifndef KVIK_MONITOR_GDB_LISTEN_H
#define KVIK_MONITOR_GDB_LISTEN_H

#include "util/error.h"

/* A listening socket that does not block, or -errno and `error`. */
int gdb_listen(const char *where, struct error *error);

#endif
