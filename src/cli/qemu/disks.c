#include "cli/qemu/disks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/error_policy.h"
#include "cli/qemu/drive_chain.h"
#include "cli/qemu/drive_source.h"
#include "cli/qemu/keyval.h"
#include "util/clock.h"

/* The disk that a device uses, by the name of its -drive, its node or its device. */
static struct drive *find_disk(struct line *line, const char *name)
{
	unsigned i;

	for (i = 0; i < line->drives.count; i++) {
		struct drive *drive = &line->drives.list[i];

		if (drive->block && (strcmp(drive->name, name) == 0 || strcmp(drive->node_name, name) == 0 ||
				     strcmp(drive->device, name) == 0))
			return drive;
	}
	return NULL;
}

static int find(struct hotplug *hotplug, const char *device, const char *node, struct drive **drive, struct error *error)
{
	const char *name = node ? node : device;

	if (!name || (node && device && *device))
		return error_set(error, EINVAL, "Need exactly one of 'device' and 'node-name'");
	*drive = *name ? find_disk(hotplug->line, name) : NULL;
	if (*drive)
		return 0;
	return error_set(error, ENOENT, "Cannot find device='%.60s' nor node-name='%.60s'", device ? device : "",
			 node ? node : "");
}

int disks_find(struct hotplug *hotplug, const char *name, struct drive **drive, struct error *error)
{
	return find(hotplug, name, NULL, drive, error);
}

int disks_resize(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	json_int_t size = json_integer_value(json_object_get(arguments, "size"));
	struct drive *drive;
	int result = find(hotplug, keyval_text(arguments, "device"), keyval_text(arguments, "node-name"), &drive, error);

	if (result < 0)
		return result;
	if (size < 0)
		return error_set(error, EINVAL, "Parameter 'size' expects a >0 size");
	if (drive->is_cdrom)
		return error_set(error, ENOTSUP, "%s is a CD-ROM's medium, whose size stays", drive->name);
	return block_resize(drive->block, size, error);
}

/* --- images on top --- */

#define ACTIONS_MAX 16

struct action {
	struct drive *below, *node;
	struct block_overlay *overlay;
	char name[64]; /* of a node that goes again if nothing is done; "": none */
};

/* A node for a file that a monitor names, as blockdev-add would make it. */
static int add_node(struct line *line, struct action *action, const char *name, const char *path, struct error *error)
{
	json_t *list = json_object_get(line->said, "plugged nodes"), *options;
	char made[32];
	int result;

	if (!name) {
		snprintf(made, sizeof(made), "#block%u", line->media_count++);
		name = made;
	}
	options = json_pack("{s:s,s:s,s:{s:s,s:s},s:n}", "driver", "qcow2", "node-name", name, "file", "driver", "file",
			    "filename", path, "backing");
	if (!list) {
		list = json_array();
		json_object_set_new(line->said, "plugged nodes", list);
	}
	result = options ? drives_add_node(&line->drives, options, error) : error_set_errno(error, ENOMEM, "a node");
	if (result == 0) {
		json_array_append(list, options);
		action->node = drives_find(&line->drives, name);
		memcpy(action->name, action->node->name, sizeof(action->name));
	}
	json_decref(options);
	return result;
}

/* blockdev-snapshot-sync: a file is made, or is there. */
static int prepare_file(struct hotplug *hotplug, struct action *action, const json_t *data, struct error *error)
{
	const struct monitor_facts *facts = hotplug->facts;
	const char *path = keyval_text(data, "snapshot-file"), *format = keyval_text(data, "format");
	const char *mode = keyval_text(data, "mode"), *name = keyval_text(data, "snapshot-node-name");
	struct block_overlay_options options = {.path = path, .is_new = !mode || strcmp(mode, "existing") != 0};
	int result = find(hotplug, keyval_text(data, "device"), keyval_text(data, "node-name"), &action->below, error);

	if (result < 0)
		return result;
	if (format && strcmp(format, "qcow2") != 0)
		return error_set(error, ENOTSUP, "format=%.60s: what is put on a disk is qcow2", format);
	if (name && drives_find(&hotplug->line->drives, name))
		return error_set(error, EEXIST, "Snapshot node name already in use");
	options.fd = facts->open_file(facts->file_context, options.is_new ? MONITOR_FILE_MAKE : MONITOR_FILE_CHANGE, path,
				      error);
	if (options.fd < 0)
		return options.fd;
	result = block_overlay_open(action->below->block, &options, &action->overlay, error);
	if (result == 0)
		result = add_node(hotplug->line, action, name, path, error);
	if (result == 0)
		action->node->fd_plus_1 = options.fd + 1;
	else
		close(options.fd);
	return result;
}

