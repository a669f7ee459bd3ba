#include "cli/qemu/drive_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/qemu/drive_node.h"
#include "cli/qemu/keyval.h"
#include "cli/qemu/on_error.h"
#include "util/log.h"

struct source {
	const char *path;
	struct block_options block;
	bool no_flush, is_direct;
	int fd_plus_1; /* of the file at `path`; the drive's */
};

static void take_aio(struct source *source, const char *aio)
{
	if (aio && strcmp(aio, "io_uring") == 0)
		source->block.aio = BLOCK_AIO_IO_URING;
	else if (aio && strcmp(aio, "threads") == 0)
		source->block.aio = BLOCK_AIO_THREADS;
}

/* The most that any of the nodes says. */
static void take_zeroes(struct source *source, const json_t *options)
{
	const char *text = keyval_text(options, "detect-zeroes");
	enum block_zeroes zeroes;

	if (text && block_zeroes_parse(text, &zeroes) == 0 && zeroes > source->block.zeroes)
		source->block.zeroes = zeroes;
}

/* What each node in the chain may say. */
static void take_common(struct source *source, const json_t *node)
{
	const json_t *cache = json_object_get(node, "cache");
	const char *discard = keyval_text(node, "discard");

	source->block.readonly |= json_is_true(json_object_get(node, "read-only"));
	source->is_direct |= json_is_true(json_object_get(cache, "direct"));
	source->no_flush |= json_is_true(json_object_get(cache, "no-flush"));
	source->block.discard |= discard && strcmp(discard, "unmap") == 0;
	take_zeroes(source, node);
}

/* The node that a member names or holds; NULL: neither. */
static const json_t *follow(struct drives *drives, const json_t *member)
{
	struct drive *drive = json_is_string(member) ? drives_find(drives, json_string_value(member)) : NULL;

	if (drive)
		drive->is_used = true;
	return json_is_object(member) ? member : drive && drive->is_node ? drive->options : NULL;
}

/* The descriptor of a file node, which is a drive's or in one. */
static int fd_of(const struct drives *drives, const json_t *file)
{
	const json_t *at;
	unsigned i;

	for (i = 0; i < drives->count; i++)
		for (at = drives->list[i].options; at; at = json_object_get(at, "file"))
			if (at == file)
				return drives->list[i].fd_plus_1;
	return 0;
}

static int find_file(struct drives *drives, struct source *source, const json_t *node, struct error *error)
{
	const json_t *member = json_object_get(node, "file"), *file;

	if (drive_node_is_file(keyval_text(node, "driver"))) {
		file = node;
	} else {
		file = follow(drives, member);
		if (!file)
			return error_set(error, ENOENT, "there is no -blockdev with node-name=%.60s",
					 json_string_value(member));
		if (!drive_node_is_file(keyval_text(file, "driver")))
			return error_set(error, ENOTSUP, "below a format there can only be a file");
		take_common(source, file);
	}
	source->path = keyval_text(file, "filename");
	source->fd_plus_1 = fd_of(drives, file);
	take_aio(source, keyval_text(file, "aio"));
	source->block.unlocked = keyval_text(file, "locking") &&
				 strcmp(keyval_text(file, "locking"), "off") == 0;
	return 0;
}

/* The name of what a node was put on; NULL: nothing. */
static const char *name_below(const struct drives *drives, const json_t *node)
{
	unsigned i;

	for (i = 0; i < drives->count; i++)
		if (drives->list[i].options == node && *drives->list[i].below)
			return drives->list[i].below;
	return NULL;
}

static int find_backing(struct drives *drives, struct source *source, const json_t *node,
			struct error *error)
{
	const json_t *member = json_object_get(node, "backing"), *backing;
	struct source below = {.path = NULL};
	const char *driver;
	int result;

