/* A kernel to boot for a command (kvik run -- COMMAND), and its modules. */
#ifndef KVIK_CLI_GUEST_KERNEL_H
#define KVIK_CLI_GUEST_KERNEL_H

#include <limits.h>

#include "util/error.h"

/* One that is there: the tree's tools' (tools/guest-image), or the host's own. 0 or -errno. */
int guest_kernel_find(char path[PATH_MAX], struct error *error);

/*
 * The directory of a kernel's modules, as depmod(8) has it: beside the kernel, in lib/modules/VERSION, or the host's.
 * "" when there is none: a kernel may have all built in. 0, or -errno: the kernel cannot be read.
 */
int guest_kernel_modules(const char *kernel, char path[PATH_MAX], struct error *error);

#endif
