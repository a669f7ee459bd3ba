/* The processes that take part (supervise.h): how they begin, and what they tell one another. */
#ifndef KVIK_SUPERVISE_PROCESSES_H
#define KVIK_SUPERVISE_PROCESSES_H

#include <signal.h>
#include <sys/types.h>

#include "util/error.h"

/* What the supervisor tells the process in front of it: first either of the two that say how it began, then the
 * end. */
struct report {
	enum report_kind { REPORT_RUNS, REPORT_FAILED, REPORT_ENDED } kind;
	pid_t program;      /* RUNS */
	int status;         /* ENDED: as waitpid(2) gives it */
	struct error error; /* FAILED */
};

/* Start the program and serve it and its children until none is left. `reports` is a socket to the
 * process in front. Does not return. */
_Noreturn void supervisor_main(int reports, const char *path, char **arguments,
                               const sigset_t *signal_mask);

/* Let go of the caller's files but standard error, with standard input and output from and to
 * nowhere: what the program closes must not stay open in a process around it. */
void release_files(const int *kept, unsigned count);

/*
 * Be the program (filter.c): install the filter, send its descriptor over `channel`, wait for an
 * answer there and execute. When that fails, -errno goes over the channel instead of its end. Does
 * not return.
 */
_Noreturn void program_main(int channel, const char *path, char **arguments,
                            const sigset_t *signal_mask);

#endif
