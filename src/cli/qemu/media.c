#include "cli/qemu/media.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/error_policy.h"
#include "cli/qemu/drive_chain.h"
#include "cli/qemu/drive_facts.h"
#include "cli/qemu/drive_source.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/on_error.h"
#include "device/storage/tray.h"

void media_add_drive(struct line *line, unsigned disk, const json_t *device, const struct drive *inside)
{
	struct line_drive *drive = &line->cd_drives[line->cd_drive_count++];
	const char *id = keyval_text(device, "id");

	*drive = (struct line_drive){
		.disk = disk, .on_error = on_error_read(inside && !inside->is_node ? inside->options : NULL, device)};
	snprintf(drive->id, sizeof(drive->id), "%s", id ? id : "");
	if (inside && !inside->is_node)
		memcpy(drive->name, inside->name, sizeof(drive->name));
	if (inside && inside->block)
		memcpy(drive->inside, inside->name, sizeof(drive->inside));
}

/* -- finding one -- */

/* What the user calls it. */
static const char *wanted_name(const json_t *arguments)
{
	const char *id = keyval_text(arguments, "id");

	return id ? id : keyval_text(arguments, "device");
}

static int find_drive(struct line *line, const json_t *arguments, struct line_drive **found, struct error *error)
{
	static const char peripheral[] = "/machine/peripheral/";
	const char *said = wanted_name(arguments), *name = said;
	struct line_drive *drive;
	unsigned i;

	if (!name)
		return error_set(error, EINVAL, "Need exactly one of 'device' and 'id'");
	if (strncmp(name, peripheral, strlen(peripheral)) == 0)
		name += strlen(peripheral);
	for (i = 0; *name && i < line->cd_drive_count; i++) {
		drive = &line->cd_drives[i];
		if (strcmp(drive->id, name) == 0 || strcmp(drive->name, name) == 0) {
			*found = drive;
			return 0;
		}
	}
	if (drives_find(&line->drives, name))
		return error_set(error, ENOTSUP, "Device '%.60s' is not removable", said);
	return error_set(error, ENODEV, "Device '%.60s' not found", said);
}

/* Find one, and its tray; the result is find_drive's. */
static int find(struct hotplug *hotplug, const json_t *arguments, struct line_drive **drive, const struct tray **tray,
		struct error *error)
{
	int result = find_drive(hotplug->line, arguments, drive, error);

	if (result < 0)
		return result;
	*tray = machine_tray(hotplug->machine, (*drive)->disk);
	return *tray ? 0 : error_set(error, ENOTSUP, "it has no tray");
}

/* -- what is in it -- */

/* The drive, the node or the monitor's file that is in it now; NULL: it is empty. */
static struct drive *inside(struct line *line, struct line_drive *drive)
{
	if (*drive->inside)
		return drives_find(&line->drives, drive->inside);
	return drive->own.block ? &drive->own : NULL;
}

static bool has_tray(const struct line *line, unsigned disk)
{
	unsigned i;

	for (i = 0; i < line->cd_drive_count; i++)
		if (line->cd_drives[i].disk == disk)
			return true;
	return false;
}

unsigned media_free_tray(const struct line *line)
{
	unsigned disk = 0;

	while (disk < BOARD_DISKS_MAX && has_tray(line, disk))
		disk++;
	return disk;
}

void media_forget_drive(struct line *line, unsigned disk)
{
	struct line_drive *drive = line->cd_drives;
	struct drive *taken;

	while (drive < line->cd_drives + line->cd_drive_count && drive->disk != disk)
		drive++;
	if (drive == line->cd_drives + line->cd_drive_count)
		return;
	taken = inside(line, drive);
	if (taken && taken != &drive->own)
		drive_release(&line->drives, taken);
	taken = *drive->name ? drives_find(&line->drives, drive->name) : NULL;
	if (taken)
		drive_release(&line->drives, taken);
	line->cd_drive_count--;
	memmove(drive, drive + 1, (line->cd_drives + line->cd_drive_count - drive) * sizeof(*drive));
}

static void take_out(struct hotplug *hotplug, struct line_drive *drive, const struct tray *tray)
{
	struct drive *taken = inside(hotplug->line, drive);

	if (taken && taken->is_node)
		drive_release(&hotplug->line->drives, taken);
	else if (taken)
		taken->block = NULL; /* the -drive stays this one's */
	*drive->inside = 0;
	tray_empty(tray);
}

/* The medium is the tray's from now on, or closed. 0, or -errno and `error`. */
static int put_in(struct hotplug *hotplug, const struct line_drive *drive, const struct tray *tray, struct block *block,
		  struct error *error)
{
	block_set_error_policy(block, &drive->on_error);
	machine_note_medium(hotplug->machine, block);
	return tray_insert(tray, block, error);
}

static bool wants_force(const json_t *arguments)
{
	return json_is_true(json_object_get(arguments, "force"));
}

static int open_tray(struct hotplug *hotplug, const struct tray *tray, const json_t *arguments, struct error *error)
{
	int result = tray_open(tray, wants_force(arguments));

	machine_tell_trays(hotplug->machine);
	return result == 0 ? 0
			   : error_set(error, EBUSY,
				       "Device '%.60s' is locked and force was not specified, wait for tray to open and "
				       "try again", wanted_name(arguments));
}

static int need_open(const struct tray *tray, const json_t *arguments, struct error *error)
{
	return tray_look(tray).is_open
		       ? 0
		       : error_set(error, EINVAL, "Tray of device '%.60s' is not open", wanted_name(arguments));
}

/* -- the commands -- */

