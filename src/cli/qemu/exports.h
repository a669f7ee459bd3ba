/* Disks that NBD servers have, as -blockdev driver=nbd and file.driver=nbd of -drive say them. */
#ifndef KVIK_CLI_QEMU_EXPORTS_H
#define KVIK_CLI_QEMU_EXPORTS_H

#include <jansson.h>
#include <stdbool.h>

#include "util/error.h"

bool export_is_node(const json_t *node);
/* Check a node of the driver, and say as its "filename" what block_open knows it by. 0, or -errno and `error`. */
int export_check(json_t *node, struct error *error);
/* That name alone, of a node that nobody has checked. The caller's to free; NULL and `error`. */
char *export_filename(const json_t *node, struct error *error);
/* The same of a -drive that says file.driver=nbd, whose "file" it becomes. */
int export_check_drive(json_t *drive, struct error *error);

#endif
