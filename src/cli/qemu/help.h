/* What is asked for instead of a run: help, lists, the version. */
#ifndef KVIK_CLI_QEMU_HELP_H
#define KVIK_CLI_QEMU_HELP_H

#include <stdbool.h>

/* Whether anything on the line asks for some, which is then on standard output. */
bool help_print(int count, char **arguments);

#endif
