#include "cli/qemu/drive_chain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/image.h"
#include "cli/qemu/drive_node.h"
#include "cli/qemu/drive_source.h"
#include "cli/qemu/keyval.h"

/* The disk of `from`, and what is known of it. */
static void move_disk(struct drive *to, struct drive *from)
{
	to->block = from->block;
	to->no_flush = from->no_flush;
	memcpy(to->group, from->group, sizeof(to->group));
	to->is_direct = from->is_direct;
	memcpy(to->device, from->device, sizeof(to->device));
	from->block = NULL;
	from->device[0] = 0;
}

void drive_replace(struct drives *drives, struct drive *old, struct drive *now)
{
	now->is_used = true;
	if (!old->is_node) {
		memcpy(now->below, old->name, sizeof(now->below));
		memcpy(old->node_name, now->name, sizeof(old->node_name));
		return;
	}
	move_disk(now, old);
	drive_release(drives, old);
}

void drive_uncover(struct drives *drives, struct drive *drive)
{
	struct block *block = drive->block;
	struct drive *top = drive->is_node ? drive : drives_find(drives, drive->node_name), *below;
	const char *path, *format;
	struct error error;
	int fd;

	for (; top && top->is_node; top = below) {
		below = *top->below ? drives_find(drives, top->below) : NULL;
		if (!below || (drive_locate(drives, top, &path, &fd, &format, &error) == 0 &&
			       strcmp(path, block_info(block)->path) == 0))
			break;
		if (top->block)
			move_disk(below, top);
		top->is_used = false;
		top->below[0] = 0;
	}
	if (!drive->is_node)
		snprintf(drive->node_name, sizeof(drive->node_name), "%s", top && top->is_node ? top->name : "");
}

static bool is_in_chain(struct drives *drives, struct drive *drive, const struct block *block)
{
	struct node *image = block_image(block);
	const char *path, *format;
	struct error unseen;
	int fd;

	if (drive_locate(drives, drive, &path, &fd, &format, &unseen) < 0)
		return false;
	while (image && strcmp(image_path(image), path) != 0)
		image = image_below(image);
	return image;
}

/* What a node stands on, as it was put there or says itself; NULL: none that has a name. */
static struct drive *find_below(struct drives *drives, const struct drive *drive)
{
	const char *backing = keyval_text(drive->options, "backing");

	if (*drive->below)
		return drives_find(drives, drive->below);
	return backing ? drives_find(drives, backing) : NULL;
}

/* What was right below it, and is in no chain any more. */
static void let_go_below(struct drives *drives, struct drive *above, const struct block *block)
{
	struct drive *below, *next, *file;
	const char *name;

	for (below = find_below(drives, above); below && below->is_node && !is_in_chain(drives, below, block); below = next) {
		next = find_below(drives, below);
		name = keyval_text(below->options, "file");
		file = name ? drives_find(drives, name) : NULL;
		if (file)
			file->is_used = false;
		below->is_used = false;
		below->below[0] = 0;
	}
	if (*above->below)
		snprintf(above->below, sizeof(above->below), "%s", below ? below->name : "");
	else if (json_object_get(above->options, "backing"))
		json_object_set_new((json_t *)above->options, "backing", below ? json_string(below->name) : json_null());
}

void drive_let_go_below(struct drives *drives, struct drive *drive)
{
	const struct block *block = drive->block;
	struct drive *at = drive->is_node ? drive : drives_find(drives, drive->node_name);

	for (; at && at->is_node; at = find_below(drives, at))
		let_go_below(drives, at, block);
}

void drive_put_on(struct drive *drive, struct drive *below)
{
	drive->is_used = true;
	memcpy(drive->below, *below->node_name ? below->node_name : below->name, sizeof(drive->below));
	/* A -drive is what its device has, whatever is in it; a node is an image. */
	if (!below->is_node) {
		memcpy(below->node_name, drive->name, sizeof(below->node_name));
		return;
	}
	move_disk(drive, below);
}

/* A node that names this one, in use or not (`used`: in use); or NULL. */
static const struct drive *find_referrer(const struct drives *drives, const char *name, bool used)
{
	unsigned i, k;

	for (i = 0; i < drives->count; i++) {
		for (k = 0; k < 2 && drives->list[i].is_node && (drives->list[i].is_used || !used); k++) {
			const char *other = keyval_text(drives->list[i].options, drive_node_references[k]);

			if (other && strcmp(other, name) == 0)
				return &drives->list[i];
		}
	}
	return NULL;
}

/* Of the nodes below, too. */
static void let_go(struct drives *drives, const json_t *options)
{
	struct drive *below;
	unsigned i;

	for (i = 0; i < 2; i++) {
		const char *name = keyval_text(options, drive_node_references[i]);

		below = name ? drives_find(drives, name) : NULL;
		/* Others may stand on it, and a drive or an export have it besides. */
		if (below && below->is_node && below->is_used && !below->block && !find_referrer(drives, below->name, true)) {
			below->is_used = false;
			let_go(drives, below->options);
		}
	}
}

void drive_release(struct drives *drives, struct drive *drive)
{
	unsigned i;

	drive->is_used = false;
	drive->block = NULL;
	drive->device[0] = drive->node_name[0] = drive->group[0] = 0;
	for (i = 0; i < drives->count; i++) {
		struct drive *other = &drives->list[i];

		/* What it was put on, and what was put on it. */
		if (other->is_used && (strcmp(other->below, drive->name) == 0 || strcmp(drive->below, other->name) == 0))
			drive_release(drives, other);
	}
	if (drive->is_node)
		let_go(drives, drive->options);
}

int drives_remove(struct drives *drives, const char *name, struct error *error)
{
	struct drive *drive = drives_find(drives, name);
	const struct drive *referrer = find_referrer(drives, name, false);

	if (!drive)
		return error_set(error, ENOENT, "Failed to find node with node-name='%.60s'", name);
	if (drive->is_used)
		return error_set(error, EBUSY, "Node '%.60s' is busy: node is used", name);
	if (referrer)
		return error_set(error, EBUSY, "Node '%.60s' is busy: it is below '%.60s'", name, referrer->name);
	if (drive->fd_plus_1)
		close(drive->fd_plus_1 - 1);
	memmove(drive, drive + 1, (&drives->list[--drives->count] - drive) * sizeof(*drive));
	return 0;
}
