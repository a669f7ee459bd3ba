/* The CPUs of a command line: how many, in which sockets and cores, and those that -device and device_add add. */
#ifndef KVIK_CLI_QEMU_LINE_CPUS_H
#define KVIK_CLI_QEMU_LINE_CPUS_H

#include "cli/qemu/line_state.h"

/* -smp. 0, or -EINVAL and `error`. */
int line_examine_cpus(struct line *line, struct error *error);

/* Which CPU a device is, checked: its type, its place. Its number, or -errno and `error`. */
int line_cpu_of(const struct line *line, const json_t *device, struct error *error);
/* One that is there from the start. 0, or -errno and `error`. */
int line_add_cpu(struct line *line, const json_t *device, struct error *error);

/* The device that a CPU is, of line->devices; NULL: it is none. */
json_t *line_find_cpu(const struct line *line, unsigned cpu);

#endif