	/* What the image says: that was put there, too. */
	if (!member || name_below(drives, node))
		return 0;
	source->block.backing = "";
	if (json_is_null(member) || (json_is_string(member) && !*json_string_value(member)))
		return 0;
	backing = follow(drives, member);
	if (!backing)
		return error_set(error, ENOENT, "there is no -blockdev for the backing file");
	if (json_object_get(backing, "backing") && !json_is_null(json_object_get(backing, "backing")))
		return error_set(error, ENOTSUP,
				 "backing= of a backing file is taken from the image: leave it out");
	result = find_file(drives, &below, backing, error);
	if (result < 0)
		return result;
	driver = keyval_text(backing, "driver");
	source->block.backing = below.path;
	source->block.backing_format = drive_node_is_file(driver) ? "raw" : driver;
	return 0;
}

static int find_node(struct drives *drives, struct source *source, const json_t *node, struct error *error)
{
	const char *driver = keyval_text(node, "driver");
	const json_t *below;
	unsigned filters = 0;
	int result;

	for (; drive_node_is_filter(node); node = below) {
		take_common(source, node);
		source->block.copies_on_read = true;
		below = follow(drives, json_object_get(node, "file"));
		/* They may name one another. */
		if (!below || ++filters == DRIVES_MAX)
			return error_set(error, ENOENT, "there is no -blockdev with node-name=%.60s",
					 keyval_text(node, "file") ? keyval_text(node, "file") : "");
		driver = keyval_text(below, "driver");
	}
	take_common(source, node);
	source->block.format = drive_node_is_file(driver) ? "raw" : driver;
	result = find_file(drives, source, node, error);
	return result < 0 ? result : find_backing(drives, source, node, error);
}

static int take_cache(struct source *source, const json_t *options, struct error *error)
{
	static const struct {
		const char *name;
		bool is_direct, no_flush;
		bool is_through;
	} modes[] = {
		{"none", true, false, false},	       {"off", true, false, false},
		{"writeback", false, false, false},    {"unsafe", false, true, false},
		{"writethrough", false, false, true},  {"directsync", true, false, true},
	};
	const char *mode = keyval_text(options, "cache");
	bool is_through = false;
	unsigned i, count = sizeof(modes) / sizeof(modes[0]);

	for (i = 0; mode && i < count; i++) {
		if (strcmp(modes[i].name, mode) != 0)
			continue;
		source->is_direct = modes[i].is_direct;
		source->no_flush = modes[i].no_flush;
		is_through = modes[i].is_through;
		break;
	}
	if (mode && i == count)
		return error_set(error, EINVAL,
				 "cache=%.60s: use writeback, none, writethrough, directsync or unsafe",
				 mode);
	if (json_object_get(options, "cache.writeback"))
		is_through = json_is_false(json_object_get(options, "cache.writeback"));
	if (json_object_get(options, "cache.direct"))
		source->is_direct = json_is_true(json_object_get(options, "cache.direct"));
	if (json_object_get(options, "cache.no-flush"))
		source->no_flush = json_is_true(json_object_get(options, "cache.no-flush"));
	if (is_through)
		source->block.cache = source->is_direct ? BLOCK_CACHE_DIRECTSYNC : BLOCK_CACHE_WRITETHROUGH;
	return 0;
}

static int find_drive(struct source *source, const json_t *options, struct error *error)
{
	const char *discard = keyval_text(options, "discard"), *aio = keyval_text(options, "aio");
	const char *locking = keyval_text(options, "file.locking");

	source->path = drive_path(options);
	source->block.format = keyval_text(options, "format");
	source->block.readonly = json_is_true(json_object_get(options, "readonly"));
	source->block.snapshot = json_is_true(json_object_get(options, "snapshot"));
	source->block.serial = keyval_text(options, "serial");
	source->block.copies_on_read = json_is_true(json_object_get(options, "copy-on-read"));
	source->block.discard = discard && (strcmp(discard, "unmap") == 0 || strcmp(discard, "on") == 0);
	source->block.unlocked = locking && strcmp(locking, "off") == 0;
	take_zeroes(source, options);
	take_aio(source, aio ? aio : keyval_text(options, "file.aio"));
	return take_cache(source, options, error);
}

