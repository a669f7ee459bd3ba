/* werror= and rerror=, of a -drive and of its device. */
#ifndef KVIK_CLI_QEMU_ON_ERROR_H
#define KVIK_CLI_QEMU_ON_ERROR_H

#include <jansson.h>
#include <stdbool.h>

#include "block/error_policy.h"
#include "util/error.h"

/* What a disk's policy is, by what was said of its -drive (NULL: it is a node) and of its device. 0, or -errno and `error`. */
int on_error_read(const json_t *drive, const json_t *device, bool is_cdrom, struct block_error_policy *policy,
		  struct error *error);

#endif
