/* A machine that is sent elsewhere, or received: stopped, then copied. */
#ifndef KVIK_MONITOR_MIGRATION_H
#define KVIK_MONITOR_MIGRATION_H

#include "monitor/monitor_state.h"
#include "util/error.h"

/* Send the machine to `fd`, which is taken over, as soon as it stands still; it stays paused when that has
 * worked, and goes on when it has not. */
void migration_send(struct monitor *monitor, int fd);
/* monitor_receive. Also while the machine waits. */
int migration_receive(struct monitor *monitor, int fd, bool listens, struct error *error);
void migration_paused(struct monitor *monitor); /* the machine stands still */
void migration_end(struct monitor *monitor);

/* A descriptor that came by getfd, which is the caller's then, or -1. */
int migration_take_descriptor(struct monitor *monitor, const char *name);
extern const char *const migration_status_names[];

#endif
