/* What was not said of a run, and what of it cannot be. */
#ifndef KVIK_CLI_RUN_DEFAULTS_H
#define KVIK_CLI_RUN_DEFAULTS_H

#include "cli/run_options.h"

/* Decide the rest of what run_options_parse has left open, and check the whole. 0, or -EINVAL with one line in
 * `error`. */
int run_defaults(struct run_options *options, struct error *error);

#endif
