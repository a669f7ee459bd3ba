/*
 * Jobs: what QMP starts, and answers before it is done; how it went is told by events and kept until the job is
 * dismissed. A job is a snapshot that is made, loaded or deleted (commands_jobs.c), or a copy of a disk (commands_block_jobs.c).
 */
#ifndef KVIK_MONITOR_JOBS_H
#define KVIK_MONITOR_JOBS_H

#include "monitor/monitor_state.h"

void jobs_carry_out(void *context); /* job_timer.expired; the context is the monitor */
void jobs_end(struct monitor *monitor);

struct qmp_call;
/* Of copies, which are found before a snapshot of that name: do what is to be done, describe them in query-jobs' array, end them all. */
void block_jobs_look(struct monitor *monitor);
void block_jobs_describe(struct monitor *monitor, json_t *answer);
void block_jobs_end(struct monitor *monitor);
enum block_job_verb { BLOCK_JOB_CANCEL, BLOCK_JOB_COMPLETE, BLOCK_JOB_DISMISS, BLOCK_JOB_PAUSE, BLOCK_JOB_RESUME };
extern const char *const block_job_verbs[];
/* 0, -ENOENT: there is none of that name, or another -errno and the call's error. */
int block_job_do(struct qmp_call *call, const char *id, enum block_job_verb verb);

#endif
