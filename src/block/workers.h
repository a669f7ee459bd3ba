/*
 * Threads for what waits: a queue of jobs, and up to WORKERS_MAX threads that are made as they are
 * needed. A job that was done is handed back to the disk's I/O thread, which a signal wakes.
 */
#ifndef KVIK_BLOCK_WORKERS_H
#define KVIK_BLOCK_WORKERS_H

#include <stdbool.h>

#include "util/error.h"
#include "util/event_signal.h"

#define WORKERS_MAX 8

/* Embedded in what is to be done. */
struct job {
	void (*run)(struct job *job);  /* on a worker */
	void (*done)(struct job *job); /* on the I/O thread; the job may be freed */
	struct job *next;
};

struct workers;

/* `done`, which outlives them, is raised when there are jobs for workers_reap. NULL, and `error`, on failure. */
struct workers *workers_create(const struct event_signal *done, struct error *error);
/* When no job is left. */
void workers_destroy(struct workers *workers);

/* Any thread. Where no thread can be made the job runs here and now. */
void workers_add(struct workers *workers, struct job *job);
/* Call `done` of what is done. The I/O thread. Whether there was anything. */
bool workers_reap(struct workers *workers);

#endif
