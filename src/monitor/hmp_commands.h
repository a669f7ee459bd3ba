/* What people can type. */
#ifndef KVIK_MONITOR_HMP_COMMANDS_H
#define KVIK_MONITOR_HMP_COMMANDS_H

#include "monitor/hmp_text.h"
#include "monitor/monitor_state.h"

/* Carry out a human's line, and append what it prints to `text`. `*cpu` is the one that the session looks at, which
 * the line may change. */
void hmp_run(struct monitor *monitor, const char *line, unsigned *cpu, struct hmp_text *text);

#endif
