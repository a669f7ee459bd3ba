/* What monitors are told of the disks. */
#ifndef KVIK_CLI_QEMU_DRIVE_FACTS_H
#define KVIK_CLI_QEMU_DRIVE_FACTS_H

#include "cli/qemu/drives.h"

/* query-block's and query-named-block-nodes' answers; while the disks are open. */
json_t *drives_describe(const struct drives *drives);
json_t *drives_describe_nodes(const struct drives *drives);
/* Both are without CD-ROM drives, whose media change (media.h): of one medium's, while it is open. */
json_t *drive_describe_inserted(const struct drive *drive);
const char *drive_io_status(const struct drive *drive);

#endif