/* An image by its path, or by a descriptor that came with the process. */
static int open_source(const struct drives *drives, const struct source *source, struct block **block,
		       struct error *error)
{
	struct block_options options;
	int result, fd;

	if (source->block.zeroes == BLOCK_ZEROES_UNMAP && !source->block.discard)
		return error_set(error, EINVAL, "setting detect-zeroes to unmap is not allowed without setting discard operation "
						"to unmap");
	if (source->fd_plus_1) {
		/* A confined process makes no rings. */
		options = source->block;
		options.aio = BLOCK_AIO_THREADS;
		return block_open_fd(source->fd_plus_1 - 1, source->path, &options, block, error);
	}
	if (block_names_folder(source->path))
		log_hint("%s is a copy of the folder: what the guest writes there is lost at the end", source->path);
	if (drives->is_sealed && block_names_export(source->path))
		return error_set(error, EPERM, "%.200s: nothing has connected to it: remove its node, and add it anew", source->path);
	fd = fdsets_open(drives->fdsets, source->path, source->block.readonly ? O_RDONLY : O_RDWR,
				     error);

	if (fd == -ENOENT)
		return block_open(source->path, &source->block, block, error);
	if (fd < 0)
		return fd;
	result = block_open_fd(fd, source->path, &source->block, block, error);
	close(fd);
	return result;
}

int drive_open(struct drives *drives, struct drive *drive, const json_t *device, bool is_cdrom,
	       struct block **block, struct error *error)
{
	struct source source = {.path = NULL};
	const char *serial = keyval_text(device, "serial"), *id = keyval_text(device, "id");
	struct block_error_policy policy;
	int result;

	if (drive->is_used)
		return error_set(error, EBUSY, "%s has a device already", drive->name);
	drive->is_used = true;
	if (!drive_has_medium(drive))
		return error_set(error, EINVAL, "file=FILE is needed");
	result = drive->is_node ? find_node(drives, &source, drive->options, error)
				: find_drive(&source, drive->options, error);
	if (result < 0)
		return result;
	policy = on_error_read(drive->is_node ? NULL : drive->options, device);
	if (serial)
		source.block.serial = serial;
	if (source.block.serial && strlen(source.block.serial) > BLOCK_SERIAL_MAX)
		return error_set(error, EINVAL, "serial=%.60s: at most %u characters",
				 source.block.serial, BLOCK_SERIAL_MAX);
	source.block.snapshot |= drives->snapshot && !is_cdrom;
	source.block.readonly |= is_cdrom;
	if (source.no_flush)
		source.block.cache = BLOCK_CACHE_UNSAFE;
	else if (source.is_direct && source.block.cache == BLOCK_CACHE_WRITEBACK)
		source.block.cache = BLOCK_CACHE_NONE;
	result = open_source(drives, &source, block, error);
	if (result < 0)
		return result;
	block_set_error_policy(*block, &policy);
	drive->block = *block;
	drive->is_cdrom = is_cdrom;
	drive->no_flush = source.no_flush;
	drive->is_direct = source.is_direct;
	snprintf(drive->device, sizeof(drive->device), "%s", id ? id : "");
	return 0;
}

int drive_open_overlay(struct drives *drives, struct drive *drive, struct block *block, struct block_overlay **overlay,
		       struct error *error)
{
	struct block_overlay_options options = {.fd = -1};
	const char *format;
	int result = drive_locate(drives, drive, &options.path, &options.fd, &format, error);

	if (result < 0)
		return result;
	if (strcmp(format, "qcow2") != 0)
		return error_set(error, ENOTSUP, "Node '%.60s' is %s, and has to be qcow2 to be put on a disk", drive->name,
				 format);
	return block_overlay_open(block, &options, overlay, error);
}

int drive_locate(struct drives *drives, struct drive *drive, const char **path, int *fd, const char **format,
		 struct error *error)
{
	struct source source = {.path = NULL};
	int result = find_node(drives, &source, drive->options, error);

	if (result < 0)
		return result;
	*path = source.path;
	*fd = source.fd_plus_1 - 1;
	*format = source.block.format;
	return 0;
}
