/* What people can type about snapshots of the machine. */
#ifndef KVIK_MONITOR_HMP_SNAPSHOTS_H
#define KVIK_MONITOR_HMP_SNAPSHOTS_H

#include "monitor/hmp_text.h"
#include "monitor/monitor_state.h"

/* `rest` is what comes behind the command's name. */
void hmp_savevm(struct monitor *monitor, char *rest, struct hmp_text *text);
void hmp_loadvm(struct monitor *monitor, char *rest, struct hmp_text *text);
void hmp_delvm(struct monitor *monitor, char *rest, struct hmp_text *text);
void hmp_info_snapshots(struct monitor *monitor, struct hmp_text *text);

#endif
