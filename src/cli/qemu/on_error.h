/* werror= and rerror=, of a -drive and of its device. */
#ifndef KVIK_CLI_QEMU_ON_ERROR_H
#define KVIK_CLI_QEMU_ON_ERROR_H

#include <jansson.h>

#include "block/error_policy.h"

/* What a disk's policy is, by what was said of its -drive (NULL: it is a node) and of its device; of a CD-ROM drive that of
 * whatever is in it. */
struct block_error_policy on_error_read(const json_t *drive, const json_t *device);

#endif
