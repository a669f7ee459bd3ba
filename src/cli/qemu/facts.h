/* What a monitor is told of a command line (monitor/monitor.h). */
#ifndef KVIK_CLI_QEMU_FACTS_H
#define KVIK_CLI_QEMU_FACTS_H

#include "cli/qemu/line_state.h"
#include "monitor/monitor.h"

/* The chardevs, disks and networks are open. facts_free in either case. 0, or -errno and `error`. */
int facts_collect(struct monitor_facts *facts, struct line *line, struct error *error);
/* Disks and devices have come or gone: tell of them as they are now. */
/* Only disks and media, of a machine that runs; NULL: it has not begun. */
struct machine;
void facts_look(struct monitor_facts *facts, const struct line *line, const struct machine *machine);
void facts_renew(struct monitor_facts *facts, const struct line *line);
void facts_free(struct monitor_facts *facts);

#endif
