/* The disks of a command line: -drive and the nodes of -blockdev, by name, until a device opens one. */
#ifndef KVIK_CLI_QEMU_DRIVES_H
#define KVIK_CLI_QEMU_DRIVES_H

#include <jansson.h>

#include "block/block.h"
#include "cli/qemu/fdsets.h"
#include "util/error.h"

#define DRIVES_MAX 64

struct drive {
	const json_t *options; /* of -drive or -blockdev, the line's */
	char name[64];	       /* id= or node-name=, or one that it was given */
	bool is_node;	       /* a -blockdev */
	bool is_nameless;      /* has the name that it was given */
	bool is_used;
	int fd_plus_1; /* of its file, which was opened for it: the drive's own; 0: none was */
	/* Once it is opened: */
	char device[64]; /* the id of its device */
	struct block *block; /* the device's */
	bool no_flush, is_direct, is_cdrom;
	char group[64]; /* of disks that have limits together (limits.h); "": it has none */
	/* Images that monitors have put on top (disks.h): */
	char node_name[64]; /* of a -drive, that of the topmost; "": its own */
	char below[64];	    /* of a node, the node or drive that it was put on; "": none */
};

struct drives {
	const struct fdsets *fdsets;
	bool snapshot; /* of all */
	bool is_sealed; /* the process is confined, or about to be: it can connect to no server any more */
	struct drive list[DRIVES_MAX];
	unsigned count;
};

/* 0, or -errno and `error`. */
int drives_add(struct drives *drives, const json_t *options, struct error *error);
int drives_add_node(struct drives *drives, const json_t *options, struct error *error);

/* The file that a -drive's options name; NULL: none. */
const char *drive_path(const json_t *options);
/* Which device a -drive wants: "none", "virtio"; NULL: does not say. */
const char *drive_interface(const struct drive *drive);

struct drive *drives_find(struct drives *drives, const char *name); /* or NULL */
/* The one whose image the device with that id has open; or NULL. */
struct drive *drives_find_device(struct drives *drives, const char *id);

/* Whether there is anything in it, which of a CD-ROM drive need not be. */
bool drive_has_medium(const struct drive *drive);

void drives_close(struct drives *drives); /* what was opened for them */

#endif
