/* What `--firmware` says. */
#ifndef KVIK_CLI_FIRMWARE_OPTION_H
#define KVIK_CLI_FIRMWARE_OPTION_H

#include "util/error.h"

/* The file that "bios" means, as packages install it, or `value` itself: a path. 0 and the path, which
 * lives as long as `value`, or -errno and `error`. */
int firmware_option_find(const char *value, const char **path, struct error *error);

#endif