int media_open_tray(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const struct tray *tray;
	struct line_drive *drive;
	struct error locked;
	int result = find(hotplug, arguments, &drive, &tray, error);

	if (result < 0)
		return result;
	/* A guest that has locked it was asked, and whoever asked waits for DEVICE_TRAY_MOVED. */
	open_tray(hotplug, tray, arguments, &locked);
	return 0;
}

int media_close_tray(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const struct tray *tray;
	struct line_drive *drive;
	int result = find(hotplug, arguments, &drive, &tray, error);

	if (result < 0)
		return result;
	tray_close(tray);
	machine_tell_trays(hotplug->machine);
	return 0;
}

int media_remove(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const struct tray *tray;
	struct line_drive *drive;
	int result = find(hotplug, arguments, &drive, &tray, error);

	if (result == 0)
		result = need_open(tray, arguments, error);
	if (result == 0)
		take_out(hotplug, drive, tray);
	return result;
}

int media_eject(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const struct tray *tray;
	struct line_drive *drive;
	int result = find(hotplug, arguments, &drive, &tray, error);

	if (result == 0)
		result = open_tray(hotplug, tray, arguments, error);
	if (result == 0)
		take_out(hotplug, drive, tray);
	return result;
}

int media_insert(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const char *name = keyval_text(arguments, "node-name");
	struct drive *node;
	const struct tray *tray;
	struct line_drive *drive;
	struct block *block;
	json_t *device;
	int result = find(hotplug, arguments, &drive, &tray, error);

	if (result == 0)
		result = need_open(tray, arguments, error);
	if (result < 0)
		return result;
	if (tray_look(tray).has_medium)
		return error_set(error, EINVAL, "There already is a medium in device '%.60s'", wanted_name(arguments));
	node = drives_find(&hotplug->line->drives, name);
	if (!node || !node->is_node)
		return error_set(error, ENOENT, "Node '%.60s' not found", name);
	if (node->is_used)
		return error_set(error, EBUSY, "Node '%.60s' is already in use", name);
	device = json_pack("{s:s}", "id", drive->id);
	result = drive_open(&hotplug->line->drives, node, device, true, &block, error);
	json_decref(device);
	if (result == 0)
		result = put_in(hotplug, drive, tray, block, error);
	if (result < 0)
		drive_release(&hotplug->line->drives, node);
	else
		memcpy(drive->inside, node->name, sizeof(drive->inside));
	return result;
}

/* The file that a monitor names, whoever opens it for it. */
static int open_medium(struct hotplug *hotplug, const json_t *arguments, struct block **block, struct error *error)
{
	const struct monitor_facts *facts = hotplug->facts;
	const char *path = keyval_text(arguments, "filename"), *mode = keyval_text(arguments, "read-only-mode");
	/* A confined process makes no rings. */
	const struct block_options options = {
		.format = keyval_text(arguments, "format"), .readonly = true, .aio = BLOCK_AIO_THREADS};
	int fd, result;

	if (mode && strcmp(mode, "read-write") == 0)
		return error_set(error, ENOTSUP, "Device '%.60s' is read-only", wanted_name(arguments));
	fd = facts->open_file(facts->file_context, MONITOR_FILE_READ, path, error);
	if (fd < 0)
		return fd;
	result = block_open_fd(fd, path, &options, block, error);
	close(fd);
	return result;
}

int media_change(struct hotplug *hotplug, const json_t *arguments, struct error *error)
{
	const struct tray *tray;
	struct line_drive *drive;
	struct block *block = NULL;
	int result = find(hotplug, arguments, &drive, &tray, error);

	if (result == 0)
		result = open_medium(hotplug, arguments, &block, error);
	if (result == 0)
		result = open_tray(hotplug, tray, arguments, error);
	if (result < 0) {
		block_close(block, NULL);
		return result;
	}
	take_out(hotplug, drive, tray);
	result = put_in(hotplug, drive, tray, block, error);
	if (result == 0) {
		drive->own = (struct drive){.block = block, .is_cdrom = true};
		snprintf(drive->own.name, sizeof(drive->own.name), "#block%u", hotplug->line->media_count++);
	}
	tray_close(tray);
	machine_tell_trays(hotplug->machine);
	return result;
}

void media_tray_moved(void *context, unsigned disk, bool is_open)
{
	struct hotplug *hotplug = context;
	const struct line *line = hotplug->line;
	unsigned i;

	for (i = 0; i < line->cd_drive_count; i++)
		if (line->cd_drives[i].disk == disk)
			monitor_tray_moved(hotplug->monitor, line->cd_drives[i].name, line->cd_drives[i].id, is_open);
}

/* -- what monitors are told -- */

void media_describe(const struct line *line, const struct machine *machine, json_t *answer)
{
	unsigned i;

	for (i = 0; i < line->cd_drive_count; i++) {
		struct line_drive drive = line->cd_drives[i];
		const struct drive *medium = inside((struct line *)line, &drive);
		const struct tray *tray = machine ? machine_tray(machine, drive.disk) : NULL;
		struct tray_state state = tray ? tray_look(tray) : (struct tray_state){false};
		json_t *one = json_pack("{s:s,s:s,s:b,s:b,s:b,s:s}", "device", drive.name, "type", "unknown",
					"removable", 1, "locked", state.is_locked, "tray_open", state.is_open,
					"io-status", medium ? drive_io_status(medium) : "ok");

		if (*drive.id)
			json_object_set_new(one, "qdev", json_string(drive.id));
		if (medium)
			json_object_set_new(one, "inserted", drive_describe_inserted(medium));
		json_array_append_new(answer, one);
	}
}

void media_describe_nodes(const struct line *line, json_t *answer)
{
	unsigned i;

	for (i = 0; i < line->cd_drive_count; i++)
		if (!*line->cd_drives[i].inside && line->cd_drives[i].own.block)
			json_array_append_new(answer, drive_describe_inserted(&line->cd_drives[i].own));
}
