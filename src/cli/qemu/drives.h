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

/* Which device a -drive wants: "none", "virtio"; NULL: does not say. */
const char *drive_interface(const struct drive *drive);

struct drive *drives_find(struct drives *drives, const char *name); /* or NULL */
/* The one whose image the device with that id has open; or NULL. */
struct drive *drives_find_device(struct drives *drives, const char *id);

/* Whether there is anything in it, which of a CD-ROM drive need not be. */
bool drive_has_medium(const struct drive *drive);
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
/* A device's disk is another node from now on; what it was is free. */
void drive_replace(struct drives *drives, struct drive *old, struct drive *now);
/* A device's disk is one of the images below now; those that were on top are free. */
void drive_uncover(struct drives *drives, struct drive *drive);
/* A device's disk needs some of the images below its topmost no longer: their nodes are free. */
void drive_let_go_below(struct drives *drives, struct drive *drive);
/* It was put on top of `below`, whose device has it from now on. */
void drive_put_on(struct drive *drive, struct drive *below);

/* The device with that id has gone, and its image is closed; or it never came. */
void drive_release(struct drives *drives, struct drive *drive);
/* Forget one that nobody uses. 0, or -ENOENT, -EBUSY and `error`. */
int drives_remove(struct drives *drives, const char *name, struct error *error);

void drives_close(struct drives *drives); /* what was opened for them */

/* query-block's and query-named-block-nodes' answers; while the disks are open. */
json_t *drives_describe(const struct drives *drives);
json_t *drives_describe_nodes(const struct drives *drives);
/* Both are without CD-ROM drives, whose media change (media.h): of one medium's, while it is open. */
json_t *drive_describe_inserted(const struct drive *drive);
const char *drive_io_status(const struct drive *drive);

#endif
