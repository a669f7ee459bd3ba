/*
 * How the CPUs and the memory of a machine look to people who debug what runs on it: text in the forms of QEMU's
 * monitor, which programs read, too.
 *
 * Everything here is called on the I/O thread while the machine stands still (machine_look_begin, inspect.h), and
 * changes nothing of it.
 */
#ifndef KVIK_MONITOR_LOOK_LOOK_H
#define KVIK_MONITOR_LOOK_LOOK_H

#include "machine/inspect.h"
#include "monitor/hmp_text.h"

struct look {
	struct machine *machine;
	unsigned cpu; /* whose registers and page tables are meant */
	struct hmp_text *text;
};

#endif
