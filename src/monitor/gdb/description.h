/* The description of a vCPU's registers for gdb (target descriptions: its manual, appendix G). */
#ifndef KVIK_MONITOR_GDB_DESCRIPTION_H
#define KVIK_MONITOR_GDB_DESCRIPTION_H

#include <stddef.h>

#include "monitor/gdb/layout.h"

/* The description in XML, cut off after `size` bytes; how many there are of it. */
size_t gdb_layout_describe(const struct gdb_layout *layout, char *text, size_t size);

#endif
