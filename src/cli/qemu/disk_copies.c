#include "cli/qemu/disk_copies.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "block/copy.h"
#include "cli/qemu/bitmaps.h"
#include "cli/qemu/disks.h"
#include "cli/qemu/drive_chain.h"
#include "cli/qemu/drive_source.h"
#include "cli/qemu/keyval.h"

static const struct copy_command {
	const char *command;
	enum block_copy_kind kind;
	bool is_to_node; /* target= is a node's name, not a file's */
} kinds[] = {
	{"drive-backup", BLOCK_COPY_BACKUP, false},   {"drive-mirror", BLOCK_COPY_MIRROR, false},
	{"blockdev-backup", BLOCK_COPY_BACKUP, true}, {"blockdev-mirror", BLOCK_COPY_MIRROR, true},
	{"block-commit", BLOCK_COPY_COMMIT, false},   {"block-stream", BLOCK_COPY_STREAM, false},
};

static const struct copy_command *find_kind(const char *command)
{
	const struct copy_command *kind = kinds;

	while (strcmp(kind->command, command) != 0)
		kind++;
	return kind;
}

/* Whether its target is a file that was opened for it. */
static bool makes_file(const struct copy_command *kind)
{
	return kind->kind != BLOCK_COPY_COMMIT && kind->kind != BLOCK_COPY_STREAM && !kind->is_to_node;
}

static int take_sync(const json_t *arguments, struct block_copy_options *options, struct error *error)
{
	const char *sync = keyval_text(arguments, "sync");

	options->only_top = sync && strcmp(sync, "top") == 0;
	if (!sync || options->only_top || strcmp(sync, "full") == 0)
		return 0;
	if (options->kind == BLOCK_COPY_BACKUP && (strcmp(sync, "incremental") == 0 || strcmp(sync, "bitmap") == 0))
		return 0;
	return error_set(error, ENOTSUP, "sync=%.60s is not there: use full or top", sync);
}

/* What only a part of is copied by. */
static int take_bitmap(const json_t *arguments, const struct drive *drive, struct block_copy_options *options,
		       struct error *error)
{
	const char *sync = keyval_text(arguments, "sync"), *name = keyval_text(arguments, "bitmap");
	const char *mode = keyval_text(arguments, "bitmap-mode");
	bool is_wanted = sync && (strcmp(sync, "incremental") == 0 || strcmp(sync, "bitmap") == 0);

	if (!is_wanted)
		return name || mode ? error_set(error, EINVAL, "bitmap= is for sync=incremental and sync=bitmap") : 0;
	if (!name)
		return error_set(error, EINVAL, "must provide a valid bitmap name for '%.60s' sync mode", sync);
	if (!mode && strcmp(sync, "bitmap") == 0)
		return error_set(error, EINVAL, "Bitmap sync mode must be given when providing a bitmap");
	options->leaves_bitmap = mode && strcmp(mode, "never") == 0;
	if (options->leaves_bitmap && strcmp(sync, "incremental") == 0)
		return error_set(error, EINVAL, "Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
	options->bitmap = bitmaps_find(drive, name, error);
	return options->bitmap ? 0 : -ENOENT;
}

/* A node that nothing uses. */
static int take_node(struct hotplug *hotplug, const json_t *arguments, struct block_copy_options *options,
		     struct drive **node, struct error *error)
{
	const char *name = keyval_text(arguments, "target");

	*node = drives_find(&hotplug->line->drives, name);
	if (!*node || !(*node)->is_node)
		return error_set(error, ENOENT, "Cannot find device='%.60s' nor node-name='%.60s'", name, name);
	if ((*node)->is_used)
		return error_set(error, EBUSY, "Node '%.60s' is in use", name);
	return drive_locate(&hotplug->line->drives, *node, &options->path, &options->fd, &options->format, error);
}

/* A file: made as the disk's image is, unless it is said otherwise. */
static int take_file(struct hotplug *hotplug, const json_t *arguments, const struct block *block,
		     struct block_copy_options *options, struct error *error)
{
	const struct monitor_facts *facts = hotplug->facts;
	const char *mode = keyval_text(arguments, "mode"), *format = keyval_text(arguments, "format");

	options->path = keyval_text(arguments, "target");
	options->format = format ? format : block_info(block)->format;
	options->is_new = !mode || strcmp(mode, "existing") != 0;
	options->fd = facts->open_file(facts->file_context, options->is_new ? MONITOR_FILE_MAKE : MONITOR_FILE_CHANGE,
				       options->path, error);
	return options->fd < 0 ? options->fd : 0;
}

/* The path of an image below, by that of its file or by its node's name; NULL: neither is given, or it is the lowest. */
static int find_below(struct hotplug *hotplug, const json_t *arguments, struct block_copy_options *options,
		      struct error *error)
{
	const char *name = keyval_text(arguments, "base-node");
	struct drive *base = name ? drives_find(&hotplug->line->drives, name) : NULL;

	options->path = keyval_text(arguments, "base");
	if (!name)
		return 0;
	if (options->path)
		return error_set(error, EINVAL, "'base' and 'base-node' cannot be specified at the same time");
	if (!base)
		return error_set(error, ENOENT, "Cannot find device='' nor node-name='%.60s'", name);
	/* A -drive that has an image on top is the lowest there is. */
	if (!base->is_node && options->kind == BLOCK_COPY_COMMIT)
		return 0;
	return drive_locate(&hotplug->line->drives, base, &options->path, &options->fd, &options->format, error);
}

static int take_base(struct hotplug *hotplug, const json_t *arguments, const struct drive *drive,
		     struct block_copy_options *options, struct error *error)
{
	const char *name = keyval_text(arguments, "top-node"), *unused_format;
	struct drive *node = name ? drives_find(&hotplug->line->drives, name) : NULL;
	int unused_fd, result = 0;