/* blockdev-snapshot: a node. */
static int prepare_node(struct hotplug *hotplug, struct action *action, const json_t *data, struct error *error)
{
	const char *name = keyval_text(data, "overlay");
	int result = find(hotplug, NULL, keyval_text(data, "node"), &action->below, error);

	if (result < 0)
		return result;
	action->node = drives_find(&hotplug->line->drives, name);
	if (!action->node || !action->node->is_node)
		return error_set(error, ENOENT, "Cannot find device='%.60s' nor node-name='%.60s'", name, name);
	if (action->node->is_used)
		return error_set(error, EBUSY, "The overlay '%.60s' is already in use", name);
	return drive_open_overlay(&hotplug->line->drives, action->node, action->below->block, &action->overlay, error);
}

static int prepare(struct hotplug *hotplug, struct action *actions, unsigned index, const json_t *said, struct error *error)
{
	const char *type = keyval_text(said, "type");
	const json_t *data = json_object_get(said, "data");
	unsigned i;
	int result;

	actions[index] = (struct action){NULL};
	if (strcmp(type, "blockdev-snapshot-sync") == 0)
		result = prepare_file(hotplug, &actions[index], data, error);
	else if (strcmp(type, "blockdev-snapshot") == 0)
		result = prepare_node(hotplug, &actions[index], data, error);
	else
		return error_set(error, ECANCELED, "Transaction aborted using Abort action");
	for (i = 0; i < index && result == 0; i++)
		if (actions[i].below->block == actions[index].below->block)
			result = error_set(error, EINVAL, "'%.60s' is there twice", actions[index].below->name);
	return result;
}

int disks_put_on_top(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const json_t *list = json_object_get(arguments, "actions");
	struct block_overlay *overlays[ACTIONS_MAX];
	struct action actions[ACTIONS_MAX];
	unsigned count, done, i;
	struct error unseen;
	int result = 0;

	count = json_array_size(list);
	if (count > ACTIONS_MAX)
		return error_set(error, ENOSPC, "at most %d actions", ACTIONS_MAX);
	for (done = 0; done < count && result == 0; done++)
		result = prepare(hotplug, actions, done, json_array_get(list, done), error);
	for (i = 0; i < done; i++)
		overlays[i] = actions[i].overlay;
	if (result == 0)
		result = block_overlays_place(overlays, count, error);
	for (i = 0; i < done; i++) {
		if (result == 0) {
			drive_put_on(actions[i].node, actions[i].below);
			continue;
		}
		block_overlay_drop(actions[i].overlay);
		if (*actions[i].name)
			drives_remove(&hotplug->line->drives, actions[i].name, &unseen);
	}
	return result;
}

/* --- what fails --- */

static void tell_failure(struct hotplug *hotplug, const char *device, const char *node, const struct block_failure *failure)
{
	monitor_disk_failed(hotplug->monitor, device, node, failure->is_read, block_on_error_name(failure->action),
			    failure->error == ENOSPC, strerror(failure->error));
}

