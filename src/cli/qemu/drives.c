#include "cli/qemu/drives.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/qemu/drive_node.h"
#include "cli/qemu/exports.h"
#include "cli/qemu/keyval.h"

struct drive *drives_find(struct drives *drives, const char *name)
{
	unsigned i;

	for (i = 0; i < drives->count; i++)
		if (strcmp(drives->list[i].name, name) == 0)
			return &drives->list[i];
	return NULL;
}

struct drive *drives_find_device(struct drives *drives, const char *id)
{
	unsigned i;

	for (i = 0; i < drives->count; i++)
		if (drives->list[i].block && strcmp(drives->list[i].device, id) == 0)
			return &drives->list[i];
	return NULL;
}

static int add(struct drives *drives, const json_t *options, const char *name, bool is_node,
	       struct error *error)
{
	struct drive *drive = &drives->list[drives->count];

	if (drives->count == DRIVES_MAX)
		return error_set(error, ENOSPC, "at most %u disks and nodes", DRIVES_MAX);
	*drive = (struct drive){.options = options, .is_node = is_node, .is_nameless = !name};
	if (name && strlen(name) >= sizeof(drive->name))
		return error_set(error, EINVAL, "'%.20s...' is too long a name", name);
	snprintf(drive->name, sizeof(drive->name), "%s", name ? name : "");
	if (!name)
		snprintf(drive->name, sizeof(drive->name), "#drive%u", drives->count);
	if (drives_find(drives, drive->name))
		return error_set(error, EEXIST, "there are two disks of the name %s", drive->name);
	drives->count++;
	return 0;
}

const char *drive_interface(const struct drive *drive)
{
	return keyval_text(drive->options, "if");
}

const char *drive_path(const json_t *options)
{
	const char *path = keyval_text(options, "file");

	return path ? path : keyval_text(options, "file.filename");
}

bool drive_has_medium(const struct drive *drive)
{
	return drive->is_node || drive_path(drive->options);
}

int drives_add(struct drives *drives, const json_t *options, struct error *error)
{
	const char *interface = keyval_text(options, "if"), *media = keyval_text(options, "media");
	const char *protocol = keyval_text(options, "file.driver"), *id = keyval_text(options, "id"), *path;
	bool is_cdrom = media && strcmp(media, "cdrom") == 0;

	if (protocol && strcmp(protocol, "nbd") == 0 && export_check_drive((json_t *)options, error) < 0)
		return -EINVAL;
	path = drive_path(options);
	if (strcmp(interface, "none") != 0 && strcmp(interface, "virtio") != 0 &&
	    strcmp(interface, "ide") != 0 && strcmp(interface, "scsi") != 0)
		return error_set(error, ENOTSUP,
				 "if=%.60s is not there: use ide, scsi, virtio, none or pflash", interface);
	if (is_cdrom && strcmp(interface, "virtio") == 0)
		return error_set(error, ENOTSUP, "a CD-ROM is not on virtio-blk: use if=ide or if=scsi");
	if (!path && !is_cdrom && strcmp(interface, "none") != 0)
		return error_set(error, EINVAL, "file=FILE is needed");
	return add(drives, options, id ? id : keyval_text(options, "node-name"), false, error);
}

int drives_add_node(struct drives *drives, const json_t *options, struct error *error)
{
	const char *name = keyval_text(options, "node-name"), *other;
	unsigned i;

	if (!name || !*name)
		return error_set(error, EINVAL, "node-name=NAME is needed");
	if (drive_node_check((json_t *)options, error) < 0)
		return -EINVAL;
	/* What is there already: so none leads back to itself. */
	for (i = 0; i < 2; i++) {
		other = keyval_text(options, drive_node_references[i]);
		if (other && *other && !drives_find(drives, other))
			return error_set(error, ENOENT, "%s: there is no node '%.60s' yet: add it before '%.60s'", drive_node_references[i], other,
					 name);
	}
	return add(drives, options, name, true, error);
}

void drives_close(struct drives *drives)
{
	unsigned i;

	for (i = 0; i < drives->count; i++)
		if (drives->list[i].fd_plus_1)
			close(drives->list[i].fd_plus_1 - 1);
	drives->count = 0;
}