	options->top = keyval_text(arguments, "top");
	if (options->top && name)
		return error_set(error, EINVAL, "'top-node' and 'top' are mutually exclusive");
	if (name && !node)
		return error_set(error, ENOENT, "Cannot find device='' nor node-name='%.60s'", name);
	if (node && node != drive && strcmp(name, drive->node_name) != 0)
		result = drive_locate(&hotplug->line->drives, node, &options->top, &unused_fd, &unused_format, error);
	if (options->top && strcmp(options->top, block_info(drive->block)->path) == 0)
		options->top = NULL;
	options->backing = keyval_text(arguments, "backing-file");
	if (result == 0 && options->backing && !options->top)
		result = error_set(error, EINVAL, "'backing-file' specified, but 'top' is the active layer");
	return result < 0 ? result : find_below(hotplug, arguments, options, error);
}

static int take_stream(struct hotplug *hotplug, const json_t *arguments, struct block_copy_options *options,
		       struct error *error)
{
	const char *bottom = keyval_text(arguments, "bottom");
	struct drive *node = bottom ? drives_find(&hotplug->line->drives, bottom) : NULL;

	options->backing = keyval_text(arguments, "backing-file");
	options->has_bottom = bottom;
	if (bottom && (keyval_text(arguments, "base") || keyval_text(arguments, "base-node")))
		return error_set(error, EINVAL, "'bottom' and 'base' cannot be specified at the same time");
	if (bottom && !node)
		return error_set(error, ENOENT, "Cannot find device='' nor node-name='%.60s'", bottom);
	if (bottom)
		return drive_locate(&hotplug->line->drives, node, &options->path, &options->fd, &options->format, error);
	if (options->backing && !keyval_text(arguments, "base") && !keyval_text(arguments, "base-node"))
		return error_set(error, EINVAL, "backing file specified, but streaming the entire chain");
	return find_below(hotplug, arguments, options, error);
}

int disk_copies_start(void *context, const char *command, const json_t *arguments, void (*changed)(void *context),
		      void *changed_context, struct block_copy **copy, struct error *error)
{
	struct hotplug *hotplug = context;
	const struct copy_command *kind = find_kind(command);
	json_int_t speed = json_integer_value(json_object_get(arguments, "speed"));
	struct block_copy_options options = {
		.kind = kind->kind, .fd = -1, .speed = speed, .changed = changed, .context = changed_context};
	struct drive *drive, *node = NULL;
	int result = disks_find(hotplug, keyval_text(arguments, "device"), &drive, error);

	if (result == 0 && speed < 0)
		result = error_set(error, EINVAL, "Parameter 'speed' expects a non-negative value");
	if (result == 0)
		result = take_sync(arguments, &options, error);
	if (result == 0)
		result = take_bitmap(arguments, drive, &options, error);
	if (result < 0)
		return result;
	if (kind->kind == BLOCK_COPY_COMMIT)
		result = take_base(hotplug, arguments, drive, &options, error);
	else if (kind->kind == BLOCK_COPY_STREAM)
		result = take_stream(hotplug, arguments, &options, error);
	else if (kind->is_to_node)
		result = take_node(hotplug, arguments, &options, &node, error);
	else
		result = take_file(hotplug, arguments, drive->block, &options, error);
	if (result == 0)
		result = block_copy_start(drive->block, &options, copy, error);
	if (makes_file(kind) && options.fd >= 0)
		close(options.fd);
	if (result == 0 && node)
		node->is_used = true;
	return result;
}

/* The node that a device's disk has been until now goes, and another is it. */
static void replace(struct hotplug *hotplug, struct drive *old, struct drive *now)
{
	json_t *device;
	size_t i;

	json_array_foreach(hotplug->line->devices, i, device)
		if (keyval_text(device, "drive") && strcmp(keyval_text(device, "drive"), old->name) == 0)
			json_object_set_new(device, "drive", json_string(now->name));
	drive_replace(&hotplug->line->drives, old, now);
}

void disk_copies_ended(void *context, const char *command, const json_t *arguments, bool was_finished)
{
	struct hotplug *hotplug = context;
	const struct copy_command *kind = find_kind(command);
	struct drives *drives = &hotplug->line->drives;
	const char *target = keyval_text(arguments, "target");
	struct drive *node = kind->is_to_node ? drives_find(drives, target) : NULL, *drive;
	struct error error;

	if (node && !was_finished)
		node->is_used = false;
	/* Those that ended by themselves. */
	if ((kind->kind == BLOCK_COPY_STREAM || (kind->kind == BLOCK_COPY_COMMIT && !was_finished)) && disks_find(hotplug, keyval_text(arguments, "device"), &drive, &error) == 0)
		drive_let_go_below(drives, drive);
	if (!was_finished || disks_find(hotplug, keyval_text(arguments, "device"), &drive, &error) < 0)
		return;
	if (kind->kind == BLOCK_COPY_COMMIT)
		drive_uncover(drives, drive);
	else if (node)
		replace(hotplug, drive, node);
	else
		drive->node_name[0] = 0;
}
