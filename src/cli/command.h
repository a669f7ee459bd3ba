/*
 * `kvik run ... -- COMMAND`: a machine that is there for one command. Its kernel is a given one or one that is found,
 * its root directory the host's with a layer in memory above it, and its init kvik's own (guest/), which runs
 * the command where kvik was started.
 */
#ifndef KVIK_CLI_COMMAND_H
#define KVIK_CLI_COMMAND_H

#include "cli/run_options.h"

struct command {
	char *kernel, *initrd, *command_line; /* owned; what options point to */
	int archive;			      /* -1: none */
};

/* Complete the options of a run that has a command. The caller is the process's only thread. 0, or -errno and
 * `error`. command_free in either case, when the options are not used any more. */
int command_prepare(struct command *command, struct run_options *options, struct error *error);
void command_free(struct command *command);

#endif
