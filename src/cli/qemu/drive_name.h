/* What the name of a -drive's file may be besides a file's: "json:{...}", and protocols. */
#ifndef KVIK_CLI_QEMU_DRIVE_NAME_H
#define KVIK_CLI_QEMU_DRIVE_NAME_H

#include <jansson.h>

#include "util/error.h"

/* Put a name that is a description into the drive's own keys. 0, or -errno and `error`: it is none, or of a protocol that is
 * not there. */
int drive_name_take(json_t *drive, struct error *error);
/* Whether two drives that are written to have the same file: -EBUSY and `error`. */
int drive_names_check(const json_t *drives, struct error *error);

#endif
