/* From what was said of a disk or node to its image. */
#ifndef KVIK_CLI_QEMU_DRIVE_SOURCE_H
#define KVIK_CLI_QEMU_DRIVE_SOURCE_H

#include "cli/qemu/drives.h"

/* Open the image for the device that the object describes (its serial number, ...); a CD-ROM is only read. 0,
 * or -errno and `error`. */
int drive_open(struct drives *drives, struct drive *drive, const json_t *device, bool is_cdrom,
	       struct block **block, struct error *error);

/* Open the image of a node, which nothing uses, to put it on a disk in use. 0, or -errno and `error`. */
int drive_open_overlay(struct drives *drives, struct drive *drive, struct block *block, struct block_overlay **overlay,
		       struct error *error);
/* The file of a node's image, by its path and, if it was opened for it, its descriptor (else -1), and its format. */
int drive_locate(struct drives *drives, struct drive *drive, const char **path, int *fd, const char **format,
		 struct error *error);

#endif
