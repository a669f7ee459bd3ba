/*
 * Jobs: what QMP starts, and answers before it is done; how it went is told by events and kept until the job is
 * dismissed. A job here is a snapshot that is made, loaded or deleted (commands_jobs.c).
 */
#ifndef KVIK_MONITOR_JOBS_H
#define KVIK_MONITOR_JOBS_H

#include "monitor/monitor_state.h"

void jobs_carry_out(void *context); /* job_timer.expired; the context is the monitor */
void jobs_end(struct monitor *monitor);

#endif