void disks_failed(void *context, const struct block *block, const struct block_failure *failure)
{
	struct hotplug *hotplug = context;
	const struct line *line = hotplug->line;
	const struct drive *drive;
	unsigned i;

	for (i = 0; i < line->drives.count; i++) {
		drive = &line->drives.list[i];
		if (drive->block == block)
			tell_failure(hotplug, drive->is_node ? "" : drive->name,
				     *drive->node_name ? drive->node_name : drive->name, failure);
	}
	/* A file that a monitor has put into a drive is a node of the drive's. */
	for (i = 0; i < line->cd_drive_count; i++)
		if (line->cd_drives[i].own.block == block)
			tell_failure(hotplug, line->cd_drives[i].name, line->cd_drives[i].own.name, failure);
}

/* --- what was done --- */

static json_t *describe_counts(struct block *block)
{
	static const char *const names[BLOCK_COUNTS] = {
		[BLOCK_COUNT_READ] = "rd", [BLOCK_COUNT_WRITE] = "wr", [BLOCK_COUNT_FLUSH] = "flush",
		[BLOCK_COUNT_UNMAP] = "unmap"};
	struct block_counts counts = {.last_ns = 0};
	json_t *answer = json_pack("{s:b,s:b,s:[]}", "account_invalid", 1, "account_failed", 1, "timed_stats");
	char key[64];
	unsigned i;

	if (block)
		block_read_counts(block, &counts);
	for (i = 0; i < BLOCK_COUNTS; i++) {
		const struct block_count_of *of = &counts.of[i];
		const struct {
			const char *format;
			uint64_t value;
			bool has_flush;
		} values[] = {
			{"%s_bytes", of->bytes, false},	       {"%s_operations", of->operations, true},
			{"%s_total_time_ns", of->ns, true},     {"%s_merged", 0, false},
			{"failed_%s_operations", of->failed, true}, {"invalid_%s_operations", of->invalid, true},
		};
		unsigned k;

		for (k = 0; k < sizeof(values) / sizeof(values[0]); k++) {
			if (i == BLOCK_COUNT_FLUSH && !values[k].has_flush)
				continue;
			snprintf(key, sizeof(key), values[k].format, names[i]);
			json_object_set_new(answer, key, json_integer(values[k].value));
		}
	}
	json_object_set_new(answer, "wr_highest_offset", json_integer(counts.write_end));
	if (counts.last_ns)
		json_object_set_new(answer, "idle_time_ns", json_integer(monotonic_ns() - counts.last_ns));
	return answer;
}

/* The file of the topmost image has what was written to it: that is what a disk's counts say of it. */
static json_t *describe_disk(const char *name, const char *device, const char *node, struct block *block)
{
	json_t *one = json_pack("{s:o}", "stats", describe_counts(block));

	if (name)
		json_object_set_new(one, "device", json_string(name));
	if (device && *device)
		json_object_set_new(one, "qdev", json_string(device));
	if (block && node)
		json_object_set_new(one, "node-name", json_string(node));
	if (block)
		json_object_set_new(one, "parent", json_pack("{s:o}", "stats", describe_counts(block)));
	return one;
}

json_t *disks_read_counts(void *context, bool of_nodes)
{
	const struct line *line = context;
	json_t *answer = json_array();
	unsigned i;

	for (i = 0; i < line->drives.count; i++) {
		const struct drive *drive = &line->drives.list[i];
		const char *node = *drive->node_name ? drive->node_name : drive->name;

		if (!drive->block || (drive->is_cdrom && !of_nodes))
			continue;
		if (of_nodes)
			json_array_append_new(answer, describe_disk(NULL, NULL, node, drive->block));
		else
			json_array_append_new(answer, describe_disk(drive->is_node ? "" : drive->name, drive->device, node,
								    drive->block));
	}
	for (i = 0; i < line->cd_drive_count && !of_nodes; i++) {
		const struct line_drive *drive = &line->cd_drives[i];
		const struct drive *inside =
			*drive->inside ? drives_find((struct drives *)&line->drives, drive->inside) : &drive->own;

		json_array_append_new(answer, describe_disk(drive->name, drive->id, inside ? inside->name : NULL,
							    inside ? inside->block : NULL));
	}
	return answer;
}
