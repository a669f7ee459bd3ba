/* The interrupt controllers. */
#ifndef KVIK_MONITOR_LOOK_CHIPS_H
#define KVIK_MONITOR_LOOK_CHIPS_H

#include "monitor/look/look.h"

void look_pic(const struct look *look);	  /* both PICs and the I/O APIC */
void look_lapic(const struct look *look); /* a CPU's own */

#endif
