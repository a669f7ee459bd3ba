/* A machine that is sent elsewhere, or received (machine/migrate.h), and what monitors know of that. */
#ifndef KVIK_MONITOR_MIGRATION_H
#define KVIK_MONITOR_MIGRATION_H

#include "monitor/monitor_state.h"
#include "util/error.h"

/* QEMU's, until somebody sets others. */
#define MIGRATION_BYTES_PER_S (128ull << 20)
#define MIGRATION_DOWNTIME_MS 300

/* Send the machine to `fd`, which is taken over: it stays paused when that has worked, and goes on when it has not.
 * 0, or -errno and `error`. */
int migration_send(struct monitor *monitor, int fd, struct error *error);
bool migration_is_active(const struct monitor *monitor); /* of one that is sent */
void migration_cancel(struct monitor *monitor);
void migration_set_limits(struct monitor *monitor, const struct migration_limits *limits);
/* monitor_receive. Also while the machine waits. */
int migration_receive(struct monitor *monitor, int fd, bool listens, struct error *error);
void migration_end(struct monitor *monitor);

/* A descriptor that came by getfd, which is the caller's then, or -1. */
int migration_take_descriptor(struct monitor *monitor, const char *name);
extern const char *const migration_status_names[];

#endif
