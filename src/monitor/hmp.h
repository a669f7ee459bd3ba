/* The human's monitor from inside the room. */
#ifndef KVIK_MONITOR_HMP_H
#define KVIK_MONITOR_HMP_H

#include "monitor/hmp_text.h"
#include "monitor/monitor_state.h"
#include "util/error.h"

/* A session on a stream. 0, or -errno and `error`. */
int hmp_add_session(struct monitor *monitor, struct char_stream *stream, struct error *error);
void hmp_end(struct monitor *monitor); /* all sessions */

#endif
